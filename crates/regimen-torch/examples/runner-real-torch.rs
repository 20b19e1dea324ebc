//! A `Runner` with the settings of a real training: a convolutional network reads handwritten digits, on
//! libtorch.
//!
//! With `--out DIR` it writes logs and the best weights there, and goes on from the newest checkpoint.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to a terminal")]

#[path = "digits-torch/loaders.rs"]
#[allow(dead_code, reason = "the program does not predict")]
mod loaders;
#[path = "digits-torch/network.rs"]
mod network;

use std::process::ExitCode;

use regimen::auto_unit::{Averaging, EVAL_LOSS};
use regimen::callback::{EarlyStopping, Every, LearningRateMonitor, ModuleSummary, ProgressBar};
use regimen::checkpoint::Checkpointer;
use regimen::data::{DataExt, Mixup};
use regimen::log::MetricLog;
use regimen::metric::Key;
use regimen::run::{Ended, Evaluate};
use regimen::runner::Runner;
use regimen::schedule::Phases;
use regimen::signal::Signals;
use regimen::{BoxError, Fit, Step};
use regimen_examples::args::{Args, parse_with};
use regimen_examples::digits::Split;
use regimen_torch::tch::{self, Kind, Tensor};
use regimen_torch::{Adam, Torch, accuracy, cross_entropy, device, initialize, keep_memory};

use loaders::{Batch, eval_loader, train_loader};
use network::ConvNet;

fn main() -> ExitCode {
    // Steps free as much as they allocate: keep it for the next step.
    keep_memory();
    let args = parse_with(&[("epochs", "8"), ("accumulate", "2"), ("clip", "1"), ("ema", "0.98")]);
    run(&args).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(args: &Args) -> Result<ExitCode, BoxError> {
    let (device, digits) = (device(&args.device)?, args.digits()?);
    let side = digits.side;
    let Split { train, validation, test } = digits.split();
    let updates = (train.len().div_ceil(args.batch_size) as u64).div_ceil(args.accumulate);
    let [valid, test] = [validation, test].map(|images| eval_loader(images, side, args).map_batches(one_hot));
    let train = train_loader(train, side, args).map_batches(one_hot).mixup(Mixup::new(0.2));

    let (vars, network) = initialize(args.seed, device, |root| ConvNet::new(side, 0.25, root));
    let engine = Torch::new(vars, network, Adam::with_decoupled_decay())?;
    let decay = args.epochs.saturating_sub(1).max(1) as f64;
    let rate = Phases::new(args.lr, updates)?.linear(1.0, 0.1, 1.0)?.cosine(decay, 1.0, 0.01)?;
    let bar = ProgressBar::new();
    let forward = |step: &Step, net: &ConvNet, images: &Tensor| net.forward(images, step.is_train());
    let mut runner = Runner::with_step(engine, forward, cross_entropy)
        .metric("top1", |logits, shares| accuracy(1)(logits, &classes(shares)))
        .metric("top3", |logits, shares| accuracy(3)(logits, &classes(shares)))
        .learning_rate(rate)
        .accumulate(args.accumulate)
        .precision(args.precision)
        .map_unit(|unit| match args.clip {
            Some(norm) => unit.clip_norm(norm),
            None => unit,
        })
        .map_unit(|unit| match args.ema {
            Some(decay) => unit.average(Averaging::ema(decay).ramp()),
            None => unit,
        })
        .seed(args.seed)
        // Another number of threads sums in another order: a resume reports it.
        .hyper_parameters(args.hyper_parameters().with("threads", tch::get_num_threads()))
        .callback(EarlyStopping::min(EVAL_LOSS, args.patience))
        .callback(ModuleSummary::to(bar.printer()).max_depth(1))
        .callback(bar);
    if let Some(out) = &args.out {
        let saver = Checkpointer::new(out).every(Every::epochs(1)).keep_last(1);
        runner = runner
            .saver(saver.keep_max(1, Key::mean("eval/top1")))
            .callback(LearningRateMonitor::new())
            .callback(MetricLog::tensorboard(out.join("tensorboard")))
            .callback(MetricLog::wide_csv(out.join("epochs.csv")).every(Every::epochs(1)));
        if let Some(restored) = runner.restore_latest()? {
            println!("resuming from step {} ({})", restored.step, restored.from);
        }
    }
    let _signals = Signals::pause(&runner.pause_handle())?;
    let report = runner.fit(&train, &valid, Fit::epochs(args.epochs))?;
    if matches!(report.ended, Ended::Paused(_)) {
        return Ok(ExitCode::from(130));
    }
    if args.out.is_some() {
        println!("best: {}", runner.restore_best()?.from);
    }
    println!("{}", runner.evaluate(&test, Evaluate::whole())?);
    Ok(ExitCode::SUCCESS)
}

/// The share of each class in an image that is mixed of two: `[batch, 10]`.
fn one_hot((images, digits): Batch) -> Batch {
    (images, digits.one_hot(10).to_kind(Kind::Float))
}

/// The class with the largest share.
fn classes(shares: &Tensor) -> Tensor {
    shares.argmax(1, false)
}
