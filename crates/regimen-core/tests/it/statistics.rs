//! Running statistics: steps that are ignored, or fail, leave no trace.
#![allow(clippy::panic, clippy::unwrap_used)]

use regimen_core::auto_unit::NonFinite;
use regimen_core::engine::{Engine as _, Part};
use regimen_core::run::Train;
use regimen_core::saved::{StateDict, load_parts, save_parts};
use regimen_core::{AutoUnit, BoxError, Loss, Run, State, Step, Task};
use regimen_test::toy::{ToyArray, ToyCentre, ToyEngine, ToyOptimizer, ToyVars, manual_seed};

type Engine = ToyEngine<Module>;
type Unit = AutoUnit<Engine, Centred>;

struct Module {
    w: ToyArray,
    centre: ToyCentre,
}

/// Looks at a batch, which is a value and its weight, with running statistics. Its loss does not depend
/// on them.
struct Centred;

impl Task<Engine> for Centred {
    type Batch = (f64, f64);
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        module: &Module,
        &(value, weight): &(f64, f64),
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        module.centre.forward(&ToyArray::new(&[1, 1], &[value]));
        Ok((Loss::mean(module.w.scale(value).mean(), weight), ()))
    }
}

fn unit() -> Unit {
    manual_seed(1);
    let mut vars = ToyVars::new();
    let w = vars.parameter("w", &[1], 1.0);
    let centre = ToyCentre::new(&mut vars, "centre", 1);
    AutoUnit::new(ToyEngine::new(vars, Module { w, centre }, ToyOptimizer::sgd(0.0)), Centred)
}

fn running_mean(module: &StateDict) -> f64 {
    module.array("centre.running_mean").unwrap().to_vec::<f64>().unwrap()[0]
}

#[test]
fn a_batch_that_counts_for_nothing_leaves_the_running_mean_alone() {
    for accumulate in [1, 2] {
        let mut unit = unit().accumulate(accumulate).non_finite(NonFinite::Skip);
        let data = [(5.0, 1.0), (7.0, 0.0), (f64::NAN, 0.0), (5.0, 1.0), (f64::NAN, 1.0)];
        Run::new(&mut unit).train(&data, Train::epochs(1)).unwrap();
        // A tenth of the way to 5, and another.
        assert_eq!(running_mean(&save_parts(&mut unit).unwrap()["module"]), 0.5 + 0.1 * (5.0 - 0.5));
    }
}

/// Trains a unit that reads later on `data`, which must fail with `told`. Returns the running mean.
#[track_caller]
fn mean_after(set: impl FnOnce(Unit) -> Unit, data: &[(f64, f64)], told: &str) -> f64 {
    let (engine, task) = unit().into_parts();
    let mut unit = set(AutoUnit::new(engine.reads_later(), task));
    let error = Run::new(&mut unit).train(data, Train::epochs(1)).unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), told);
    running_mean(&unit.engine().state(Part::Module).unwrap())
}

#[test]
fn an_update_that_is_left_out_on_the_device_leaves_the_running_mean_alone() {
    let (good, bad, expected) = ((5.0, 1.0), (f64::NAN, 1.0), 0.5 + 0.1 * (5.0 - 0.5));
    let told = "the loss of step 1 is not finite: NaN";
    for accumulate in [1, 2, 3] {
        assert_eq!(mean_after(|unit| unit.accumulate(accumulate), &[good, bad, good], told), expected);
    }
    // A loss that is finite with a gradient that is not.
    let spoilt = |unit: Unit| {
        unit.clip_norm(1.0).before_update(|engine, state| match state.train_progress().steps {
            1 => engine.scale_gradients(f64::INFINITY),
            _ => Ok(()),
        })
    };
    let told = "the gradient of the update in step 1 is not finite: its norm is inf";
    assert_eq!(mean_after(spoilt, &[good, (9.0, 1.0), good], told), expected);
}

#[test]
fn an_update_of_a_loaded_window_that_is_left_out_leaves_the_loaded_running_mean() {
    let unit = || {
        let (engine, task) = unit().into_parts();
        let spoilt = |engine: &mut Engine, _: &mut State| engine.scale_gradients(f64::INFINITY);
        AutoUnit::new(engine.reads_later(), task).accumulate(3).clip_norm(1.0).before_update(spoilt)
    };
    let data = [(5.0, 1.0); 3];
    let mut first = unit();
    let mut run = Run::new(&mut first);
    run.train(&data, Train::steps(1)).unwrap();
    let saved = run.run_state().unwrap();
    drop(run);
    let mut second = unit();
    load_parts(&mut second, &save_parts(&mut first).unwrap()).unwrap();
    let mut run = Run::new(&mut second);
    run.load_run_state(&saved).unwrap();
    // The cap is lower now, so the epoch ends, and the window with it, without a step.
    run.train(&data, Train::epochs(1).steps_per_epoch(1)).unwrap_err();
    drop(run);
    assert_eq!(running_mean(&second.engine().state(Part::Module).unwrap()), 0.5);
}

/// A unit whose first training step has failed before its update, by an error or a panic.
fn failed(panics: bool) -> Unit {
    let mut failed = false;
    let mut unit = unit().before_update(move |_, _| match (std::mem::replace(&mut failed, true), panics) {
        (true, _) => Ok(()),
        (false, false) => Err("once".into()),
        (false, true) => panic!("once"),
    });
    Run::new(&mut unit).train(&[(5.0, 1.0)], Train::epochs(1)).unwrap_err();
    unit
}

#[test]
fn a_step_that_failed_has_left_nothing_to_whoever_looks_at_the_module() {
    // A panic goes past the unit, which undoes the step where it is called next.
    assert_eq!(running_mean(&failed(false).engine().state(Part::Module).unwrap()), 0.0);
    for panics in [false, true] {
        let looks: [fn(Unit) -> StateDict; 4] = [
            |mut unit| unit.engine_mut().state(Part::Module).unwrap(),
            |mut unit| unit.with_averaged_weights(|engine| engine.state(Part::Module).unwrap()),
            |mut unit| save_parts(&mut unit).unwrap()["module"].clone(),
            |unit| unit.into_parts().0.state(Part::Module).unwrap(),
        ];
        assert_eq!(looks.map(|look| running_mean(&look(failed(panics)))), [0.0; 4]);
    }
}

#[test]
fn a_module_that_is_loaded_after_a_step_that_failed_stays_loaded() {
    for panics in [false, true] {
        let mut unit = failed(panics);
        let mut other = unit.engine().state(Part::Module).unwrap();
        other.remove("centre.running_mean").unwrap();
        other.insert("centre.running_mean", regimen_core::saved::Array::from_slice(&[3.0])).unwrap();
        unit.engine_mut().load_state(Part::Module, &other).unwrap();
        assert_eq!(running_mean(&save_parts(&mut unit).unwrap()["module"]), 3.0);
        // From there the next call goes on: a tenth of the way from 3 to 5.
        Run::new(&mut unit).train(&[(5.0, 1.0)], Train::epochs(1)).unwrap();
        assert_eq!(running_mean(&unit.engine().state(Part::Module).unwrap()), 3.0 + 0.1 * (5.0 - 3.0));
    }
}
