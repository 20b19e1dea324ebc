//! Losses and norms on the device, until they are known to be finite.

use super::AutoUnit;
use super::few::Few;
use super::task::Values;
use crate::engine::{Engine, Value};
use crate::error::NotFinite;
use crate::metric::Key;
use crate::metric::reading::{Read, Reading, Readings};
use crate::{BoxError, Task};

/// The numbers of steps that may still be on the device.
pub(super) struct Pending<S> {
    readings: Readings<S>,
    /// In the order in which they are read.
    unchecked: Vec<Unchecked>,
}

/// A number not yet known to be finite. If it is not finite, its update is left out on the device.
#[derive(Debug)]
struct Unchecked {
    /// Its training step.
    step: u64,
    what: What,
    number: Reading,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Loss,
    Norm,
}

impl<S: Send + 'static> Pending<S> {
    /// Without a number. `read` is that of the engine.
    pub(super) fn new(read: Read<S>) -> Self {
        Pending { readings: Readings::new(read), unchecked: Vec::new() }
    }

    /// Adds a number that may be anything.
    pub(super) fn add(&mut self, value: Value<S>) -> Reading {
        self.readings.add(value)
    }

    /// Adds numbers that may be anything, each with its key.
    pub(super) fn add_all(&mut self, values: Values<S>) -> Few<(Key, Reading)> {
        values.into_iter().map(|(key, value)| (key, self.add(value))).collect()
    }

    /// Adds a number of a training step. Returns it, and its value if that is known: `must_know` reads it at
    /// once. A number of `checked`, its step and kind, that stays on the device is checked when it is read.
    pub(super) fn add_of_step(
        &mut self,
        value: Value<S>,
        must_know: bool,
        checked: Option<(u64, What)>,
    ) -> Result<(Reading, Option<f64>), BoxError> {
        let number = self.readings.add(value);
        let known = if must_know { Some(number.get()?) } else { number.known() };
        if let (None, Some((step, what))) = (known, checked) {
            self.unchecked.push(Unchecked { step, what, number: number.clone() });
        }
        Ok((number, known))
    }

    /// Reads the numbers on the device.
    pub(super) fn read(&self) -> Result<(), BoxError> {
        self.readings.read()
    }

    /// Fails if a number that was read is not finite.
    pub(super) fn check(&self) -> Result<(), BoxError> {
        not_finite(&self.unchecked).map_or(Ok(()), Err)
    }

    /// Checks no number that is in it.
    pub(super) fn forget_unchecked(&mut self) {
        self.unchecked.clear();
    }

    /// The error of a number that was read and is not finite, once.
    fn take_error(&mut self) -> Option<BoxError> {
        if self.unchecked.first().is_none_or(|first| first.number.known().is_none()) {
            return None;
        }
        let error = not_finite(&self.unchecked);
        self.unchecked.retain(|unchecked| unchecked.number.known().is_none());
        if error.is_some() {
            self.unchecked.clear();
        }
        error
    }
}

impl<E: Engine, T: Task<E>> AutoUnit<E, T> {
    /// Reads the numbers on the device, and fails if one of them is not finite.
    pub(super) fn read_all(&mut self) -> Result<(), BoxError> {
        self.pending.read()?;
        self.check_known()
    }

    /// The same if the limit of numbers on the device is reached. Otherwise checks only those already read.
    pub(super) fn read_if_full(&mut self) -> Result<(), BoxError> {
        if self.pending.readings.is_full() { self.read_all() } else { self.check_known() }
    }

    /// Fails once if a number that was read meanwhile is not finite. The window under way is dropped with it.
    fn check_known(&mut self) -> Result<(), BoxError> {
        let Some(error) = self.pending.take_error() else { return Ok(()) };
        self.discard();
        Err(error)
    }
}

/// The error of the first number read that is not finite.
fn not_finite(unchecked: &[Unchecked]) -> Option<BoxError> {
    let known = |unchecked: &Unchecked| Some((unchecked.step, unchecked.what, unchecked.number.known()?));
    let (step, what, number) =
        unchecked.iter().filter_map(known).find(|(_, _, number)| !number.is_finite())?;
    // By now the arrays are those of a later step, so none of them is named.
    let text = match what {
        What::Loss => format!("the loss of step {step} is not finite: {number}"),
        What::Norm => {
            format!("the gradient of the update in step {step} is not finite: its norm is {number}")
        }
    };
    Some(NotFinite::new(text).of_step(step).into())
}
