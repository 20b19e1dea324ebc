//! Runs that own their unit, and dry runs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use regimen_core::engine::Engine;
use regimen_core::metric::Key;
use regimen_core::run::Train;
use regimen_core::saved::{AppState, Parts, save_parts};
use regimen_core::unit::TrainUnit;
use regimen_core::{AutoUnit, BoxError, Loss, Run, State, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};
use regimen_test::{Recorder, Transcript};

struct Sum(u64);

impl TrainUnit for Sum {
    type Batch = u64;
    fn train_step(&mut self, _: &mut State, batch: u64) -> Result<(), BoxError> {
        self.0 += batch;
        Ok(())
    }
}

#[test]
fn a_run_that_owns_its_unit_goes_on_between_calls_and_on_another_thread() {
    let mut run = Run::owned(Sum(0)).map_unit(|unit| Sum(unit.0 + 100));
    run.train(&[1, 2, 3], Train::steps(2)).unwrap();
    run.unit_mut().0 += 1_000;
    let run = std::thread::spawn(move || {
        run.train(&[1, 2, 3], Train::epochs(1)).unwrap();
        run
    });
    assert_eq!(run.join().unwrap().unit().0, 1_106);
}

#[test]
fn the_unit_of_a_run_that_borrows_it_cannot_be_replaced() {
    let mut unit = Sum(0);
    let mut run = Run::new(&mut unit).map_unit(|_| Sum(7));
    let error = run.train(&[1], Train::epochs(1)).unwrap_err();
    assert_eq!(error.to_string(), "`map_unit`: the run borrows its unit; give it one with `Run::owned`");
    assert_eq!(run.unit().0, 0);
}

impl AppState for Sum {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        parts.part("sum", &mut self.0)
    }
}

struct Fitted;

impl Task<ToyEngine<ToyMlp>> for Fitted {
    type Batch = ToyArray;
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        net: &ToyMlp,
        x: &ToyArray,
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        let value = regimen_core::engine::Value::Host(1.0);
        Ok((Loss::mean(net.forward(x).mean_squared_error(x), 1.0).with(Key::mean("one"), value), ()))
    }
}

/// A run with dropout, momentum and half an accumulated window.
fn begun(transcript: &Transcript) -> Run<'static, AutoUnit<ToyEngine<ToyMlp>, Fitted>> {
    manual_seed(1);
    let mut vars = ToyVars::new();
    let mlp = ToyMlp::regularized(&mut vars, [1, 4, 1], 0.5);
    let engine = ToyEngine::new(vars, mlp, ToyOptimizer::sgd(0.9));
    let unit = AutoUnit::new(engine, Fitted).accumulate(2).learning_rate(0.1);
    let mut run = Run::owned(unit).seed(5).callback(Recorder::new(transcript));
    run.train(&data(), Train::steps(3)).unwrap();
    transcript.take();
    run
}

fn data() -> Vec<ToyArray> {
    (0..4).map(|i| ToyArray::new(&[2, 1], &[f64::from(i), 0.5])).collect()
}

#[test]
fn a_dry_run_leaves_everything_as_it_was_to_the_last_bit() {
    let transcript = Transcript::new();
    let mut run = begun(&transcript);
    let before = (save_parts(run.unit_mut()).unwrap(), run.run_state().unwrap());
    let report = run.dry_run(|mut dry| {
        assert_eq!((dry.state().seed(), dry.state().train_progress().steps), (5, 0));
        dry.train(&data(), Train::epochs(3))
    });
    assert_eq!(report.unwrap().unwrap().train.steps, 12);
    assert_eq!((save_parts(run.unit_mut()).unwrap(), run.run_state().unwrap()), before);
    assert_eq!(transcript.take(), "");
    // And the training goes on as without it.
    run.train(&data(), Train::epochs(2)).unwrap();
    let mut other = begun(&transcript);
    other.train(&data(), Train::epochs(2)).unwrap();
    let weights = |run: &Run<'_, AutoUnit<ToyEngine<ToyMlp>, Fitted>>| {
        run.unit().engine().state(regimen_core::engine::Part::Module).unwrap()
    };
    assert_eq!(weights(&run), weights(&other));
}

#[test]
fn a_dry_run_that_fails_or_panics_leaves_the_unit_as_it_was() {
    let mut run = Run::owned(Sum(7));
    let failed = run.dry_run(|mut dry| {
        dry.train(&[1, 2], Train::epochs(1))?;
        dry.train(&[0; 0], Train::epochs(3))
    });
    assert_eq!(failed.unwrap().unwrap_err().to_string(), "data failed in train at epoch 1 step 2");
    let panicked = run.dry_run(|mut dry| {
        dry.unit_mut().0 = 9;
        panic!("on purpose")
    });
    let panicked: regimen_core::Error = panicked.map(|(): ()| ()).unwrap_err();
    assert!(panicked.is_panic() && format!("{panicked:#}").ends_with("on purpose"), "{panicked:#}");
    assert_eq!(run.unit().0, 7);
}
