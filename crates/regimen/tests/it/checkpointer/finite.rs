//! Weights that become NaN never replace the last good ones.

use std::sync::Arc;

use regimen::auto_unit::NonFinite;
use regimen::callback::Every;
use regimen::checkpoint::{Checkpointer, SimDisk};
use regimen::engine::Engine as _;
use regimen::run::{Ended, Report, Train};
use regimen::saved::{AppState, Parts, StateDict, Stateful};
use regimen::unit::TrainUnit;
use regimen::{AutoUnit, BoxError, Error, Loss, Run, State, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyOptimizer, ToyVars, manual_seed};

use super::common::{DIR, on_disk, saver};

type Engine = ToyEngine<ToyArray>;

struct Slope;

impl Task<Engine> for Slope {
    type Batch = f64;
    type Output = ();

    fn compute_loss(&mut self, _: &Step, w: &ToyArray, x: &f64) -> Result<(Loss<ToyArray>, ()), BoxError> {
        Ok((Loss::mean(w.scale(*x).mean(), 1.0), ()))
    }
}

/// Trains with a save after every second step, of which one is kept. The gradient of the step after
/// `poisoned` is NaN behind a finite loss.
fn train(disk: &SimDisk, poisoned: u64, policy: NonFinite) -> Result<Report, Error> {
    manual_seed(1);
    let mut vars = ToyVars::new();
    let w = vars.parameter("w", &[1], 1.0);
    let engine = ToyEngine::new(vars, w, ToyOptimizer::sgd(0.0));
    let poison = move |engine: &mut Engine, state: &mut State| match state.train_progress().steps == poisoned
    {
        true => engine.scale_gradients(f64::NAN),
        false => Ok(()),
    };
    let mut unit = AutoUnit::new(engine, Slope).learning_rate(0.1).non_finite(policy).after_backward(poison);
    let mut run = Run::new(&mut unit).saver(saver(disk).every(Every::steps(2)).keep_last(1));
    run.restore_latest()?;
    run.train(&[0.1; 20], Train::epochs(1))
}

#[test]
fn a_run_whose_weights_became_nan_goes_on_from_the_last_good_ones() {
    // The error of a loss leaves something for the post-mortem; that of the save which refused does not.
    for (policy, left) in [(NonFinite::Error, "post-mortem-6 4"), (NonFinite::Ignore, "4")] {
        let disk = SimDisk::new();
        train(&disk, 5, policy).unwrap_err();
        assert_eq!(on_disk(&disk), left);
        // The cause is fixed.
        let report = train(&disk, 99, policy).unwrap();
        assert_eq!((report.ended, report.train.steps), (Ended::Complete, 20));
        let undisturbed = SimDisk::new();
        train(&undisturbed, 99, policy).unwrap();
        let module = |disk: &SimDisk| super::common::newest(disk).content["module"].clone();
        assert_eq!(module(&disk), module(&undisturbed));
    }
}

/// A unit written by hand, whose weights and own numbers become NaN.
struct ByHand {
    weights: Weights,
    lowest: f64,
}

struct Weights(f64);

impl Stateful for Weights {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        self.0.state_dict()
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.0.load_state_dict(dict)
    }

    fn is_weights(&self) -> bool {
        true
    }
}

impl AppState for ByHand {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        parts.part("weights", &mut self.weights)?;
        parts.part("lowest", &mut self.lowest)
    }
}

impl TrainUnit for ByHand {
    type Batch = f64;

    fn train_step(&mut self, _: &mut State, batch: f64) -> Result<(), BoxError> {
        self.weights.0 += batch;
        Ok(())
    }
}

#[test]
fn only_what_says_that_it_holds_weights_is_looked_at_and_only_if_it_is_wanted() {
    let train = |batch: f64, set: fn(Checkpointer) -> Checkpointer| {
        let disk = SimDisk::new();
        let mut unit = ByHand { weights: Weights(0.0), lowest: f64::NAN };
        let saver = set(Checkpointer::new(DIR).store(Arc::new(disk.clone())));
        let trained = Run::new(&mut unit).saver(saver).train(&[batch], Train::epochs(1));
        trained.map_err(|error| format!("{error:#}")).map(|report| report.ended)
    };
    assert_eq!(train(1.0, |saver| saver), Ok(Ended::Complete));
    assert_eq!(train(f64::NAN, Checkpointer::allow_not_finite), Ok(Ended::Complete));
    assert_eq!(
        train(f64::NAN, |saver| saver),
        Err("state failed in train at epoch 1 step 1: the weights are not finite: `weights/value`; the \
             checkpoints before it stay as they are (`Checkpointer::allow_not_finite` saves it all the same)"
            .to_owned())
    );
}

#[test]
fn a_save_that_finds_weights_that_are_not_finite_tells_their_step() {
    let error = |set: fn(Checkpointer) -> Checkpointer| {
        let disk = SimDisk::new();
        let mut unit = ByHand { weights: Weights(0.0), lowest: f64::NAN };
        let saver = set(Checkpointer::new(DIR).store(Arc::new(disk.clone())));
        let batches = [1.0, f64::NAN, 1.0];
        Run::new(&mut unit).saver(saver).train(&batches, Train::epochs(1)).unwrap_err()
    };
    // A save after the second step, and the one at the end.
    let midway = error(|saver| saver.every(Every::steps(2)).in_foreground().stop_on_failure());
    assert_eq!((midway.place().step, midway.not_finite_step()), (2, Some(1)));
    let at_end = error(|saver| saver);
    assert_eq!((at_end.place().step, at_end.not_finite_step()), (3, Some(2)));
}

/// A run of a unit by hand in a new process: adds `batches` one after another, and continues from the
/// disk. Returns how it ended, and the content of the disk.
fn add(disk: &SimDisk, batches: &[f64], steps: u64) -> (Result<Ended, String>, String) {
    let mut unit = ByHand { weights: Weights(0.0), lowest: f64::NAN };
    let saver = saver(disk).every(Every::steps(1)).keep_last(1).without_post_mortem();
    let mut run = Run::new(&mut unit).saver(saver);
    run.restore_latest().unwrap();
    let trained = run.train(batches, Train::steps(steps));
    drop(run);
    (trained.map(|report| report.ended).map_err(|error| format!("{error:#}")), on_disk(disk))
}

#[test]
fn infinite_weights_do_not_replace_finite_ones_after_a_restart_either() {
    let disk = SimDisk::new();
    assert_eq!(add(&disk, &[1.0; 9], 2), (Ok(Ended::Complete), "2".to_owned()));
    let text = "state failed in train at epoch 0 step 3: the weights are not finite: `weights/value`; the \
                checkpoints before it stay as they are (`Checkpointer::allow_not_finite` saves it all the same)";
    assert_eq!(add(&disk, &[f64::INFINITY; 9], 3), (Err(text.to_owned()), "2".to_owned()));
    // Nor is it the first to be saved.
    let disk = SimDisk::new();
    let (ended, left) = add(&disk, &[f64::INFINITY; 9], 3);
    assert_eq!((ended, &*left), (Err(text.to_owned()), ""));
}
