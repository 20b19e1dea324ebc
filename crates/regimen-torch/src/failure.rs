//! What libtorch says when something fails: its first line, without the backtrace behind it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use regimen_core::BoxError;
use tch::TchError;

/// An error of tch's in one line, with what helps where that is known.
pub(crate) fn failure(error: TchError) -> BoxError {
    first_line(&error.to_string()).into()
}

/// Calls `f`; a panic of tch's in it goes on with its first line for text.
///
/// tch panics with the whole backtrace of C++ in its text, escaped into one line.
pub(crate) fn shortening_panics<R>(f: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| resume_unwind(shortened(payload)))
}

/// The first line of `text`, and what to do about it.
pub(crate) fn first_line(text: &str) -> String {
    // `Result::unwrap` shows the error as Rust code, line breaks and quotes escaped.
    let text = text.strip_prefix(UNWRAP).map_or(text, |text| text.trim_start_matches("Torch(\""));
    let text = text.trim_start_matches("Internal torch error: ");
    let line = text.split("\\n").next().and_then(|text| text.lines().next()).unwrap_or_default();
    let line = line.trim_end_matches("\")").trim();
    let is_memory = ["allocate memory", "out of memory"].iter().any(|words| line.contains(words));
    if is_memory { format!("{line}; a smaller batch needs less") } else { line.to_owned() }
}

const UNWRAP: &str = "called `Result::unwrap()` on an `Err` value: ";

fn shortened(payload: Box<dyn Any + Send>) -> Box<dyn Any + Send> {
    match payload.downcast::<String>() {
        Ok(text) if text.starts_with(UNWRAP) => Box::new(first_line(&text)),
        Ok(text) => text,
        Err(payload) => payload,
    }
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;

    fn zeros(shape: [i64; 2]) -> Tensor {
        Tensor::zeros(shape, (Kind::Float, tch::Device::Cpu))
    }

    const SHAPES: &str = "mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)";

    #[test]
    fn an_error_is_the_first_line_of_what_libtorch_says() {
        let error = zeros([2, 3]).f_matmul(&zeros([2, 3])).unwrap_err();
        assert!(error.to_string().lines().count() > 1);
        assert_eq!(failure(error).to_string(), SHAPES);
    }

    #[test]
    fn a_panic_is_too_and_one_that_is_not_of_tch_stays_as_it_is() {
        let text = |f: &dyn Fn()| {
            let payload = catch_unwind(AssertUnwindSafe(|| shortening_panics(f))).unwrap_err();
            let text = payload.downcast_ref::<String>().map(String::as_str);
            text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap().to_owned()
        };
        assert_eq!(text(&|| drop(zeros([2, 3]).matmul(&zeros([2, 3])))), SHAPES);
        assert_eq!(text(&|| panic!("two\nlines")), "two\nlines");
        assert_eq!(text(&|| panic!("{}\nlines", 2)), "2\nlines");
    }

    #[test]
    fn what_is_out_of_memory_says_what_helps() {
        let error = Tensor::f_zeros([1 << 45], (Kind::Float, tch::Device::Cpu)).unwrap_err();
        let text = failure(error).to_string();
        assert!(text.contains("allocate memory") && text.ends_with("; a smaller batch needs less"), "{text}");
    }
}
