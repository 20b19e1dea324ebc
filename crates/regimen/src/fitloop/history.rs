//! The values that the stages of a fit loop returned.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Figure, Set};
use crate::BoxError;
use crate::saved::{Array, StateDict, Stateful};
use crate::text::Count;

/// The values that the stages returned, by set, run, stage and name.
///
/// A run is one call of [`fit`](super::FitLoop::fit), over the training and the validation set, or one of
/// [`test`](super::FitLoop::test). A fit that was paused or restored goes on with its run. One that failed is
/// [aborted](RunStatus::Aborted), and the next call begins a run. A
/// [sanity check](super::FitLoop::sanity_check) is no run.
///
/// It is saved in checkpoints, and takes 8 bytes per value.
///
/// ```
/// # use regimen::fitloop::{History, Set};
/// fn accuracies(history: &History) -> Option<&[f64]> {
///     history.of(Set::Valid).last()?.epoch_end("accuracy")
/// }
/// ```
#[derive(Debug, Default)]
pub struct History {
    runs: [Vec<RunHistory>; 3],
}

/// The values of one set in one run.
#[derive(Clone, Debug, Default)]
pub struct RunHistory {
    status: RunStatus,
    epoch_start: Columns,
    step: Columns,
    epoch_end: Columns,
}

/// The end of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunStatus {
    /// The run is under way, or paused.
    #[default]
    Open,
    /// The run came to its end.
    Complete,
    /// The run failed, or it is a test that was paused.
    Aborted,
}

/// The runs in a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// The newest run.
    Last,
    /// All runs, one after another.
    All,
    /// The run of this number, from 0.
    Of(usize),
}

/// The values of one stage by name.
type Columns = BTreeMap<String, Vec<f64>>;

impl History {
    /// The runs over `set`, in order. Those over the training and the validation set are the same runs.
    pub fn of(&self, set: Set) -> &[RunHistory] {
        &self.runs[set as usize]
    }

    /// The chart of `name` in `runs`, over the training set and the validation set. If there are not as many values
    /// of both, it has the line of the training set alone. Values are found as by [`RunHistory::get`]; if some runs have
    /// values of epochs, those of the steps of other runs are left out.
    ///
    /// A name without values is an error that lists those with values.
    pub fn figure(&self, name: &str, runs: Runs) -> Result<Figure, BoxError> {
        let [train, valid] = [Set::Train, Set::Valid].map(|set| self.line(set, name, runs));
        let (x_label, values) = match (&train, &valid) {
            (Err(_), Ok(_)) => return self.figure_of(Set::Valid, name, runs),
            _ => train?,
        };
        let figure = Figure::new(name).x_label(x_label).line("train", &values);
        Ok(match valid {
            Ok((label, valid)) if label == x_label && valid.len() == values.len() => {
                figure.line("valid", &valid)
            }
            _ => figure,
        })
    }

    /// The chart of `name` in `runs` over one set.
    pub fn figure_of(&self, set: Set, name: &str, runs: Runs) -> Result<Figure, BoxError> {
        let (x_label, values) = self.line(set, name, runs)?;
        Ok(Figure::new(name).x_label(x_label).line(set.name(), &values))
    }

    /// The values of a chart, and the name of its numbers.
    fn line(&self, set: Set, name: &str, runs: Runs) -> Result<(&'static str, Vec<f64>), BoxError> {
        let all = self.of(set);
        let chosen = match runs {
            Runs::All => all,
            Runs::Last => &all[all.len().saturating_sub(1)..],
            Runs::Of(n) => {
                let run = all.get(n).map(std::slice::from_ref);
                run.ok_or_else(|| {
                    format!(
                        "no run over the {} set has the number {n}: it has had {}",
                        set.name(),
                        Count(all.len() as u64, "run")
                    )
                })?
            }
        };
        let lines: Vec<_> = chosen.iter().filter_map(|run| run.line(name)).collect();
        let of_epochs = lines.iter().find(|(label, _)| *label == EPOCH);
        let Some(&(x_label, _)) = of_epochs.or(lines.first()) else {
            let names: BTreeSet<_> =
                chosen.iter().flat_map(RunHistory::names).map(|name| format!("`{name}`")).collect();
            let names = Vec::from_iter(names).join(", ");
            return Err(match names.is_empty() {
                true => format!("`{name}` cannot be drawn: no run over the {} set has values", set.name()),
                false => format!("no stage of the {} set returned `{name}`; there are {names}", set.name()),
            }
            .into());
        };
        let alike = lines.into_iter().filter(|(label, _)| *label == x_label);
        Ok((x_label, alike.flat_map(|(_, values)| values).copied().collect()))
    }

    /// Forgets all runs.
    pub fn clear(&mut self) {
        *self = History::default();
    }

    /// The open run over `set`. If there is none, a run begins.
    pub(super) fn open(&mut self, set: Set) -> &mut RunHistory {
        if self.of(set).last().is_none_or(|run| run.status != RunStatus::Open) {
            together(set).iter().for_each(|&set| self.runs[set as usize].push(RunHistory::default()));
        }
        let runs = &mut self.runs[set as usize];
        let last = runs.len() - 1;
        &mut runs[last]
    }

    /// Ends the open run over `set`, if there is one.
    pub(super) fn end(&mut self, set: Set, status: RunStatus) {
        for &set in together(set) {
            if let Some(run) = self.runs[set as usize].last_mut().filter(|run| run.status == RunStatus::Open)
            {
                run.status = status;
            }
        }
    }
}

/// The name of the numbers of epochs.
const EPOCH: &str = "epoch";

/// The sets that are in a run with `set`.
fn together(set: Set) -> &'static [Set] {
    match set {
        Set::Train | Set::Valid => &[Set::Train, Set::Valid],
        Set::Test => &[Set::Test],
    }
}

impl RunHistory {
    /// Whether the run came to its end.
    pub fn status(&self) -> RunStatus {
        self.status
    }

    /// The values of `name` at the starts of the epochs.
    pub fn epoch_start(&self, name: &str) -> Option<&[f64]> {
        find(&self.epoch_start, name)
    }

    /// The values of `name` at the steps of all epochs that ended. Returns `None` for every name if
    /// [`track_steps`](super::FitLoop::track_steps) is off.
    pub fn step(&self, name: &str) -> Option<&[f64]> {
        find(&self.step, name)
    }

    /// The values of `name` at the ends of the epochs.
    pub fn epoch_end(&self, name: &str) -> Option<&[f64]> {
        find(&self.epoch_end, name)
    }

    /// The values of `name` at the ends of the epochs; else those at the steps; else those at the starts of the
    /// epochs.
    pub fn get(&self, name: &str) -> Option<&[f64]> {
        self.line(name).map(|(_, values)| values)
    }

    /// The same, after the name of their numbers.
    fn line(&self, name: &str) -> Option<(&'static str, &[f64])> {
        let of_epochs = |values| (EPOCH, values);
        let steps = || self.step(name).map(|values| ("step", values));
        self.epoch_end(name).map(of_epochs).or_else(steps).or_else(|| self.epoch_start(name).map(of_epochs))
    }

    /// The names that have values, sorted.
    pub fn names(&self) -> BTreeSet<&str> {
        let stages = [&self.epoch_end, &self.step, &self.epoch_start];
        stages.into_iter().flatten().map(|(name, _)| &**name).collect()
    }

    pub(super) fn add_epoch_start(&mut self, name: &str, value: f64) {
        self.epoch_start.entry(name.to_owned()).or_default().push(value);
    }

    pub(super) fn add_steps(&mut self, name: &str, values: &[f64]) {
        self.step.entry(name.to_owned()).or_default().extend_from_slice(values);
    }

    pub(super) fn add_epoch_end(&mut self, name: &str, value: f64) {
        self.epoch_end.entry(name.to_owned()).or_default().push(value);
    }
}

fn find<'c>(columns: &'c Columns, name: &str) -> Option<&'c [f64]> {
    columns.get(name).map(|values| &**values)
}

/// A run as it is saved: numbers of values by name. The values of all are in one array, in the same order.
#[derive(Serialize, Deserialize)]
struct Saved {
    status: RunStatus,
    epoch_start: Lengths,
    step: Lengths,
    epoch_end: Lengths,
}

type Lengths = BTreeMap<String, usize>;

/// Two arrays: the index of all runs, and all values.
impl Stateful for History {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut values = Vec::new();
        let mut lengths = |columns: &Columns| {
            let length = |(name, column): (&String, &Vec<f64>)| {
                values.extend_from_slice(column);
                (name.clone(), column.len())
            };
            columns.iter().map(length).collect()
        };
        let mut saved = |run: &RunHistory| Saved {
            status: run.status,
            epoch_start: lengths(&run.epoch_start),
            step: lengths(&run.step),
            epoch_end: lengths(&run.epoch_end),
        };
        let index = self.runs.each_ref().map(|runs| runs.iter().map(&mut saved).collect::<Vec<_>>());
        let mut dict = StateDict::new();
        dict.insert("index", Array::from_text(&serde_json::to_string(&index)?))?;
        dict.insert("values", Array::from_slice(&values))?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        *self = History::read(dict)?;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        History::read(dict).map(drop)
    }
}

impl History {
    fn read(dict: &StateDict) -> Result<Self, BoxError> {
        let mut loaded = History::default();
        // Older checkpoints lack it.
        if !dict.is_empty() {
            let values = dict.array("values")?.to_vec::<f64>()?;
            let mut rest = &*values;
            let mut columns = |lengths: Lengths| {
                let column = |(name, length)| {
                    let (values, after) =
                        rest.split_at_checked(length).ok_or("values of the history are missing")?;
                    rest = after;
                    Ok((name, values.to_vec()))
                };
                lengths.into_iter().map(column).collect::<Result<Columns, BoxError>>()
            };
            let index: [Vec<Saved>; 3] = serde_json::from_str(&dict.array("index")?.to_text()?)?;
            for (runs, saved) in loaded.runs.iter_mut().zip(index) {
                for Saved { status, epoch_start, step, epoch_end } in saved {
                    let [epoch_start, step, epoch_end] =
                        [columns(epoch_start)?, columns(step)?, columns(epoch_end)?];
                    runs.push(RunHistory { status, epoch_start, step, epoch_end });
                }
            }
            if loaded.runs[0].len() != loaded.runs[1].len() {
                return Err("the runs of training and of validation differ in number".into());
            }
        }
        Ok(loaded)
    }
}
