//! Look-ahead by one batch: a step knows whether its batch is the last of the epoch.

use crate::BoxError;
use crate::data::{At, Data, Epoch, Fetched, shorter};
use crate::error::guard::{Caught, guard};
use crate::text::Count;

/// An epoch under way. If the data does not announce its number of batches, the next one is read ahead.
/// An error of that read is returned when the batch is due.
pub(crate) struct LookAhead<E: Epoch> {
    epoch: E,
    /// Batches of the epoch as announced by the data, those before it was opened included, less those that are
    /// passed over.
    announced: Option<u64>,
    cap: Option<u64>,
    ahead: Option<Next<E::Batch>>,
    /// Batches that the data has given, those before it was opened included.
    given: u64,
    /// Batches of the data that are read and dropped, in order.
    passed_over: Vec<u64>,
}

type Next<B> = Result<Option<Fetched<B>>, Caught>;

/// The batch of the data for the step after `done` steps of an epoch, of which some are passed over.
pub(crate) fn batch_of(done: u64, passed_over: &[u64]) -> u64 {
    passed_over.iter().fold(done, |batch, &passed| batch + u64::from(passed <= batch))
}

/// Batches of the data up to the one of the last of `done` steps.
pub(crate) fn consumed(done: u64, passed_over: &[u64]) -> u64 {
    done.checked_sub(1).map_or(0, |last| batch_of(last, passed_over) + 1)
}

/// Opens the epoch of `at`, of which at most `cap` batches are read in all, and `passed_over` are dropped.
pub(crate) fn open<D: Data + ?Sized>(
    data: &D,
    at: At,
    cap: Option<u64>,
    passed_over: Vec<u64>,
) -> Result<LookAhead<impl Epoch<Batch = D::Batch>>, Caught> {
    guard(|| {
        let skip = at.skip;
        let epoch = data.epoch(at)?;
        let announced = match epoch.batches_left() {
            Some(left) => skip.checked_add(left),
            None => data.batches(),
        };
        if let Some(announced) = announced.filter(|&announced| announced < skip) {
            return Err(shorter(skip, announced));
        }
        let announced = announced
            .map(|batches| batches - passed_over.iter().filter(|&&passed| passed < batches).count() as u64);
        Ok(LookAhead { epoch, announced, cap, ahead: None, given: skip, passed_over })
    })
}

impl<E: Epoch> LookAhead<E> {
    /// Steps of the epoch, those before it was opened included. Returns `None` if unknown.
    pub(crate) fn steps(&self) -> Option<u64> {
        [self.announced, self.cap].into_iter().flatten().min()
    }

    /// Whether the epoch is over after `done` batches. Reads the next batch if only that can say it.
    pub(crate) fn peek_end(&mut self, done: u64) -> bool {
        if self.cap.is_some_and(|cap| cap <= done) {
            return true;
        }
        match self.announced {
            Some(announced) => announced <= done && self.read_ahead_is_end(),
            None => self.read_ahead_is_end(),
        }
    }

    /// Takes the batch that comes after `done` batches.
    pub(crate) fn next(&mut self, done: u64) -> Result<Fetched<E::Batch>, Caught> {
        let next = match self.ahead.take() {
            Some(ahead) => ahead?,
            None => self.read()?,
        };
        let wrong = |announced: u64, gave: &str| {
            let text = format!("it announced {} per epoch and gave {gave}", Count(announced, "batch"));
            Err(Caught::Failed(BoxError::from(text)))
        };
        match (next, self.announced) {
            (Some(_), Some(announced)) if announced <= done => wrong(announced, "more"),
            (Some(fetched), _) => Ok(fetched),
            (None, announced) => wrong(announced.unwrap_or(done), &done.to_string()),
        }
    }

    /// A message of the data that is no error.
    pub(crate) fn notice(&mut self) -> Option<String> {
        guard(|| Ok(self.epoch.notice())).ok().flatten()
    }

    /// The error of a batch that was read ahead.
    pub(crate) fn take_failure(&mut self) -> Option<Caught> {
        self.ahead.take_if(|ahead| ahead.is_err()).and_then(Result::err)
    }

    fn read_ahead_is_end(&mut self) -> bool {
        if self.ahead.is_none() {
            self.ahead = Some(self.read());
        }
        matches!(self.ahead, Some(Ok(None)))
    }

    /// Reads the next batch that is not passed over.
    fn read(&mut self) -> Next<E::Batch> {
        loop {
            let next = guard(|| self.epoch.next().transpose());
            let is_passed_over = self.passed_over.binary_search(&self.given).is_ok();
            self.given += 1;
            if !(is_passed_over && matches!(next, Ok(Some(_)))) {
                return next;
            }
        }
    }
}
