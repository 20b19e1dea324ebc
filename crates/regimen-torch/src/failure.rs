//! Texts of libtorch's errors: the first line, without the backtrace.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use regimen_core::BoxError;
use tch::TchError;

/// An error of tch's as one line, with a remedy if one is known: for `map_err` after its `f_` methods, whose
/// errors end in a backtrace of C++.
pub fn failure(error: TchError) -> BoxError {
    first_line(&error.to_string()).into()
}

/// Calls `f` with or without recording of gradients, and restores the previous setting.
///
/// A panic of tch's is passed on with its first line: tch panics with the whole backtrace of C++, escaped
/// into one line. The previous setting is restored after a panic too. tch itself leaves recording off after a
/// panic in its `no_grad`.
pub(crate) fn recording<R>(on: bool, f: impl FnOnce() -> R) -> R {
    let caught = || catch_unwind(AssertUnwindSafe(f));
    let result = if on { tch::with_grad(caught) } else { tch::no_grad(caught) };
    result.unwrap_or_else(|payload| resume_unwind(shortened(payload)))
}

/// The first line of `text`, and the remedy.
pub(crate) fn first_line(text: &str) -> String {
    let line = text.trim_start_matches("Internal torch error: ").lines().next().unwrap_or_default();
    let is_memory = ["allocate memory", "out of memory"].iter().any(|words| line.contains(words));
    if is_memory { format!("{line}; a smaller batch needs less") } else { line.to_owned() }
}

/// The prefix of `Result::unwrap` before the text of libtorch, which it escapes as in Rust code.
const UNWRAP: &str = "called `Result::unwrap()` on an `Err` value: Torch(\"";

fn shortened(payload: Box<dyn Any + Send>) -> Box<dyn Any + Send> {
    match payload.downcast::<String>() {
        Ok(text) => match text.strip_prefix(UNWRAP) {
            Some(of_torch) => {
                let line = of_torch.split("\\n").next().unwrap_or_default();
                Box::new(first_line(line.trim_end_matches("\")")))
            }
            None => text,
        },
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
            let payload = catch_unwind(AssertUnwindSafe(|| recording(true, f))).unwrap_err();
            let text = payload.downcast_ref::<String>().map(String::as_str);
            text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap().to_owned()
        };
        assert_eq!(text(&|| drop(zeros([2, 3]).matmul(&zeros([2, 3])))), SHAPES);
        assert_eq!(text(&|| panic!("two\nlines")), "two\nlines");
        assert_eq!(text(&|| panic!("{}\nlines", 2)), "2\nlines");
        let of_std = "called `Result::unwrap()` on an `Err` value: ParseIntError { kind: InvalidDigit }";
        assert_eq!(text(&|| assert_eq!("x".parse::<i32>().unwrap(), 1)), of_std);
    }

    #[test]
    fn a_panic_where_nothing_is_recorded_leaves_recording_as_it_was() {
        let weight = zeros([2, 3]).set_requires_grad(true);
        let inside = || recording(true, || tch::no_grad(|| panic!("on purpose")));
        catch_unwind(AssertUnwindSafe(inside)).unwrap_err();
        assert!(recording(true, || weight.sum(Kind::Float)).requires_grad());
        assert!(!recording(false, || weight.sum(Kind::Float)).requires_grad());
    }

    #[test]
    fn what_is_out_of_memory_says_what_helps() {
        let error = Tensor::f_zeros([1 << 45], (Kind::Float, tch::Device::Cpu)).unwrap_err();
        let text = failure(error).to_string();
        assert!(text.contains("allocate memory") && text.ends_with("; a smaller batch needs less"), "{text}");
    }
}
