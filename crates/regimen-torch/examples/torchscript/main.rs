//! Trains a network written in Python: `model.pt`, scripted by `model.py`. Prints its accuracy on digits it
//! has never seen; the flags are those of `digits-torch`.
//!
//! With `--out DIR` it can be stopped at any moment and started again. At the end the folder holds the
//! network for Python, as a script (`trained.pt`) and as weights (`trained.safetensors`), and its logits of
//! the digits (`logits.safetensors`). `model.py --check DIR` has PyTorch read them all.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to a terminal")]

#[path = "../digits-torch/loaders.rs"]
mod loaders;
mod task;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use regimen::auto_unit::EVAL_LOSS;
use regimen::callback::{EarlyStopping, Every, LearningRateMonitor, ProgressBar};
use regimen::checkpoint::Checkpointer;
use regimen::checkpoint::safetensors::save_file;
use regimen::log::MetricLog;
use regimen::run::{Ended, Predict};
use regimen::saved::Stateful;
use regimen::signal::Signals;
use regimen::state::HyperParameters;
use regimen::{AutoUnit, BoxError, Fit, Run};
use regimen_examples::args::Args;
use regimen_examples::digits::{Split, show};
use regimen_torch::tch::nn::VarStore;
use regimen_torch::tch::{self, Tensor, no_grad};
use regimen_torch::{Adam, ModuleState, ScriptModule, Torch, failure, keep_memory};

use loaders::{eval_loader, images, inputs, train_loader};
use task::ReadDigits;

/// The exit code that a shell expects after Ctrl-C.
const INTERRUPTED: u8 = 130;

#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    digits: Args,

    /// The script to train, which `model.py` wrote. For MNIST give it one of `model.py --side 28`.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/torchscript/model.pt"))]
    script: PathBuf,
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

fn run(Flags { digits: args, script }: &Flags) -> Result<ExitCode, BoxError> {
    let device = regimen_torch::device(&args.device)?;
    let digits = args.digits()?;
    let side = digits.side;
    let Split { train, validation, test } = digits.split();

    // The weights come from the file; the seed is for the rest.
    let vars = VarStore::new(device);
    let script = ScriptModule::load(script, &vars.root())?;
    let mut unit = AutoUnit::new(Torch::new(vars, script, Adam::new())?, ReadDigits)
        .learning_rate(args.one_cycle(train.len())?)
        .accumulate(args.accumulate);
    if let Some(norm) = args.clip {
        unit = unit.clip_norm(norm);
    }

    let mut run = Run::new(&mut unit)
        .seed(args.seed)
        // Another number of threads sums in another order: a resume reports it.
        .hyper_parameters(HyperParameters::new().with("threads", tch::get_num_threads()))
        .callback(LearningRateMonitor::new())
        .callback(EarlyStopping::min(EVAL_LOSS, args.patience))
        .callback(ProgressBar::new());
    if let Some(out) = &args.out {
        run = run
            .callback(MetricLog::csv(out.join("metrics.csv")))
            .saver(Checkpointer::new(out).every(Every::steps(100)).keep_last(2).keep_min(1, EVAL_LOSS));
        if let Some(restored) = run.restore_latest()? {
            println!("resuming from step {} ({})", restored.step, restored.from);
        }
    }
    let _signals = Signals::pause(&run.pause_handle())?;
    let report = run.fit(
        &train_loader(train, side, args),
        &eval_loader(validation, side, args),
        Fit::epochs(args.epochs),
    )?;
    if matches!(report.ended, Ended::Paused(_)) {
        return Ok(ExitCode::from(INTERRUPTED));
    }

    let mut predicted = Vec::new();
    run.predict(&inputs(eval_loader(test.clone(), side, args)), Predict::whole(), |digits| {
        predicted.extend(digits);
        Ok(())
    })?;
    show(&test, &predicted, side)?;
    drop(run);

    let (mut vars, script) = unit.into_parts().0.into_parts();
    let images = images(test, side)?.f_to_device(device).map_err(failure)?;
    let logits = no_grad(|| script.forward(&[&images], false))?;
    // For a program that only predicts.
    let frozen = script.freeze()?.forward(&[&images])?;
    println!("frozen, its logits are at most {:.1e} apart", largest(&(frozen - &logits)));
    if let Some(out) = &args.out {
        save(out, &mut vars, &script, &images, &logits)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the files that `model.py --check` reads.
fn save(
    out: &Path,
    vars: &mut VarStore,
    script: &ScriptModule,
    images: &Tensor,
    logits: &Tensor,
) -> Result<(), BoxError> {
    script.save(out.join("trained.pt"))?;
    let weights = out.join("trained.safetensors");
    if weights.exists() {
        fs::remove_file(&weights)?;
    }
    save_file(&ModuleState(vars).state_dict()?, weights)?;
    let threads = Tensor::from(i64::from(tch::get_num_threads()));
    let named = [("images", images), ("logits", logits), ("threads", &threads)];
    Tensor::write_safetensors(&named, out.join("logits.safetensors")).map_err(failure)
}

/// The largest absolute value.
fn largest(tensor: &Tensor) -> f64 {
    tensor.abs().max().double_value(&[])
}
