//! The seat of what a metric log writes to.

use std::borrow::Cow;

use super::Record;
use crate::BoxError;
use crate::saved::Stateful;
use crate::state::EntryPoint;

/// Something metrics are written to: a file, a tracker. Given to [`MetricLog::to`](super::MetricLog::to).
pub trait MetricSink: Send {
    /// Names the log in errors and checkpoints. Two logs of one run need two names.
    fn name(&self) -> Cow<'static, str>;

    /// A call of an entry point begins; the run's saver has its lock already. It comes again in later
    /// calls. What cannot work is best refused here, before hours of training.
    ///
    /// A pass by hand only adds to what there is: the records of a training that goes on later, in this
    /// process or another, must still be there.
    fn open(&mut self, _entry: EntryPoint) -> Result<(), BoxError> {
        Ok(())
    }

    /// What is worth telling about the log, once, and no error: asked for after each
    /// [`open`](MetricSink::open), and told as a [notice](crate::State::notices).
    fn notice(&mut self) -> Option<String> {
        None
    }

    /// Writes the records of one moment, in order: all of them or, where it returns an error, none.
    fn write(&mut self, records: &[Record<'_>]) -> Result<(), BoxError>;

    /// Makes what was written last: called before a checkpoint, and when a call ends or fails.
    fn flush(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    /// What a checkpoint holds of it; nothing by default.
    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        None
    }
}
