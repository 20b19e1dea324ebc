//! Losses and norms on the device, until they are known to be finite.

use super::AutoUnit;
use crate::engine::Engine;
use crate::metric::reading::Reading;
use crate::{BoxError, Task};

/// A number not yet known to be finite. If it is not finite, its update is left out on the device.
#[derive(Debug)]
pub(super) struct Unchecked {
    /// Its training step.
    pub(super) step: u64,
    pub(super) what: What,
    pub(super) number: Reading,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Loss,
    Norm,
}

impl<E: Engine, T: Task<E>> AutoUnit<E, T> {
    /// Reads the numbers on the device, and fails if one of them is not finite.
    pub(super) fn read_all(&mut self) -> Result<(), BoxError> {
        self.readings.read()?;
        self.check_known()
    }

    /// The same if the limit of numbers on the device is reached. Otherwise checks only those already read.
    pub(super) fn read_if_full(&mut self) -> Result<(), BoxError> {
        if self.readings.is_full() { self.read_all() } else { self.check_known() }
    }

    /// Fails once if a number that was read meanwhile is not finite. The window under way is dropped with it.
    fn check_known(&mut self) -> Result<(), BoxError> {
        // Numbers are read in the order of this list.
        if self.unchecked.first().is_none_or(|first| first.number.known().is_none()) {
            return Ok(());
        }
        let error = not_finite(&self.unchecked);
        self.unchecked.retain(|unchecked| unchecked.number.known().is_none());
        let Some(error) = error else { return Ok(()) };
        self.unchecked.clear();
        self.discard();
        Err(error)
    }
}

/// The error of the first number read that is not finite.
pub(super) fn not_finite(unchecked: &[Unchecked]) -> Option<BoxError> {
    let known = |unchecked: &Unchecked| Some((unchecked.step, unchecked.what, unchecked.number.known()?));
    let (step, what, number) =
        unchecked.iter().filter_map(known).find(|(_, _, number)| !number.is_finite())?;
    Some(match what {
        // By now the arrays are those of a later step, so none of them is named.
        What::Loss => format!("the loss of step {step} is not finite: {number}").into(),
        What::Norm => {
            format!("the gradient of the update in step {step} is not finite: its norm is {number}").into()
        }
    })
}
