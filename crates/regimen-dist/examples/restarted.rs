//! A run that its launcher starts again until it is complete: `mpirun -n 2 restarted [FOLDER] [MILLISECONDS]`.
//!
//! It trains on several ranks, sleeps so long per step, and saves every 5 steps. However often it is paused by a signal or
//! killed, it ends with the same bytes in `metrics.jsonl` and in its newest checkpoint. The file `FOLDER/process-R` has the
//! process of rank `R`, to be killed.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to a terminal")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs, process, thread};

use regimen::callback::{Event, Every};
use regimen::data::{Data, Loader};
use regimen::folder::RunFolder;
use regimen::log::MetricLog;
use regimen::preemption::{Preemption, exit_code};
use regimen::random::Random;
use regimen::{AutoUnit, BoxError, Fit, Loss, Run, State, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, BoxError> {
    let mut args = env::args().skip(1);
    let out = PathBuf::from(args.next().unwrap_or_else(|| "restarted".to_owned()));
    let pace = Duration::from_millis(args.next().map_or(Ok(0), |pace| pace.parse())?);

    let peers = regimen_dist::init()?;
    let rank = peers.rank();
    fs::create_dir_all(&out)?;
    fs::write(out.join(format!("process-{}", rank.index)), process::id().to_string())?;

    manual_seed(7);
    let mut vars = ToyVars::new();
    let module = ToyMlp::plain(&mut vars, [INPUTS, 16, 1]);
    let engine = ToyEngine::new(vars, module, ToyOptimizer::adam_w(0.01));
    let mut unit = AutoUnit::new(engine, Regression).learning_rate(1e-2).accumulate(3);

    let preemption = Preemption::new().grace(Duration::from_secs(30));
    let deadline = preemption.deadline();
    let sleep = move |_: &mut State, _: &mut _| -> Result<(), BoxError> {
        thread::sleep(pace);
        Ok(())
    };
    let log = MetricLog::jsonl(out.join("metrics.jsonl")).every(Every::steps(1));
    let run = Run::new(&mut unit).seed(42).peers(peers).on(Event::TrainStepEnd, sleep).callback(log);
    let mut run = RunFolder::new(out)
        .checkpoints(|saver| saver.every(Every::steps(5)).deadline(deadline))
        // The file names for TensorBoard have the time of the start, and a checkpoint has them.
        .without_metrics()
        .open(run)?;
    let _preemption = preemption.pause(&run.pause_handle())?;
    let report = run.fit(&loader(1), &loader(2), Fit::epochs(6))?;
    if rank.is_first() {
        println!("{report}");
    }
    Ok(exit_code(&report))
}

/// Features of a row.
const INPUTS: usize = 4;

type Batch = (ToyArray, ToyArray);

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

/// 10 batches. The last one has 6 rows.
fn loader(seed: u64) -> impl Data<Batch = Batch> {
    let mut random = Random::new(seed);
    let row = |_| {
        let x = [(); INPUTS].map(|()| random.normal());
        (x, (x[0] * x[1]).sin() + 0.5 * x[2] - 0.1 * x[3] * x[3])
    };
    let rows: Vec<([f64; INPUTS], f64)> = (0..96).map(row).collect();
    let batch = |rows: Vec<([f64; INPUTS], f64)>| {
        let x: Vec<f64> = rows.iter().flat_map(|row| row.0).collect();
        let y: Vec<f64> = rows.iter().map(|row| row.1).collect();
        Ok((ToyArray::new(&[y.len(), INPUTS], &x), ToyArray::new(&[y.len(), 1], &y)))
    };
    Loader::collate(rows, batch).batch_size(10).shuffle()
}
