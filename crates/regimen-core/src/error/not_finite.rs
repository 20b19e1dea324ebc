//! The cause of errors about numbers that are not finite.

use std::fmt;

/// A loss, a gradient or a weight is not finite: the cause of the errors that
/// [`AutoUnit`](crate::AutoUnit) returns under [`NonFinite::Error`](crate::auto_unit::NonFinite::Error).
///
/// A unit written by hand returns it from its step, so that
/// [`Error::is_not_finite`](crate::Error::is_not_finite) knows the error:
///
/// ```
/// use regimen_core::BoxError;
/// use regimen_core::error::NotFinite;
///
/// fn check(loss: f64) -> Result<f64, BoxError> {
///     if loss.is_finite() { Ok(loss) } else { Err(NotFinite::new(format!("the loss is {loss}")).into()) }
/// }
/// # assert_eq!(check(f64::NAN).unwrap_err().to_string(), "the loss is NaN");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFinite {
    text: String,
    step: Option<u64>,
}

impl NotFinite {
    /// A cause with this text, of the step that failed. From a hook at the end of a training epoch or of
    /// training it is of the last step.
    pub fn new(text: impl Into<String>) -> Self {
        NotFinite { text: text.into(), step: None }
    }

    /// The same, of training step `step`, which is not the one that failed: the number was read later. The
    /// first step is 0.
    pub fn of_step(self, step: u64) -> Self {
        NotFinite { step: Some(step), ..self }
    }

    /// The training step it is of, if it is not the one that failed.
    pub fn step(&self) -> Option<u64> {
        self.step
    }
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for NotFinite {}
