//! The trait for destinations of metric records.

use std::borrow::Cow;

use super::{MediaRecord, Record};
use crate::run::Report;
use crate::saved::Stateful;
use crate::state::{EntryPoint, HyperParameters};
use crate::{BoxError, Error};

/// Work that makes records [durable](MetricSink::flush_later).
pub type Flush = Box<dyn FnOnce() -> Result<(), BoxError> + Send>;

/// A destination of metric records, such as a file or an experiment tracker: given to
/// [`MetricLog::to`](super::MetricLog::to).
///
/// A closure is one. A program with a custom logger of five lines:
///
/// ```
/// use regimen::log::{MetricLog, Record};
/// use regimen::run::Train;
/// use regimen::unit::TrainUnit;
/// use regimen::{BoxError, Error, Run, State};
/// # use regimen::metric::Key;
/// # struct Doubles;
/// # impl TrainUnit for Doubles {
/// #     type Batch = f64;
/// #     fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
/// #         state.log(Key::mean("train/loss"), 2.0 * batch, 1.0);
/// #         Ok(())
/// #     }
/// # }
///
/// fn main() -> Result<(), Error> {
///     let mut unit = Doubles;
///     # let told = std::sync::Mutex::new(Vec::new());
///     # macro_rules! println { ($($part:tt)*) => { told.lock().unwrap().push(format!($($part)*)) }; }
///     let log = MetricLog::to(|records: &[Record<'_>]| {
///         for Record { step, name, value, .. } in records {
///             println!("{step}: {name} {value}");
///         }
///         Ok(())
///     });
///     Run::new(&mut unit).callback(log).train(&[1.0, 2.0], Train::epochs(1))?;
///     # assert_eq!(*told.lock().unwrap(), ["2: train/loss 3"]);
///     Ok(())
/// }
/// ```
///
/// A destination that is opened, flushed or cut back is a type. One method is required:
///
/// ```
/// use std::io::Write;
///
/// use regimen::BoxError;
/// use regimen::log::{MetricSink, Record};
///
/// struct Socket(std::net::TcpStream);
///
/// impl MetricSink for Socket {
///     fn write(&mut self, records: &[Record<'_>]) -> Result<(), BoxError> {
///         let lines = records.iter().map(|record| format!("{} {}\n", record.name, record.value));
///         Ok(self.0.write_all(lines.collect::<String>().as_bytes())?)
///     }
/// }
/// ```
pub trait MetricSink: Send {
    /// Writes the records of one moment, in order: all of them or, if it returns an error, none.
    fn write(&mut self, records: &[Record<'_>]) -> Result<(), BoxError>;

    /// The name of the log in errors and checkpoints; a second one of the same name gets a number
    /// behind it. Default: the type's name without its path and parameters.
    fn name(&self) -> Cow<'static, str> {
        let name = std::any::type_name::<Self>();
        let name = name.split('<').next().unwrap_or(name);
        Cow::Borrowed(name.rsplit("::").next().unwrap_or(name))
    }

    /// A call of an entry point begins; the run's saver has its lock already. It comes again in later
    /// calls. Refuse a destination that cannot work here, before hours of training.
    ///
    /// A pass by hand only adds to what there is: the records of a training that goes on later, in this
    /// process or another, must still be there.
    fn open(&mut self, _entry: EntryPoint) -> Result<(), BoxError> {
        Ok(())
    }

    /// A message about the log that is no error, once: read after each event and after
    /// [`end`](MetricSink::end), and sent as a [notice](crate::State::notices). `None` by default.
    fn notice(&mut self) -> Option<String> {
        None
    }

    /// Whether records that could not be written are kept, and are written later: read after a failure, for the
    /// notice about it. `false` by default: they are missing.
    fn keeps_records(&self) -> bool {
        false
    }

    /// Writes a text, an image, a histogram or a sound. By default, and for a kind that the destination has no
    /// place for, nothing is written and it is no error.
    fn write_media(&mut self, _record: &MediaRecord<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    /// Writes the hyper-parameters of the run: called after each [`open`](MetricSink::open) for a
    /// training, if there are any. Nothing by default.
    fn write_hyper_parameters(&mut self, _settings: &HyperParameters) -> Result<(), BoxError> {
        Ok(())
    }

    /// A call of `train` or `fit` ended, with its report or its error, and all was saved: what is written
    /// here is behind every checkpoint, and is durable when it returns. Nothing by default.
    fn end(&mut self, _outcome: Result<&Report, &Error>) -> Result<(), BoxError> {
        Ok(())
    }

    /// Makes the records durable: called when a call ends or fails.
    fn flush(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    /// The work that makes the records so far durable, which the thread that writes a checkpoint does. By
    /// default the records are [flushed](MetricSink::flush) at once, and it returns `None`.
    fn flush_later(&mut self) -> Result<Option<Flush>, BoxError> {
        self.flush().map(|()| None)
    }

    /// The state of it in a checkpoint; `None` by default.
    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        None
    }
}

/// A closure writes each moment's records; nothing of it is saved.
impl<F: FnMut(&[Record<'_>]) -> Result<(), BoxError> + Send> MetricSink for F {
    fn write(&mut self, records: &[Record<'_>]) -> Result<(), BoxError> {
        self(records)
    }

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("MetricLog(closure)")
    }
}
