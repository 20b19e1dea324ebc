//! A `Runner` with the settings of a real training: a convolutional network reads handwritten digits, on Burn.
//!
//! With `--out DIR` it writes logs and the best weights there, and goes on from the newest checkpoint.

#[path = "digits/loaders.rs"]
mod loaders;

use std::process::ExitCode;

use regimen::auto_unit::{Averaging, EVAL_LOSS};
use regimen::callback::{EarlyStopping, Every, LearningRateMonitor, ModuleSummary, ProgressBar};
use regimen::checkpoint::Checkpointer;
use regimen::log::MetricLog;
use regimen::metric::Key;
use regimen::run::{Ended, Evaluate};
use regimen::runner::Runner;
use regimen::schedule::Phases;
use regimen::signal::Signals;
use regimen::{BoxError, Fit};
use regimen_burn::burn::optim::AdamWConfig;
use regimen_burn::burn::tensor::Tensor;
use regimen_burn::{Burn, accuracy, cross_entropy, device, initialize};
use regimen_examples::args::Args;
use regimen_examples::digits::Split;
use regimen_examples::network::ConvNet;

use loaders::{eval_loader, train_loader};

fn main() -> ExitCode {
    let defaults = [("epochs", "5"), ("accumulate", "2"), ("clip", "1"), ("ema", "0.98")];
    run(&Args::parse_with(defaults)).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(args: &Args) -> Result<ExitCode, BoxError> {
    let (device, digits) = (device(&args.device)?, args.digits()?);
    let side = digits.side;
    let Split { train, validation, test } = digits.split();
    let updates = (train.len().div_ceil(args.batch_size) as u64).div_ceil(args.accumulate);
    let [valid, test] = [validation, test].map(|images| eval_loader(images, side, args));
    let train = train_loader(train, side, args);

    let network = initialize(args.seed, &device, |device| ConvNet::new(side, device))?;
    let engine = Burn::new(network, AdamWConfig::new().init(), &device)?;
    let decay = args.epochs.saturating_sub(1).max(1) as f64;
    let rate = Phases::new(args.lr, updates)?.linear(1.0, 0.1, 1.0)?.cosine(decay, 1.0, 0.01)?;
    let bar = ProgressBar::new();
    let mut runner = Runner::new(engine, |net, images: &Tensor<3>| net.forward(images.clone()), cross_entropy)
        .metric("accuracy", accuracy(1))
        .metric("accuracy of 3", accuracy(3))
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
        .hyper_parameters(args.hyper_parameters())
        .callback(LearningRateMonitor::new())
        .callback(EarlyStopping::min(EVAL_LOSS, args.patience))
        .callback(ModuleSummary::to(bar.printer()).max_depth(1))
        .callback(bar);
    if let Some(out) = &args.out {
        let saver = Checkpointer::new(out).every(Every::epochs(1)).keep_last(1);
        runner = runner
            .saver(saver.keep_max(1, Key::mean("eval/accuracy")))
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
