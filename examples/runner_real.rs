//! A `Runner` with the settings of a real training: a convolutional network reads handwritten digits, on Burn.
//!
//! With `--out DIR` it writes logs and the best weights there, and goes on from the newest checkpoint.

#[path = "digits/loaders.rs"]
#[allow(dead_code, reason = "the program does not predict")]
mod loaders;

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
use regimen::{BoxError, Fit};
use regimen_burn::burn::optim::AdamWConfig;
use regimen_burn::burn::tensor::activation::log_softmax;
use regimen_burn::burn::tensor::{Int, Tensor};
use regimen_burn::{Burn, accuracy, device, initialize};
use regimen_examples::args::{Args, parse_with};
use regimen_examples::digits::Split;
use regimen_examples::network::ConvNet;

use loaders::{Batch, eval_loader, train_loader};

/// Of shape `[batch, side, side]`.
type Images = Tensor<3>;
/// The share of each class in an image that is mixed of two: `[batch, 10]`.
type Shares = Tensor<2>;

fn main() -> ExitCode {
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

    let network = initialize(args.seed, &device, |device| ConvNet::new(side, device))?;
    let engine = Burn::new(network, AdamWConfig::new().init(), &device)?;
    let decay = args.epochs.saturating_sub(1).max(1) as f64;
    let rate = Phases::new(args.lr, updates)?.linear(1.0, 0.1, 1.0)?.cosine(decay, 1.0, 0.01)?;
    let bar = ProgressBar::new();
    let mut runner = Runner::new(engine, |net, images: &Images| net.forward(images.clone()), cross_entropy)
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
        .hyper_parameters(args.hyper_parameters())
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

fn one_hot((images, digits): Batch) -> (Images, Shares) {
    (images, digits.one_hot::<2>(10).float())
}

fn cross_entropy(logits: &Tensor<2>, shares: &Shares) -> Tensor<1> {
    (log_softmax(logits.clone(), 1) * shares.clone()).sum_dim(1).mean().neg()
}

/// The class with the largest share.
fn classes(shares: &Shares) -> Tensor<1, Int> {
    shares.clone().argmax(1).squeeze_dim(1)
}
