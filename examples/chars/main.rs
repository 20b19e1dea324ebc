//! Character-level language model: a small transformer on Burn. Prints samples while it trains, and
//! at the end its bits per character on the held-out tenth of the text.
//!
//! `cargo run --release --example chars` reaches 2.82 bits per character on the bundled text, in
//! three minutes of processor time (4:22 on two busy cores in the dev profile).
//!
//! With `--out DIR` it can be stopped at any moment and started again. It resumes from the newest
//! checkpoint in the folder.

mod args;
mod network;
mod sample;
mod task;
mod text;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use regimen::callback::{Event, Every, LearningRateMonitor, Printer, ProgressBar};
use regimen::engine::{Engine, Mode};
use regimen::folder::RunFolder;
use regimen::random::{Random, keyed};
use regimen::run::{Ended, Evaluate};
use regimen::schedule::{Cosine, ScheduleExt, WarmUp};
use regimen::signal::Signals;
use regimen::text::Count;
use regimen::{AutoUnit, BoxError, Fit, Run, State};
use regimen_burn::burn::optim::AdamWConfig;
use regimen_burn::burn::tensor::Device;
use regimen_burn::{Burn, initialize};

use args::Args;
use network::{Size, Transformer};
use sample::sample;
use task::{BITS, PredictNext, eval_loader, train_loader};
use text::{Alphabet, Text};

/// The trained unit.
type Unit = AutoUnit<Burn<Transformer>, PredictNext>;

/// Exit status that a shell expects after Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Characters per sample.
const SAMPLE: usize = 160;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<ExitCode, BoxError> {
    let device = regimen_burn::device(&args.device)?;
    let Text { alphabet, train, held_out } = Text::open(args.text.as_deref(), args.context)?;
    let &Args { context, width, layers, .. } = args;
    let size = Size { alphabet: alphabet.len(), context, width, layers }.check()?;

    let network = initialize(args.seed, &device, |device| Transformer::new(size, device))?;
    let engine = Burn::new(network, AdamWConfig::new().init(), &device)?;
    let mut unit =
        AutoUnit::new(engine, PredictNext::new(&device)).learning_rate(learning_rate(args)?).clip_norm(1.0);

    let bar = ProgressBar::new();
    let printer = bar.printer();
    let mut run = Run::new(&mut unit)
        .seed(args.seed)
        .callback(LearningRateMonitor::new())
        .callback(bar)
        .on(Event::EvalEpochEnd, writer(alphabet, context, device, printer));
    if let Some(out) = &args.out {
        let folder = RunFolder::new(out);
        run = folder.checkpoints(|saver| saver.every(Every::steps(100)).keep_min(1, BITS)).open(run)?;
        if let Some(restored) = run.restored() {
            println!("resuming from step {} ({})", restored.step, restored.from);
        }
    }
    let _signals = Signals::pause(&run.pause_handle())?;
    let (train, held_out) = (train_loader(train, args), eval_loader(held_out, args));
    let mut report =
        run.fit(&train, &held_out, Fit::steps(args.steps).eval_every(Every::steps(args.eval_every)))?;
    if !matches!(report.ended, Ended::Paused(_)) {
        report = run.evaluate(&held_out, Evaluate::whole())?;
    }
    match report.metric(BITS) {
        _ if matches!(report.ended, Ended::Paused(_)) => Ok(ExitCode::from(INTERRUPTED)),
        None => Err("no evaluation was made".into()),
        Some(bits) => {
            println!("held-out bits per character: {bits:.4}");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Prints a sample at the end of each evaluation. The same seed and step give the same text.
fn writer(
    alphabet: Alphabet,
    context: usize,
    device: Device,
    mut printer: Printer,
) -> impl FnMut(&mut State, &mut Unit) -> Result<(), BoxError> {
    move |state, unit| {
        let steps = state.train_progress().steps;
        let mut random = Random::new(keyed(state.seed(), "sample", 0, steps));
        let characters = unit
            .engine_mut()
            .with_module(Mode::Predict, |network| sample(network, (SAMPLE, context), &mut random, &device))?;
        Ok(writeln!(
            printer,
            "after {} it writes:\n{}\n",
            Count(steps, "step"),
            alphabet.decode(&characters)
        )?)
    }
}

/// Warm-up over a twentieth of the steps, then cosine annealing to 0.
fn learning_rate(args: &Args) -> Result<WarmUp<Cosine>, BoxError> {
    let rise = args.steps / 20;
    Ok(Cosine::new(args.lr, args.steps - rise)?.warm_up(rise))
}
