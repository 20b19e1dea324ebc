//! A `FitLoop` with all its stages and calls: a convolutional network reads handwritten digits, on
//! libtorch.
//!
//! With `--out DIR` it saves its state, the weights and a chart there, and goes on from the state.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to a terminal")]

#[path = "digits-torch/loaders.rs"]
#[allow(dead_code, reason = "the program does not predict")]
mod loaders;
#[path = "digits-torch/network.rs"]
mod network;

use std::io::stdout;
use std::process::ExitCode;

use clap::Parser;
use regimen::engine::any_of;
use regimen::fitloop::{DryRun, FitLoop, FitTable, Record, Runs, Set, StageStep, max, record};
use regimen::run::Ended;
use regimen::signal::Signals;
use regimen::timer::Timer;
use regimen::{BoxError, Loss, Step};
use regimen_examples::args::{Args, parse_with};
use regimen_examples::digits::Split;
use regimen_torch::tch::Tensor;
use regimen_torch::{Adam, Torch, correct, cross_entropy, device, initialize, keep_memory};

use loaders::{eval_loader, train_loader};
use network::ConvNet;

#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    digits: Args,

    /// Asks after every so many epochs whether to go on; 0 does not ask.
    #[arg(long, default_value_t = 0)]
    ask: u64,

    /// Measures the parts of an epoch instead of training.
    #[arg(long)]
    profile: bool,
}

fn main() -> ExitCode {
    // Steps free as much as they allocate: keep it for the next step.
    keep_memory();
    run(&parse_with(&[("epochs", "4")])).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(Flags { digits: args, ask, profile }: &Flags) -> Result<ExitCode, BoxError> {
    let (device, digits) = (device(&args.device)?, args.digits()?);
    let side = digits.side;
    let Split { train, validation, test } = digits.split();
    let [valid, test] = [validation, test].map(|images| eval_loader(images, side, args));
    let train = train_loader(train, side, args);

    let (vars, network) = initialize(args.seed, device, |root| ConvNet::new(side, 0.25, root));
    let engine = Torch::new(vars, network, Adam::new())?
        .group("dense", any_of(["dense.*"]), Adam::new())?
        .group("output", any_of(["output.*"]), Adam::new())?;
    let forward = |step: &Step, net: &ConvNet, images: &Tensor| net.forward(images, step.is_train());
    let mut trainer = FitLoop::with_step(engine, forward, cross_entropy)
        .train_data(train)
        .valid_data(valid)
        .test_data(test)
        // Before the first step of an epoch; sees the values of the epoch before.
        .epoch_start_on(Set::Train, |s| Ok(record! { epoch: s.epoch() as f64 }))
        .epoch_start_on(Set::Valid, |s| Ok(record! { steps_before: s.values("loss")?.len() as f64 }))
        .epoch_start_on(Set::Test, |_| Ok(record! {}))
        // With each batch.
        .step_on(Set::Train, |s| {
            let logits = s.output();
            Ok((s.loss(&logits)?, record! { running_correct: correct(1, &logits, &s.batch().1) }))
        })
        .step_on(Set::Valid, measure)
        .step_on(Set::Test, measure)
        // After the last step, with the values of all steps.
        .epoch_end_on(Set::Train, |s| {
            Ok(record! { loss: s.mean("loss")?, accuracy: s.sum("running_correct")? / s.size() })
        })
        .epoch_end_on(Set::Valid, |s| {
            Ok(record! { loss: s.mean("loss")?, accuracy: s.sum("running_correct")? / s.size() })
        })
        .epoch_end_on(Set::Test, |s| {
            let [accuracy, top3] = [s.sum("running_correct")? / s.size(), s.sum("running_top3")? / s.size()];
            Ok(record! { loss: s.mean("loss")?, accuracy: accuracy, top3: top3 })
        })
        .criteria(max("accuracy"))
        .seed(args.seed)
        .ask_every(*ask)
        .callback(FitTable::to(stdout()));
    // Small steps for the first layer, larger ones for each layer behind it.
    trainer.set_learning_rates(args.lr / 4.0..=args.lr)?;
    trainer.groups().iter().for_each(|group| println!("{group}"));
    if let Some(out) = &args.out {
        trainer = trainer.folder(out).overwrite(true);
        if out.join("state").exists() {
            trainer.load("state")?;
        }
    }
    let _signals = Signals::pause(&trainer.pause_handle())?;
    if *profile {
        println!("{}", trainer.profile(DryRun::epochs(1), Timer::new())?);
        return Ok(ExitCode::SUCCESS);
    }
    // Changes nothing.
    println!("{}\n", trainer.sanity_check(DryRun::epochs(1).steps(3))?);
    // Ends with the weights of the best validation.
    let report = trainer.fit(args.epochs)?;
    if args.out.is_some() {
        trainer.save("state")?;
    }
    if matches!(report.ended, Ended::Paused(_)) {
        return Ok(ExitCode::from(130));
    }
    trainer.test()?;
    trainer.plot("accuracy")?;
    if let Some(out) = &args.out {
        trainer.save_model("model")?;
        trainer.history().figure("loss", Runs::All)?.save_svg(out.join("loss.svg"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The step of an evaluation.
fn measure(s: &mut StageStep<'_, Torch<ConvNet>, Tensor, Tensor, Tensor>) -> Stage {
    let (logits, labels) = (s.output(), &s.batch().1);
    let [running_correct, running_top3] = [1, 3].map(|k| correct(k, &logits, labels));
    Ok((s.loss(&logits)?, record! { running_correct: running_correct, running_top3: running_top3 }))
}

type Stage = Result<(Loss<Tensor>, Record<Tensor>), BoxError>;
