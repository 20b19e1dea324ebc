//! A unit whose every bit depends on all its inputs, and runs of it on a disk in memory.

use std::path::Path;
use std::sync::{Arc, Mutex};

use regimen::checkpoint::{Checkpoint, Checkpointer, Checkpoints, LoadedCheckpoint, SimDisk, Which};
use regimen::metric::Key;
use regimen::random::Random;
use regimen::saved::AppState;
use regimen::unit::{EvalUnit, TrainUnit};
use regimen::{BoxError, State};

pub(crate) const DIR: &str = "/runs/walk";
pub(crate) const TRAIN_LOSS: Key = Key::mean("train/loss");
pub(crate) const EVAL_LOSS: Key = Key::mean("eval/loss");

/// A random walk. Training draws from the seed of the step, as dropout does.
#[derive(AppState, Debug, Clone, PartialEq)]
pub(crate) struct Walk {
    pub(crate) weights: Vec<f64>,
    pub(crate) momentum: Vec<f64>,
    /// The number of training and evaluation steps made with this very unit.
    #[app_state(skip)]
    pub(crate) calls: u64,
    #[app_state(skip)]
    pub(crate) stop_after: Option<u64>,
    #[app_state(skip)]
    pub(crate) fail_after: Option<u64>,
    /// The values of the evaluations, one after another; the weights after the last of them, and no
    /// value for [`NOTHING`].
    #[app_state(skip)]
    pub(crate) losses: Vec<f64>,
}

pub(crate) const NOTHING: f64 = f64::MAX;

impl Walk {
    pub(crate) fn new() -> Self {
        let (weights, momentum) = (vec![0.5; 3], vec![0.0; 3]);
        Walk { weights, momentum, calls: 0, stop_after: None, fail_after: None, losses: Vec::new() }
    }

    fn call(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.calls += 1;
        if self.stop_after == Some(self.calls) {
            state.pause("told to stop");
        }
        if self.fail_after == Some(self.calls) { Err("told to fail".into()) } else { Ok(()) }
    }
}

impl TrainUnit for Walk {
    type Batch = u64;

    fn train_step(&mut self, state: &mut State, batch: u64) -> Result<(), BoxError> {
        self.call(state)?;
        let mut random = Random::new(state.step_seed());
        for (weight, momentum) in self.weights.iter_mut().zip(&mut self.momentum) {
            *momentum = 0.9 * *momentum + random.uniform() - 0.5 + batch as f64;
            *weight -= 0.01 * *momentum;
        }
        state.log(TRAIN_LOSS, self.weights[0], 1.0);
        Ok(())
    }
}

impl EvalUnit for Walk {
    type Batch = u64;

    fn eval_step(&mut self, state: &mut State, batch: u64) -> Result<(), BoxError> {
        self.call(state)?;
        let given = self.losses.get(state.eval_progress().epochs as usize).copied();
        let loss = given.unwrap_or(self.weights[1] * batch as f64);
        if loss != NOTHING {
            state.log(EVAL_LOSS, loss, 1.0 + batch as f64);
        }
        Ok(())
    }
}

/// A checkpointer on `disk`.
pub(crate) fn saver(disk: &SimDisk) -> Checkpointer {
    Checkpointer::new(DIR).store(Arc::new(disk.clone()))
}

pub(crate) fn checkpoints(disk: &SimDisk) -> Checkpoints {
    Checkpoints::on(Arc::new(disk.clone()), DIR)
}

pub(crate) fn newest(disk: &SimDisk) -> LoadedCheckpoint {
    checkpoints(disk).load(Which::Latest).unwrap().unwrap()
}

/// The names of the checkpoints on `disk`, the newest first.
pub(crate) fn on_disk(disk: &SimDisk) -> String {
    let names = checkpoints(disk).list().unwrap().checkpoints;
    names.iter().map(|checkpoint| name(checkpoint.path())).collect::<Vec<_>>().join(" ")
}

/// A checkpoint's name without the zeros: `5`, `5-2`, `post-mortem-5`.
pub(crate) fn name(path: &Path) -> String {
    let name = path.file_name().unwrap().to_str().unwrap();
    let words = name.strip_prefix("step-").unwrap_or(name).split('-');
    let short = |word: &str| word.parse::<u64>().map_or(word.to_owned(), |number| number.to_string());
    words.map(short).collect::<Vec<_>>().join("-")
}

/// The acknowledged checkpoints, in order, as text.
#[derive(Clone, Default)]
pub(crate) struct Acknowledged(Arc<Mutex<Vec<String>>>);

impl Acknowledged {
    pub(crate) fn by(
        &self,
        text: impl Fn(&Checkpoint) -> String + Send + Sync + 'static,
        saver: Checkpointer,
    ) -> Checkpointer {
        let list = self.0.clone();
        saver.on_saved(move |checkpoint| list.lock().unwrap().push(text(checkpoint)))
    }

    pub(crate) fn list(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}
