//! The records of logs.

use serde::{Serialize, Serializer};

use super::Number;
use crate::metric::Media;
use crate::state::Phase;

/// One value of one metric: a row of a CSV log, a line of a JSON log, with the fields in this order.
///
/// Values that are no finite numbers are written `NaN`, `inf` and `-inf`, in JSON as strings:
/// Python's `float()` and Rust's `parse` read them all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Record<'a> {
    /// Completed *training* steps, in every phase: the axis on which all metrics meet. Another [`Clock`](super::Clock)
    /// of the log gives another count of the training.
    pub step: u64,
    /// The phase it was logged in: `train`, `eval` or `predict`.
    #[serde(serialize_with = "phase")]
    pub phase: Phase,
    /// The name of its key.
    pub name: &'a str,
    /// The value of that one step, or the value over an epoch.
    #[serde(serialize_with = "number")]
    pub value: f64,
    /// The epoch of its phase that the value is over, from 1; empty (`null`) for that of one step.
    pub epoch: Option<u64>,
}

impl Record<'_> {
    /// The end of its name in logs in which a name has one value per step: a step and an epoch of training
    /// end at the same one.
    pub(super) fn suffix(&self) -> &'static str {
        if self.phase == Phase::Train && self.epoch.is_some() { "_epoch" } else { "" }
    }
}

/// A text, an image, a histogram or a sound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MediaRecord<'a> {
    /// Completed *training* steps, in every phase, or the count of the log's [`Clock`](super::Clock).
    pub step: u64,
    /// The phase it was logged in.
    pub phase: Phase,
    /// The name it was logged under.
    pub name: &'a str,
    /// The text, image, histogram or sound.
    pub media: &'a Media,
}

fn phase<S: Serializer>(phase: &Phase, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(phase.name())
}

fn number<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    Number(*value).serialize(serializer)
}
