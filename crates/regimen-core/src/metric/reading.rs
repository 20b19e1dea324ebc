//! Numbers of a step that stay on the device until somebody asks for them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::{fmt, mem};

use crate::BoxError;
use crate::engine::Value;

/// A number that is known, or that is read from the device when it is asked for. Clones are the same number,
/// which is read once.
#[derive(Clone)]
pub struct Reading(Source);

#[derive(Clone)]
enum Source {
    Host(f64),
    /// The number of that index among those that wait together.
    Device(Arc<dyn Batch>, usize),
}

impl Reading {
    /// The number. If it is still on the device, all that wait with it are read at once, and this waits for the
    /// device.
    pub fn get(&self) -> Result<f64, BoxError> {
        match &self.0 {
            Source::Host(number) => Ok(*number),
            Source::Device(batch, n) => batch.get(*n),
        }
    }

    /// The number if it is known without a wait for the device.
    pub(crate) fn known(&self) -> Option<f64> {
        match &self.0 {
            Source::Host(number) => Some(*number),
            Source::Device(batch, n) => batch.known(*n),
        }
    }

    /// The number without any wait, not even for a thread that reads it now. Returns `None` if that is not possible.
    pub fn try_get(&self) -> Option<f64> {
        match &self.0 {
            Source::Host(number) => Some(*number),
            Source::Device(batch, n) => batch.try_get(*n),
        }
    }
}

impl From<f64> for Reading {
    fn from(number: f64) -> Self {
        Reading(Source::Host(number))
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(number) => write!(f, "{number}"),
            None => f.write_str("not read"),
        }
    }
}

/// The numbers of an engine that were not read yet.
pub(crate) struct Readings<S>(Arc<Waiting<S>>);

impl<S: Send + 'static> Readings<S> {
    /// How many numbers may wait. A graph of a device is filled long before, so a read of this many costs
    /// nothing that is seen.
    const MOST: usize = 64;

    /// An empty list, to be read by `read`, a function of an engine.
    pub(crate) fn new(read: Read<S>) -> Self {
        Readings(Arc::new(Waiting::new(read)))
    }

    /// Takes a number, to be read when it is asked for.
    pub(crate) fn add(&mut self, value: Value<S>) -> Reading {
        let scalar = match value {
            Value::Host(number) => return number.into(),
            Value::Device(scalar) => scalar,
        };
        // What was read belongs to those who ask for it; the numbers from here on are another batch.
        if self.0.is_read() {
            self.0 = Arc::new(Waiting::new(self.0.read));
        }
        let mut numbers = self.0.numbers();
        numbers.waiting.push(scalar);
        Reading(Source::Device(self.0.clone(), numbers.waiting.len() - 1))
    }

    /// Whether as many wait as may.
    pub(crate) fn is_full(&self) -> bool {
        Self::MOST <= self.0.numbers().waiting.len()
    }

    /// Reads all that wait.
    pub(crate) fn read(&self) -> Result<(), BoxError> {
        self.0.numbers().read(self.0.read)
    }
}

/// Numbers that are read together.
trait Batch: Send + Sync {
    fn known(&self, n: usize) -> Option<f64>;
    fn try_get(&self, n: usize) -> Option<f64>;
    fn get(&self, n: usize) -> Result<f64, BoxError>;
}

struct Waiting<S> {
    read: Read<S>,
    numbers: Mutex<Numbers<S>>,
}

/// Reads numbers, in their order.
pub(crate) type Read<S> = fn(&[S]) -> Result<Vec<f64>, BoxError>;

struct Numbers<S> {
    known: Vec<f64>,
    /// All of them, until they are read.
    waiting: Vec<S>,
}

impl<S> Waiting<S> {
    fn new(read: Read<S>) -> Self {
        Waiting { read, numbers: Mutex::new(Numbers { known: Vec::new(), waiting: Vec::new() }) }
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers<S>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_read(&self) -> bool {
        !self.numbers().known.is_empty()
    }
}

impl<S> Numbers<S> {
    fn read(&mut self, read: Read<S>) -> Result<(), BoxError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let known = read(&self.waiting)?;
        if known.len() != self.waiting.len() {
            return Err(format!("the engine read {} numbers of {}", known.len(), self.waiting.len()).into());
        }
        self.known = known;
        drop(mem::take(&mut self.waiting));
        Ok(())
    }
}

impl<S: Send> Batch for Waiting<S> {
    fn known(&self, n: usize) -> Option<f64> {
        self.numbers().known.get(n).copied()
    }

    fn try_get(&self, n: usize) -> Option<f64> {
        match self.numbers.try_lock() {
            Ok(numbers) => numbers.known.get(n).copied(),
            Err(TryLockError::Poisoned(numbers)) => numbers.into_inner().known.get(n).copied(),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn get(&self, n: usize) -> Result<f64, BoxError> {
        let mut numbers = self.numbers();
        numbers.read(self.read)?;
        numbers.known.get(n).copied().ok_or_else(|| "a number was not read".into())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static READS: Cell<u64> = const { Cell::new(0) };
    }

    fn doubled(numbers: &[f64]) -> Result<Vec<f64>, BoxError> {
        READS.set(READS.get() + 1);
        Ok(numbers.iter().map(|number| 2.0 * number).collect())
    }

    #[test]
    fn all_that_wait_are_read_at_once_and_each_once() {
        let mut readings = Readings::new(doubled);
        let numbers: Vec<Reading> = [1.0, 2.0].map(|number| readings.add(Value::Device(number))).into();
        let host = readings.add(Value::Host(7.0));
        assert_eq!((numbers[0].known(), host.known(), READS.get()), (None, Some(7.0), 0));
        assert_eq!((numbers[1].get().unwrap(), numbers[0].known(), READS.get()), (4.0, Some(2.0), 1));
        let later = readings.add(Value::Device(3.0));
        assert_eq!((numbers[0].get().unwrap(), later.known(), READS.get()), (2.0, None, 1));
        readings.read().unwrap();
        readings.read().unwrap();
        assert_eq!((later.known(), numbers[1].known(), READS.get()), (Some(6.0), Some(4.0), 2));
    }

    #[test]
    fn at_most_64_wait() {
        let mut readings = Readings::new(doubled);
        for n in 0..64 {
            assert!(!readings.is_full(), "{n}");
            readings.add(Value::Device(0.0));
        }
        assert!(readings.is_full());
        readings.read().unwrap();
        assert!(!readings.is_full());
    }

    #[test]
    fn a_read_that_fails_is_made_again_and_one_of_too_few_is_refused() {
        thread_local!(static FAILS: Cell<bool> = const { Cell::new(true) });
        let mut readings = Readings::new(|numbers: &[f64]| match FAILS.get() {
            true => Err("once".into()),
            false => Ok(numbers.to_vec()),
        });
        let number = readings.add(Value::Device(1.0));
        assert_eq!(number.get().unwrap_err().to_string(), "once");
        FAILS.set(false);
        assert_eq!(number.get().unwrap(), 1.0);
        let number = Readings::new(|_: &[f64]| Ok(vec![])).add(Value::Device(1.0));
        assert_eq!(number.get().unwrap_err().to_string(), "the engine read 0 numbers of 1");
    }

    #[test]
    fn a_number_that_is_being_read_is_not_waited_for() {
        thread_local! {
            static NUMBER: std::cell::RefCell<Option<Reading>> = const { std::cell::RefCell::new(None) };
            static MEANWHILE: Cell<Option<f64>> = const { Cell::new(Some(0.0)) };
        }
        let mut readings = Readings::new(|waiting: &[f64]| {
            MEANWHILE.set(NUMBER.with_borrow(|number| number.as_ref().unwrap().try_get()));
            Ok(waiting.to_vec())
        });
        let number = readings.add(Value::Device(3.0));
        NUMBER.set(Some(number.clone()));
        assert_eq!(number.try_get(), None);
        assert_eq!((number.get().unwrap(), MEANWHILE.get()), (3.0, None));
        assert_eq!(number.try_get(), Some(3.0));
    }
}
