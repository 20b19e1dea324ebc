//! A log in memory.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{MetricSink, Record};
use crate::BoxError;
use crate::saved::{Array, StateDict, Stateful};
use crate::state::Phase;

/// Keeps records in memory, for a test, a notebook or a search over hyper-parameters.
///
/// A clone is a handle to the same records: it reads them during the run and after it, from any thread.
///
/// A record takes 48 bytes, and is never dropped: [`every`](super::MetricLog::every) and
/// [`only`](super::MetricLog::only) bound them. They are saved in checkpoints. A restored run has those up to
/// its checkpoint, and no later ones.
///
/// ```
/// # use regimen::metric::Key;
/// # use regimen::unit::TrainUnit;
/// # use regimen::{BoxError, Error, State};
/// # struct Doubles;
/// # impl TrainUnit for Doubles {
/// #     type Batch = f64;
/// #     fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
/// #         state.log(Key::mean("train/loss"), 2.0 * batch, 1.0);
/// #         Ok(())
/// #     }
/// # }
/// # fn main() -> Result<(), Error> {
/// # let mut unit = Doubles;
/// use regimen::Run;
/// use regimen::callback::Every;
/// use regimen::log::{MemoryLog, MetricLog};
/// use regimen::run::Train;
///
/// let log = MemoryLog::new();
/// let every = Every::steps(1).or(Every::epochs(1));
/// Run::new(&mut unit).callback(MetricLog::to(log.clone()).every(every)).train(&[1.0, 3.0], Train::epochs(1))?;
/// assert_eq!(log.step_values("train/loss"), [(1, 2.0), (2, 6.0)]);
/// assert_eq!(log.values("train/loss"), [(2, 4.0)]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryLog(Arc<Mutex<Records>>);

#[derive(Clone, Debug, Default)]
struct Records {
    /// In the order in which they were first written.
    names: Vec<String>,
    list: Vec<Kept>,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    /// Its place among the names.
    name: usize,
    phase: Phase,
    step: u64,
    epoch: Option<u64>,
    value: f64,
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        MemoryLog::default()
    }

    /// The values of `name` over epochs, of any phase, in order: each with the training steps completed
    /// then. Empty if there are none.
    pub fn values(&self, name: &str) -> Vec<(u64, f64)> {
        self.select(|record| record.name == name && record.epoch.is_some())
    }

    /// The values of `name` in single training steps, in order: each with its step, from 1. Empty if there
    /// are none.
    pub fn step_values(&self, name: &str) -> Vec<(u64, f64)> {
        self.select(|record| record.name == name && record.epoch.is_none())
    }

    /// Calls `read` with a copy of every record until now, in order.
    pub fn for_each(&self, read: impl FnMut(Record<'_>)) {
        // A copy, because `read` may ask the log again or take its time.
        let records = self.lock().clone();
        records.iter().for_each(read);
    }

    fn select(&self, is_selected: impl Fn(&Record<'_>) -> bool) -> Vec<(u64, f64)> {
        let records = self.lock();
        records.iter().filter(is_selected).map(|record| (record.step, record.value)).collect()
    }

    /// Takes the lock, also after a panic of a reader: no reader changes anything.
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Records {
    fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.list.iter().filter_map(|&Kept { name, phase, step, epoch, value }| {
            Some(Record { step, phase, name: self.names.get(name)?, value, epoch })
        })
    }

    fn push(&mut self, &Record { step, phase, name, value, epoch }: &Record<'_>) {
        let known = self.names.iter().position(|known| known == name);
        let name = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        self.list.push(Kept { name, phase, step, epoch, value });
    }

    fn read(dict: &StateDict) -> Result<Self, BoxError> {
        let names: Vec<String> = serde_json::from_str(&dict.array("names")?.to_text()?)?;
        let (values, counts) =
            (dict.array("values")?.to_vec::<f64>()?, dict.array("counts")?.to_vec::<u64>()?);
        let (counts, []) = counts.as_chunks::<4>() else {
            return Err("memory log: a row is incomplete".into());
        };
        if values.len() != counts.len() {
            let (values, counts) = (values.len(), counts.len());
            return Err(format!("memory log: {values} values, but {counts} rows of counts").into());
        }
        let kept = |(&[name, phase, step, epoch], value): (&[u64; 4], f64)| {
            let found = usize::try_from(name).ok().filter(|&name| name < names.len());
            let name = found.ok_or_else(|| format!("memory log: there is no name {name}"))?;
            let found = Phase::ALL.into_iter().find(|&known| known as u64 == phase);
            let phase = found.ok_or_else(|| format!("memory log: there is no phase {phase}"))?;
            Ok(Kept { name, phase, step, epoch: (epoch > 0).then_some(epoch), value })
        };
        let list = counts.iter().zip(values).map(kept).collect::<Result<_, BoxError>>()?;
        Ok(Records { names, list })
    }
}

impl MetricSink for MemoryLog {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("MetricLog(memory)")
    }

    fn write(&mut self, records: &[Record<'_>]) -> Result<(), BoxError> {
        let mut kept = self.lock();
        records.iter().for_each(|record| kept.push(record));
        Ok(())
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

/// Every record: its name, phase, step and epoch as counts, and its value.
impl Stateful for MemoryLog {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let records = self.lock();
        let counts = records.list.iter().flat_map(|&Kept { name, phase, step, epoch, .. }| {
            [name as u64, phase as u64, step, epoch.unwrap_or(0)]
        });
        let values: Vec<f64> = records.list.iter().map(|record| record.value).collect();
        let mut dict = StateDict::new();
        dict.insert("names", Array::from_text(&serde_json::to_string(&records.names)?))?;
        dict.insert("counts", Array::from_slice(&counts.collect::<Vec<u64>>()))?;
        dict.insert("values", Array::from_slice(&values))?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let read = Records::read(dict)?;
        *self.lock() = read;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        Records::read(dict).map(drop)
    }
}
