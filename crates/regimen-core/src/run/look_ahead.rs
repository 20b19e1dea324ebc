//! Look-ahead by one batch: a step knows whether its batch is the last of the epoch.

use crate::BoxError;
use crate::data::{At, Data, Epoch, Fetched, shorter};
use crate::error::guard::{Caught, guard};
use crate::text::Count;

/// An epoch under way. If the data does not announce its number of batches, the next one is read ahead.
/// An error of that read is returned when the batch is due.
pub(crate) struct LookAhead<E: Epoch> {
    epoch: E,
    /// Batches of the epoch as announced by the data, those before it was opened included.
    announced: Option<u64>,
    cap: Option<u64>,
    ahead: Option<Next<E::Batch>>,
}

type Next<B> = Result<Option<Fetched<B>>, Caught>;

/// Opens the epoch of `at`, of which at most `cap` batches are read in all.
pub(crate) fn open<D: Data + ?Sized>(
    data: &D,
    at: At,
    cap: Option<u64>,
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
        Ok(LookAhead { epoch, announced, cap, ahead: None })
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
        let next = self.ahead.take().unwrap_or_else(|| read(&mut self.epoch))?;
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

    fn read_ahead_is_end(&mut self) -> bool {
        matches!(self.ahead.get_or_insert_with(|| read(&mut self.epoch)), Ok(None))
    }
}

fn read<E: Epoch>(epoch: &mut E) -> Next<E::Batch> {
    guard(|| epoch.next().transpose())
}
