//! The report of a call of an entry point.

use std::borrow::Borrow;
use std::fmt;

use crate::metric::{Best, Improvement, Key};
use crate::state::{Phase, Progress};
use crate::text::{Count, Short};

/// Why a call ended, the progress of the run, and its metrics.
///
/// As text it says how the call ended and after how much, the best values, and the newest checkpoint.
///
/// ```text
/// training complete after 40 epochs, 880 steps
/// best eval/loss 0.05613 in epoch 31, at step 682: runs/digits/step-000000682
/// saved in runs/digits/step-000000880
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The phase of the call: [`Phase::Train`] for `train` and `fit`.
    pub phase: Phase,
    /// Why the call ended.
    pub ended: Ended,
    /// The progress of the training.
    pub train: Progress,
    /// The progress of the evaluation.
    pub eval: Progress,
    /// The progress of the prediction.
    pub predict: Progress,
    /// The metrics of every epoch that ended during the call, training and evaluation in the
    /// order in which they ended.
    pub epochs: Vec<EpochMetrics>,
    /// The notices of the call, in order: see [`Event::Notice`](crate::callback::Event::Notice).
    pub notices: Vec<String>,
    /// Steps with gradients that wait for an update, because the call ended inside an accumulation
    /// window. The next call continues with them.
    pub pending_steps: u64,
    /// The best value of each metric that a rule of the run judges, over all its calls and restarts;
    /// empty except for `train` and `fit`.
    pub bests: Vec<Best>,
    /// The newest checkpoint that the saver made in this process; `None` except for `train` and `fit`.
    pub saved: Option<String>,
}

/// Why a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The work is done: a limit was reached, or the data of an evaluation or prediction ended.
    Complete,
    /// Something asked the run to pause; it can go on as if it had not.
    Paused(String),
    /// A rule ended the run for good: see [`Stop::Finish`](crate::state::Stop::Finish).
    Finished(String),
}

/// The metrics of one epoch.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EpochMetrics {
    /// The phase of the epoch.
    pub phase: Phase,
    /// The number of the epoch, from 1.
    pub epoch: u64,
    /// Completed training steps at its end.
    pub train_step: u64,
    /// The value of each metric logged in it, in the order in which they were first logged.
    pub values: Vec<(Key, f64)>,
}

impl Report {
    /// The value of `key` in the newest epoch of this call that has it.
    pub fn metric(&self, key: impl Borrow<Key>) -> Option<f64> {
        let key = key.borrow();
        self.epochs.iter().rev().find_map(|epoch| epoch.metric(key))
    }

    /// The value of each metric in the newest epoch of this call that has it, in the order in which they were first
    /// logged.
    pub fn metrics(&self) -> Vec<(Key, f64)> {
        let mut metrics: Vec<(Key, f64)> = Vec::new();
        for (key, value) in self.epochs.iter().flat_map(|epoch| &epoch.values) {
            match metrics.iter_mut().find(|(known, _)| known.name() == key.name()) {
                Some((_, known)) => *known = *value,
                None => metrics.push((key.clone(), *value)),
            }
        }
        metrics
    }

    /// The best value of `key` over the run and its restarts, with its epoch, step and checkpoint.
    ///
    /// A key does not say which of its values are better: a rule of the run does, such as
    /// `EarlyStopping` or `Checkpointer::keep_min`. Returns `None` if no rule judges this metric or has
    /// seen a value of it, or if two rules want the opposite. Without a rule use
    /// [`min_of_call`](Report::min_of_call) or [`max_of_call`](Report::max_of_call).
    pub fn best(&self, key: impl Borrow<Key>) -> Option<&Best> {
        let mut of_key = self.bests.iter().filter(|best| best.key.name() == key.borrow().name());
        of_key.next().filter(|_| of_key.next().is_none())
    }

    /// The epoch of this call with the smallest value of `key`, the first of equal ones. Epochs before
    /// a pause or a restart do not count. NaN is never the smallest.
    pub fn min_of_call(&self, key: impl Borrow<Key>) -> Option<&EpochMetrics> {
        self.best_of_call(key.borrow(), Improvement::min())
    }

    /// The same with the largest value.
    pub fn max_of_call(&self, key: impl Borrow<Key>) -> Option<&EpochMetrics> {
        self.best_of_call(key.borrow(), Improvement::max())
    }

    fn best_of_call(&self, key: &Key, improvement: Improvement) -> Option<&EpochMetrics> {
        let mut best = None;
        for (epoch, value) in self.epochs.iter().filter_map(|epoch| Some((epoch, epoch.metric(key)?))) {
            if improvement.is_better(value, best.map(|(_, value)| value)) {
                best = Some((epoch, value));
            }
        }
        best.map(|(epoch, _)| epoch)
    }

    /// Adds the best that a rule knows, for [`sum_up`](crate::Callback::sum_up). Of two about one
    /// metric and goal the better stays, and of equal ones the one with a checkpoint.
    pub fn add_best(&mut self, best: Best) {
        let same = |known: &&mut Best| known.key.name() == best.key.name() && known.goal == best.goal;
        match self.bests.iter_mut().find(same) {
            None => self.bests.push(best),
            Some(known) => {
                let located = best.value == known.value && known.checkpoint.is_none();
                if located || best.goal.is_better(best.value, known.value) {
                    *known = best;
                }
            }
        }
    }
}

impl EpochMetrics {
    /// The value of `key`.
    pub fn metric(&self, key: impl Borrow<Key>) -> Option<f64> {
        self.values.iter().find(|(k, _)| k.name() == key.borrow().name()).map(|(_, value)| *value)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { ended, train, .. } = self;
        match self.phase {
            Phase::Train => write!(f, "training {ended} after {train}")?,
            Phase::Eval => write!(f, "evaluation {ended}")?,
            Phase::Predict => write!(f, "prediction {ended}")?,
        }
        if self.phase == Phase::Train && ![0, train.steps].contains(&train.updates) {
            write!(f, ", {}", Count(train.updates, "update"))?;
        }
        if let (Phase::Eval, Some(epoch)) = (self.phase, self.epochs.last()) {
            for (i, (key, value)) in epoch.values.iter().enumerate() {
                let before = if i == 0 { ": " } else { ", " };
                write!(f, "{before}{key} {}", Short(*value))?;
            }
        }
        for best in &self.bests {
            write!(f, "\nbest {best}")?;
        }
        match &self.saved {
            Some(saved) => write!(f, "\nsaved in {saved}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Complete => f.write_str("complete"),
            Ended::Paused(reason) => write!(f, "paused: {reason}"),
            Ended::Finished(reason) => write!(f, "finished: {reason}"),
        }
    }
}
