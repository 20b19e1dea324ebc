//! Trouble of a part of the run in addition to its pause.

use std::fmt;
use std::str::FromStr;

use regimen_core::BoxError;

/// Trouble of a part of the run in addition to its pause. None of it may change the outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// No trouble.
    #[default]
    None,
    /// Manual evaluation and prediction of other data before the part and after its pause.
    ByHand,
    /// A step fails, and the run continues.
    Fails(Fault),
    /// A step fails, and the part ends.
    FailsAndEnds(Fault),
    /// Epochs end with the data, later than by the cap of the other parts.
    Uncapped,
    /// Early stopping ends the run in an evaluation at the last step of an epoch.
    EndsEarly,
    /// The same, with an error after this number of steps. One step more than there are means after
    /// the whole evaluation.
    EndsEarlyAndFails(u64),
    /// A prediction starts after the pause and is paused too. It continues before the next part.
    Predicts,
    /// No dropout and no running statistics, and data that any number of ranks can share.
    AnyRanks,
}

/// A step that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Number of training steps before the fault. It occurs the next time the run reaches the place.
    pub at: u64,
    /// Index of the place in [`PLACES`].
    pub place: usize,
    /// Panics if `true`; otherwise returns an error.
    pub panics: bool,
}

/// The places at which a step can fail.
pub const PLACES: [&str; 4] = ["loss", "after_backward", "before_update", "on_train_step_end"];

impl Trouble {
    /// Returns the fault, if the trouble is one.
    pub(super) fn fault(self) -> Option<Fault> {
        match self {
            Trouble::Fails(fault) | Trouble::FailsAndEnds(fault) => Some(fault),
            _ => None,
        }
    }

    /// Returns `true` if early stopping ends the run halfway.
    pub(super) fn ends_early(self) -> bool {
        matches!(self, Trouble::EndsEarly | Trouble::EndsEarlyAndFails(_))
    }
}

/// One word, as an argument of a child process.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, Fault { at, place, panics }) = match *self {
            Trouble::None => return f.write_str("undisturbed"),
            Trouble::ByHand => return f.write_str("with-passes-by-hand"),
            Trouble::Uncapped => return f.write_str("without-a-cap"),
            Trouble::EndsEarly => return f.write_str("ending-early"),
            Trouble::AnyRanks => return f.write_str("for-any-ranks"),
            Trouble::Predicts => return f.write_str("with-a-prediction"),
            Trouble::EndsEarlyAndFails(at) => return write!(f, "ending-early-with-an-error-after:{at}"),
            Trouble::Fails(fault) => ("failing-after", fault),
            Trouble::FailsAndEnds(fault) => ("ended-by-a-failure-after", fault),
        };
        let how = if panics { "panic" } else { "error" };
        write!(f, "{name}:{at}:{how}:{}", PLACES[place])
    }
}

impl FromStr for Trouble {
    type Err = BoxError;

    fn from_str(text: &str) -> Result<Self, BoxError> {
        let fault = |at: &str, how: &str, place: &str| {
            let place = PLACES.iter().position(|name| *name == place).ok_or("no such place")?;
            Ok::<_, BoxError>(Fault { at: at.parse()?, place, panics: how == "panic" })
        };
        Ok(match text.split(':').collect::<Vec<_>>()[..] {
            ["undisturbed"] => Trouble::None,
            ["with-passes-by-hand"] => Trouble::ByHand,
            ["without-a-cap"] => Trouble::Uncapped,
            ["ending-early"] => Trouble::EndsEarly,
            ["with-a-prediction"] => Trouble::Predicts,
            ["for-any-ranks"] => Trouble::AnyRanks,
            ["ending-early-with-an-error-after", at] => Trouble::EndsEarlyAndFails(at.parse()?),
            ["failing-after", at, how, place] => Trouble::Fails(fault(at, how, place)?),
            ["ended-by-a-failure-after", at, how, place] => Trouble::FailsAndEnds(fault(at, how, place)?),
            _ => return Err(format!("`{text}` is no trouble").into()),
        })
    }
}
