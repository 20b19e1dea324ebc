//! An error with its causes in one line.

use std::fmt;

/// An error with its causes in one line, separated by colons: `{:#}` of [`Error`](crate::Error), for
/// any error.
///
/// An error that ends with the text of its cause is not followed by that cause, and one that ends with all its
/// causes by none of them. So each appears once.
///
/// ```
/// use regimen_core::error::WithCauses;
/// let error = "x".parse::<u8>().unwrap_err();
/// assert_eq!(WithCauses(&error).to_string(), "invalid digit found in string");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct WithCauses<'a>(pub &'a (dyn std::error::Error + 'a));

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.0.to_string();
        f.write_str(&told)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if told.ends_with(&WithCauses(cause).to_string()) {
                break;
            }
            if !told.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            told = text;
            next = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error with this text, and this cause.
    #[derive(Debug)]
    struct Link(&'static str, Option<Box<Link>>);

    impl fmt::Display for Link {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Link {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&**self.1.as_ref()?)
        }
    }

    #[test]
    fn each_cause_is_told_once() {
        let check = |texts: &[&'static str], expected: &str| {
            let link = texts.iter().rev().fold(None, |cause, text| Some(Box::new(Link(text, cause))));
            assert_eq!(link.map(|link| WithCauses(&*link).to_string()).as_deref(), Some(expected));
        };
        check(&["cannot read"], "cannot read");
        check(&["cannot read", "no file", "os error 2"], "cannot read: no file: os error 2");
        // Errors that contain the text of their cause.
        check(&["cannot read: no file", "no file"], "cannot read: no file");
        check(&["cannot read: no file", "no file", "os error 2"], "cannot read: no file: os error 2");
        check(
            &["cannot read: no file: os error 2", "no file", "os error 2"],
            "cannot read: no file: os error 2",
        );
    }
}
