//! Learns handwritten digits with a small convolutional network on libtorch, and prints its accuracy on
//! digits it has never seen: `digits` on the other engine, with the same flags.
//!
//! With `--out DIR` it can be stopped at any moment and started again: it continues from the newest
//! checkpoint in the folder. `--replay STEP` makes a step of it again.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to a terminal")]

mod loaders;
mod network;
mod task;

use std::process::ExitCode;

use clap::Parser;
use regimen::auto_unit::{Averaging, EVAL_LOSS};
use regimen::callback::{
    EarlyStopping, Every, GradientMonitor, LearningRateMonitor, ModuleSummary, ProgressBar,
};
use regimen::folder::RunFolder;
use regimen::profile::Profile;
use regimen::replay::Replay;
use regimen::run::{Ended, Predict};
use regimen::signal::Signals;
use regimen::{AutoUnit, BoxError, Fit, Run};
use regimen_examples::args::{Args, FolderArgs, probability};
use regimen_examples::digits::{Split, show};
use regimen_torch::{Adam, Torch, initialize, keep_memory, tch};

use loaders::{eval_loader, inputs, train_loader};
use network::ConvNet;
use task::ReadDigits;

/// The exit code that a shell expects after Ctrl-C.
const INTERRUPTED: u8 = 130;

#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    digits: Args,

    #[command(flatten)]
    folder: FolderArgs,

    /// Probability of dropout in training. Without it any number of ranks trains as one process does.
    #[arg(long, default_value_t = 0.25, value_parser = probability)]
    dropout: f64,
}

fn main() -> ExitCode {
    // Steps free as much as they allocate: keep it for the next step.
    keep_memory();
    match run(&Flags::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(Flags { digits: args, folder, dropout }: &Flags) -> Result<ExitCode, BoxError> {
    // The only process, or one of those that `mpirun` or `srun` has started.
    let peers = regimen_dist::init()?;
    let is_first = peers.rank().is_first();
    let device = regimen_torch::device(&args.device_of(peers.local_rank()))?;
    let digits = args.digits()?;
    let side = digits.side;
    let Split { train, validation, test } = digits.split();

    let (vars, network) = initialize(args.seed, device, |root| ConvNet::new(side, *dropout, root));
    let mut unit = AutoUnit::new(Torch::new(vars, network, Adam::new())?, ReadDigits)
        .learning_rate(args.one_cycle(train.len())?)
        .accumulate(args.accumulate)
        .precision(args.precision);
    if let Some(norm) = args.clip {
        unit = unit.clip_norm(norm);
    }
    if let Some(decay) = args.ema {
        unit = unit.average(Averaging::ema(decay).ramp());
    }

    let train = train_loader(train, side, args);
    let validation = eval_loader(validation, side, args);
    // Another number of threads sums in another order: a resume reports it.
    let settings = args.hyper_parameters().with("dropout", *dropout).with("threads", tch::get_num_threads());
    if let (Some(out), Some(step)) = (&args.out, folder.replay) {
        unit = unit.detect_anomaly(true).before_update(GradientMonitor::new().into_hook());
        let mut run = Run::new(&mut unit).seed(args.seed).hyper_parameters(settings);
        let replay = Replay::of(out, step).samples_of(&train).callback(LearningRateMonitor::new());
        let replayed = replay.fit(&mut run, &train, &validation, Fit::epochs(args.epochs))?;
        println!("{replayed}");
        let is_equal = replayed.is_equal() == Some(true);
        return Ok(if is_equal { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }

    let bar = ProgressBar::new();
    let profile = folder.profile.then(Profile::new);
    let mut summary = ModuleSummary::to(bar.printer()).measure();
    if let Some(profile) = &profile {
        summary = summary.profile(profile);
    }
    let mut run = Run::new(&mut unit)
        .seed(args.seed)
        .peers(peers)
        .hyper_parameters(settings)
        .callback(LearningRateMonitor::new())
        .callback(EarlyStopping::min(EVAL_LOSS, args.patience))
        .callback(summary)
        .callback(bar);
    if let Some(out) = &args.out {
        let mut run_folder = RunFolder::new(out)
            .checkpoints(|saver| saver.every(Every::steps(100)).keep_min(1, EVAL_LOSS))
            .metrics_every(Every::steps(folder.log_every).or(Every::epochs(1)))
            .flight(|recorder| recorder.samples_of(&train));
        if let Some(profile) = &profile {
            run_folder = run_folder.profile(profile.clone());
        }
        run = run_folder.open(run)?;
        if let Some(restored) = run.restored().filter(|_| is_first) {
            println!("resuming from step {} ({})", restored.step, restored.from);
        }
    } else if let Some(profile) = &profile {
        run = run.probe(profile.probe());
    }
    let _signals = Signals::pause(&run.pause_handle())?;
    let report = run.fit(&train, &validation, Fit::epochs(args.epochs))?;
    if let Some(profile) = profile.filter(|_| is_first) {
        println!("{profile}");
    }
    if matches!(report.ended, Ended::Paused(_)) {
        return Ok(ExitCode::from(INTERRUPTED));
    }

    drop(run);
    if !is_first {
        return Ok(ExitCode::SUCCESS);
    }
    // A prediction of one process: all ranks have the same weights.
    let mut predicted = Vec::new();
    Run::new(&mut unit).predict(
        &inputs(eval_loader(test.clone(), side, args)),
        Predict::whole(),
        |digits| {
            predicted.extend(digits);
            Ok(())
        },
    )?;
    show(&test, &predicted, side)?;
    Ok(ExitCode::SUCCESS)
}
