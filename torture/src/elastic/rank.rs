//! The program of one rank: it trains a small network, and reports on its output.
//!
//! ```text
//! pid 2 4711            the process of rank 2
//! begun 2               its first step is complete
//! notice 2 TEXT         a notice of the run
//! eval 2 3 0.25         the loss of evaluation 3
//! end 2 40 384 20 4 4   its progress at the end: steps, samples, updates, epochs, evaluations
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{process, thread};

use regimen::auto_unit::EVAL_LOSS;
use regimen::callback::{Event, Every};
use regimen::checkpoint::Checkpointer;
use regimen::data::{Data, Loader};
use regimen::log::{ExistingFile, MetricLog};
use regimen::random::Random;
use regimen::{AutoUnit, BoxError, Fit, Loss, Run, State, Step, Task};
use regimen_dist::{init, survive};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};

use crate::train::say;

/// Epochs, batches in one, and batches in an evaluation.
pub(super) const EPOCHS: u64 = 5;
pub(super) const BATCHES: u64 = 9;
const EVAL_BATCHES: usize = 5;
const INPUTS: usize = 4;
const ROWS: usize = 86;

type Batch = (ToyArray, ToyArray);

/// The settings of a run.
#[derive(Clone, Debug)]
pub(super) struct Training {
    /// The folder of the checkpoints and of the log.
    pub(super) dir: PathBuf,
    pub(super) accumulate: u64,
    /// Steps between two checkpoints.
    pub(super) every: u64,
    /// Whether each rank has a share of the optimizer, and writes it.
    pub(super) in_pieces: bool,
}

impl Training {
    /// The arguments that [`rank`] parses.
    pub(super) fn args(&self) -> Vec<String> {
        let Training { dir, accumulate, every, in_pieces } = self;
        let numbers = [accumulate.to_string(), every.to_string(), in_pieces.to_string()];
        [vec!["rank".into(), dir.display().to_string()], numbers.to_vec()].concat()
    }

    pub(super) fn checkpoints(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("metrics.csv")
    }
}

/// Trains as `args` say, from the newest checkpoint if there is one.
pub(crate) fn rank(args: &[&str]) -> Result<(), BoxError> {
    let [dir, accumulate, every, in_pieces] = args else {
        return Err("usage: torture rank DIR ACCUMULATE EVERY IN_PIECES".into());
    };
    let training = Training {
        dir: Path::new(dir).into(),
        accumulate: accumulate.parse()?,
        every: every.parse()?,
        in_pieces: in_pieces.parse()?,
    };
    let peers = init()?;
    let born = peers.rank().index;
    say(format_args!("pid {born} {}", process::id()));
    manual_seed(7);
    let mut vars = ToyVars::new();
    let module = ToyMlp::plain(&mut vars, [INPUTS, 16, 1]);
    let engine = ToyEngine::new(vars, module, ToyOptimizer::adam_w(0.01));
    let unit = AutoUnit::new(engine, Regression).learning_rate(1e-2).clip_norm(0.5);
    let mut unit = unit.accumulate(training.accumulate).shard_optimizer(training.in_pieces);
    let saver = Checkpointer::new(training.checkpoints()).every(Every::steps(training.every));
    let saver = if training.in_pieces { saver.every_rank_writes() } else { saver };

    let losses = Arc::new(Mutex::new(BTreeMap::new()));
    let heard = Arc::clone(&losses);
    let log = MetricLog::csv(training.log()).every(Every::steps(1).or(Every::epochs(1)));
    // The next first rank goes on with the file. A run that starts again before its first checkpoint begins another.
    let existing = if peers.is_elastic() { ExistingFile::Append } else { ExistingFile::Rename };
    let mut has_begun = false;
    let mut run = Run::new(&mut unit)
        .seed(42)
        .peers(peers.clone())
        .callback(log.existing(existing))
        .saver(saver)
        .on(Event::TrainStepEnd, move |_: &mut State, _: &mut _| {
            if !std::mem::replace(&mut has_begun, true) {
                say(format_args!("begun {born}"));
            }
            // So long that most kills are of a rank that computes, as in a real run.
            thread::sleep(Duration::from_millis(10));
        })
        .on(Event::EvalStepEnd, |_: &mut State, _: &mut _| thread::sleep(Duration::from_millis(5)))
        .on(Event::EvalEpochEnd, move |state: &mut State, _: &mut _| {
            if let Some(loss) = state.value(EVAL_LOSS) {
                let mut losses = heard.lock().unwrap_or_else(PoisonError::into_inner);
                losses.insert(state.eval_progress().epochs, loss);
            }
        })
        .on(Event::Notice, move |state: &mut State, _: &mut _| {
            state.notices().iter().for_each(|notice| say(format_args!("notice {born} {notice}")));
        });
    run.restore_latest()?;
    let (train, eval) = (loader(1, ROWS, true), loader(2, 10 * EVAL_BATCHES, false));
    survive(&*peers, &mut run, |run| run.fit(&train, &eval, Fit::epochs(EPOCHS)))?;
    let (train, eval) = (run.state().train_progress(), run.state().eval_progress());
    for (epoch, loss) in losses.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        say(format_args!("eval {born} {epoch} {loss:?}"));
    }
    let (steps, samples, updates) = (train.steps, train.samples, train.updates);
    say(format_args!("end {born} {steps} {samples} {updates} {} {}", train.epochs, eval.epochs));
    Ok(())
}

struct Regression;

impl Task<ToyEngine<ToyMlp>> for Regression {
    type Batch = Batch;
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        module: &ToyMlp,
        (x, y): &Batch,
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        let loss = module.forward(x).mean_squared_error(y);
        Ok((Loss::mean(loss, x.shape()[0] as f64), ()))
    }
}

fn loader(seed: u64, rows: usize, shuffle: bool) -> impl Data<Batch = Batch> {
    let mut random = Random::new(seed);
    let row = |_| {
        let x = [(); INPUTS].map(|()| random.normal());
        (x, (x[0] * x[1]).sin() + 0.5 * x[2] - 0.1 * x[3] * x[3])
    };
    let rows: Vec<([f64; INPUTS], f64)> = (0..rows).map(row).collect();
    let batch = |rows: Vec<([f64; INPUTS], f64)>| {
        let x: Vec<f64> = rows.iter().flat_map(|row| row.0).collect();
        let y: Vec<f64> = rows.iter().map(|row| row.1).collect();
        Ok((ToyArray::new(&[y.len(), INPUTS], &x), ToyArray::new(&[y.len(), 1], &y)))
    };
    let loader = Loader::collate(rows, batch).batch_size(10);
    if shuffle { loader.shuffle() } else { loader }
}
