//! What befalls a part of the run beside its pause.

use std::fmt;
use std::str::FromStr;

use regimen_core::BoxError;

/// What befalls a part of the run beside its pause. None of it may be seen in what the run leaves
/// behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// Before it, and behind its pause, other data is evaluated and predicted by hand.
    ByHand,
    /// A step fails, and the run goes on.
    Fails(Fault),
    /// A step fails, and the part is over.
    FailsAndEnds(Fault),
    /// Its epochs end by the data, later than by the cap of the others.
    Uncapped,
    /// Early stopping ends the run in an evaluation at the last step of an epoch.
    EndsEarly,
    /// The same, with an error behind so many steps; one step further than there are, behind the whole
    /// evaluation.
    EndsEarlyAndFails(u64),
    /// Behind its pause a prediction begins that is paused too; it is continued before the next part.
    Predicts,
}

/// A step that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// After how many training steps: the first time then that the run comes to the place.
    pub at: u64,
    /// Where: one of [`PLACES`].
    pub place: usize,
    /// Whether it panics, or returns an error.
    pub panics: bool,
}

/// Where a step can fail.
pub const PLACES: [&str; 4] = ["loss", "after_backward", "before_update", "on_train_step_end"];

impl Trouble {
    /// The fault, if it is one.
    pub(super) fn fault(self) -> Option<Fault> {
        match self {
            Trouble::Fails(fault) | Trouble::FailsAndEnds(fault) => Some(fault),
            _ => None,
        }
    }

    /// Whether the run is one that early stopping ends in mid-way.
    pub(super) fn ends_early(self) -> bool {
        matches!(self, Trouble::EndsEarly | Trouble::EndsEarlyAndFails(_))
    }
}

/// One word, for the command of a process.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, Fault { at, place, panics }) = match *self {
            Trouble::None => return f.write_str("undisturbed"),
            Trouble::ByHand => return f.write_str("with-passes-by-hand"),
            Trouble::Uncapped => return f.write_str("without-a-cap"),
            Trouble::EndsEarly => return f.write_str("ending-early"),
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
            ["ending-early-with-an-error-after", at] => Trouble::EndsEarlyAndFails(at.parse()?),
            ["failing-after", at, how, place] => Trouble::Fails(fault(at, how, place)?),
            ["ended-by-a-failure-after", at, how, place] => Trouble::FailsAndEnds(fault(at, how, place)?),
            _ => return Err(format!("`{text}` befalls no run").into()),
        })
    }
}
