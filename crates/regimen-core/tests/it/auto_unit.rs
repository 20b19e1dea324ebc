//! The optimization step of `AutoUnit`: its updates, their rates, and its handling of numbers that are
//! not finite and of unusable settings. The arithmetic of gradients is in the engine suite.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use regimen_core::auto_unit::{NonFinite, PredictTask, StepResults, TRAIN_LOSS};
use regimen_core::callback::Every;
use regimen_core::engine::{Engine, Mode, Part};
use regimen_core::run::{Ended, Evaluate, Train};
use regimen_core::schedule::LearningRates;
use regimen_core::{AutoUnit, BoxError, Error, Fit, Loss, Run, State, Step, Task};
use regimen_test::Transcript;
use regimen_test::toy::{ToyArray, ToyEngine, ToyLinear, ToyOptimizer, ToyVars};

/// One weight w, at first 1, whose loss is the batch times w: its gradient is the batch.
struct Slope {
    transcript: Transcript,
    weight: f64,
}

struct Weight(ToyArray);

impl Task<ToyEngine<Weight>> for Slope {
    type Batch = f64;
    type Output = Mode;

    fn compute_loss(
        &mut self,
        step: &Step,
        module: &Weight,
        batch: &f64,
    ) -> Result<(Loss<ToyArray>, Mode), BoxError> {
        Ok((Loss::mean(module.0.scale(*batch).mean(), self.weight), step.mode))
    }

    fn on_train_step_end(
        &mut self,
        _: &mut State,
        batch: &f64,
        results: StepResults<Mode>,
    ) -> Result<(), BoxError> {
        let end = match (results.updated, results.skipped) {
            (true, _) => "update",
            (_, true) => "skip",
            _ => "-",
        };
        assert_eq!(results.output, Mode::Train);
        self.transcript.write(format!("{batch}:{end}"));
        Ok(())
    }

    fn on_eval_step_end(
        &mut self,
        _: &mut State,
        batch: &f64,
        results: StepResults<Mode>,
    ) -> Result<(), BoxError> {
        assert_eq!(results.output, Mode::Eval);
        self.transcript.write(format!("eval({batch})={}", results.loss()?));
        Ok(())
    }
}

impl PredictTask<ToyEngine<Weight>> for Slope {
    type Input = f64;
    type Prediction = f64;

    fn predict(&mut self, step: &Step, module: &Weight, input: f64) -> Result<f64, BoxError> {
        assert_eq!(step.mode, Mode::Predict);
        Ok(module.0.values()[0] * input)
    }
}

type Unit = AutoUnit<ToyEngine<Weight>, Slope>;

fn unit(transcript: &Transcript) -> Unit {
    let mut vars = ToyVars::new();
    let weight = Weight(vars.parameter("weight", &[1, 1], 1.0));
    let mut engine = ToyEngine::new(vars, weight, ToyOptimizer::sgd(0.0));
    let mut one = engine.state(Part::Module).unwrap();
    one.remove("weight").unwrap();
    let array = regimen_core::saved::Array::new(
        regimen_core::saved::Dtype::F64,
        vec![1, 1],
        1_f64.to_le_bytes().to_vec(),
    );
    one.insert("weight", array.unwrap()).unwrap();
    engine.load_state(Part::Module, &one).unwrap();
    AutoUnit::new(engine, Slope { transcript: transcript.clone(), weight: 1.0 }).learning_rate(0.1)
}

fn weight(unit: &Unit) -> f64 {
    unit.engine().module().0.values()[0]
}

/// Trains on `batches` and compares the outcome of each step, and the weight.
#[track_caller]
fn check(
    configure: impl FnOnce(Unit) -> Unit,
    batches: &[f64],
    config: Train,
    expected: &str,
    expected_weight: f64,
) {
    let transcript = Transcript::new();
    let mut unit = configure(unit(&transcript));
    Run::new(&mut unit).train(batches, config).unwrap();
    transcript.assert_reads(expected);
    assert!((weight(&unit) - expected_weight).abs() < 1e-12, "{} is not {expected_weight}", weight(&unit));
}

#[test]
fn windows_end_when_they_are_full_and_with_the_epoch_however_it_ends() {
    let two = |unit: Unit| unit.accumulate(2);
    let epochs = Train::epochs(1);
    check(|unit| unit, &[1.0, 2.0], epochs, "1:update 2:update", 1.0 - 0.1 - 0.2);
    check(two, &[1.0, 2.0], epochs, "1:- 2:update", 1.0 - 0.15);
    // The last window holds one batch and is divided by one.
    check(two, &[1.0, 2.0, 3.0], epochs, "1:- 2:update 3:update", 1.0 - 0.15 - 0.3);
    check(two, &[1.0, 2.0, 3.0, 4.0], epochs.steps_per_epoch(3), "1:- 2:update 3:update", 1.0 - 0.15 - 0.3);
    // A limit does not end a window.
    check(two, &[1.0, 2.0, 3.0, 4.0], Train::steps(3), "1:- 2:update 3:-", 1.0 - 0.15);
}

#[test]
fn a_window_goes_on_over_a_pause_and_over_an_evaluation() {
    let transcript = Transcript::new();
    let mut unit = unit(&transcript).accumulate(3);
    let mut run = Run::new(&mut unit);
    run.train(&[1.0, 2.0, 6.0], Train::steps(2)).unwrap();
    run.fit(&[1.0, 2.0, 6.0], &[5.0], Fit::epochs(1).eval_every(Every::steps(1))).unwrap();
    transcript.assert_reads("1:- 2:- 6:update eval(5)=3.5");
}

#[test]
fn the_loss_that_is_logged_is_that_of_the_batch_weighted_by_its_weight() {
    let mut unit = unit(&Transcript::new()).accumulate(2).learning_rate(0.0);
    unit.task_mut().weight = 4.0;
    let report = Run::new(&mut unit).train(&[1.0, 2.0], Train::epochs(1)).unwrap();
    assert_eq!(report.metric(TRAIN_LOSS), Some(1.5));
}

#[test]
fn a_schedule_counts_updates_or_epochs_and_no_skipped_update() {
    let rates = |n: u64| if n == 0 { 0.1 } else { 0.01 };
    let batches = [1.0, 1.0];
    check(|unit| unit.learning_rate(rates), &batches, Train::epochs(1), "1:update 1:update", 0.89);
    check(
        |unit| unit.learning_rate_by_epoch(rates),
        &batches,
        Train::epochs(2),
        "1:update 1:update 1:update 1:update",
        1.0 - 0.2 - 0.02,
    );
    check(
        |unit| unit.learning_rate(rates).non_finite(NonFinite::Skip),
        &[f64::NAN, 1.0],
        Train::epochs(1),
        "NaN:skip 1:update",
        0.9,
    );
}

#[test]
fn a_loss_that_is_not_finite_is_an_error_skipped_or_ignored_as_told() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut failing = unit(&Transcript::new());
        let error = Run::new(&mut failing).train(&[1.0, bad], Train::epochs(1)).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            format!("unit failed in train_step in train at epoch 0 step 1: the loss is not finite: {bad}")
        );
        assert_eq!((error.place().step, weight(&failing)), (1, 0.9));

        let transcript = Transcript::new();
        let mut skipping = unit(&transcript).non_finite(NonFinite::Skip).accumulate(2);
        let report = Run::new(&mut skipping).train(&[1.0, bad, 3.0, 5.0], Train::epochs(1)).unwrap();
        transcript.assert_reads(&format!("1:- {bad}:skip 3:- 5:update"));
        assert_eq!((report.train.updates, skipping.skipped(), weight(&skipping)), (1, 1, 0.6));

        let mut ignoring = unit(&Transcript::new()).non_finite(NonFinite::Ignore);
        Run::new(&mut ignoring).train(&[bad], Train::epochs(1)).unwrap();
        assert!(!weight(&ignoring).is_finite());
    }
}

#[test]
fn a_gradient_that_is_not_finite_is_met_by_the_norm() {
    let poison = |engine: &mut ToyEngine<Weight>, _: &mut State| engine.scale_gradients(f64::INFINITY);
    let mut clipping = unit(&Transcript::new()).clip_norm(1.0).before_update(poison);
    let error = Run::new(&mut clipping).train(&[1.0], Train::epochs(1)).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "unit failed in train_step in train at epoch 0 step 0: the gradient is not finite: its norm is inf; gradient \
         `weight` is not finite"
    );
    assert_eq!(weight(&clipping), 1.0);

    let mut skipping = unit(&Transcript::new()).non_finite(NonFinite::Skip).before_update(poison);
    let report = Run::new(&mut skipping).train(&[1.0], Train::epochs(1)).unwrap();
    assert_eq!((report.train.updates, skipping.skipped(), weight(&skipping)), (0, 1, 1.0));
}

#[test]
fn after_an_error_behind_the_backward_pass_no_gradient_counts_twice() {
    let mut calls = 0;
    let transcript = Transcript::new();
    let mut unit = unit(&transcript).accumulate(2).after_backward(move |_, _| {
        calls += 1;
        if calls == 2 { Err("once".into()) } else { Ok(()) }
    });
    let mut run = Run::new(&mut unit);
    run.train(&[1.0, 2.0, 4.0], Train::epochs(1)).unwrap_err();
    run.train(&[1.0, 2.0, 4.0], Train::epochs(1)).unwrap();
    // The batch that failed is in its window once: 1 and 2, then 4.
    transcript.assert_reads("1:- 2:update 4:update");
    assert!((weight(run.unit()) - (1.0 - 0.15 - 0.4)).abs() < 1e-12);
}

#[test]
fn clipping_limits_what_the_update_uses_and_the_norm_told_is_the_one_before() {
    check(|unit| unit.clip_norm(0.5), &[2.0], Train::epochs(1), "2:update", 1.0 - 0.05);
    check(|unit| unit.clip_norm(4.0), &[2.0], Train::epochs(1), "2:update", 1.0 - 0.2);
    check(|unit| unit.clip_value(0.25), &[-2.0], Train::epochs(1), "-2:update", 1.0 + 0.025);
    check(|unit| unit.clip_norm(1.0).clip_value(0.5), &[2.0], Train::epochs(1), "2:update", 1.0 - 0.05);
}

#[test]
fn adaptive_clipping_limits_a_unit_by_its_weights_once_per_update() {
    check(|unit| unit.clip_adaptive(0.25), &[-2.0], Train::epochs(1), "-2:update", 1.0 + 0.025);
    check(|unit| unit.clip_adaptive(2.5), &[2.0], Train::epochs(1), "2:update", 1.0 - 0.2);
    // Of 2 and 4 together, not of each.
    let both = |unit: Unit| unit.accumulate(2).clip_adaptive(3.5);
    check(both, &[2.0, 4.0], Train::epochs(1), "2:- 4:update", 1.0 - 0.3);
    // The first update makes the weight 0, whose norm counts as 1e-3 in the second.
    check(|unit| unit.clip_adaptive(100.0), &[10.0, 5.0], Train::epochs(1), "10:update 5:update", -0.01);
}

#[test]
fn hooks_see_the_gradients_before_and_after_the_window_is_divided() {
    let transcript = Transcript::new();
    let (backward, update) = (transcript.clone(), transcript.clone());
    let read = |engine: &ToyEngine<Weight>| -> Result<f64, BoxError> {
        Ok(engine.state(Part::Gradients)?.array("weight")?.to_vec::<f64>()?[0])
    };
    let mut unit = unit(&Transcript::new())
        .accumulate(2)
        .clip_norm(0.5)
        .after_backward(move |engine, _| {
            backward.write(format!("backward={}", read(engine)?));
            Ok(())
        })
        .before_update(move |engine, state| {
            update.write(format!("update{}={}", state.train_progress().updates, read(engine)?));
            Ok(())
        });
    unit.task_mut().weight = 3.0;
    Run::new(&mut unit).train(&[1.0, 2.0], Train::epochs(1)).unwrap();
    transcript.assert_reads("backward=3 backward=9 update0=1.5");
}

/// Trains once with settings that cannot be used, and compares the error.
#[track_caller]
fn check_refused(configure: impl FnOnce(Unit) -> Unit, expected: &str) {
    let mut unit = configure(unit(&Transcript::new()));
    let error: Error = Run::new(&mut unit).train(&[1.0], Train::epochs(1)).unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), expected);
    assert_eq!(weight(&unit), 1.0);
}

#[test]
fn settings_that_cannot_be_used_are_errors_when_training_starts() {
    check_refused(|unit| unit.accumulate(0), "`accumulate`: a window of 0 steps never ends; give 1 or more");
    for limit in [0.0, -1.0, f64::NAN] {
        check_refused(|unit| unit.clip_norm(limit), "`clip_norm`: a limit must be greater than 0");
        check_refused(|unit| unit.clip_value(limit), "`clip_value`: a limit must be greater than 0");
        check_refused(|unit| unit.clip_adaptive(limit), "`clip_adaptive`: a limit must be greater than 0");
    }
    check_refused(
        |unit| unit.clip_adaptive(0.01).clip_norm(1.0),
        "`clip_adaptive` and `clip_norm` both clip the gradient; leave one out",
    );
    check_refused(
        |unit| unit.clip_value(1.0).clip_adaptive(0.01),
        "`clip_adaptive` and `clip_value` both clip the gradient; leave one out",
    );
    check_refused(
        |unit| unit.group_learning_rate("head", 0.1),
        "`group_learning_rate`: there is no group `head`; the engine has: default",
    );
    for rate in [-0.1, f64::NAN, f64::INFINITY] {
        let expected = format!(
            "the learning rate of group `default` is {rate} after 0 updates; give a schedule that returns finite \
             numbers from 0"
        );
        check_refused(|unit| unit.learning_rate(rate), &expected);
    }
    for weight in [-1.0, f64::NAN, f64::INFINITY] {
        let spoil = |mut unit: Unit| {
            unit.task_mut().weight = weight;
            unit
        };
        let expected = format!("the weight of a loss must be 0, or from 1e-15 to 1e15, and not {weight}");
        check_refused(spoil, &expected);
    }
}

#[test]
fn a_group_has_the_rate_given_to_it_and_the_others_the_common_one() {
    let mut vars = ToyVars::new();
    let layer = ToyLinear::new(&mut vars, "layer", 1, 1);
    let engine =
        ToyEngine::new(vars, layer, ToyOptimizer::sgd(0.0)).group("bias", |path| path.ends_with("bias"));
    struct Sum;
    impl Task<ToyEngine<ToyLinear>> for Sum {
        type Batch = ();
        type Output = ();
        fn compute_loss(
            &mut self,
            _: &Step,
            layer: &ToyLinear,
            _: &(),
        ) -> Result<(Loss<ToyArray>, ()), BoxError> {
            Ok((Loss::mean(layer.forward(&ToyArray::new(&[1, 1], &[1.0])).mean(), 1.0), ()))
        }
    }
    let mut unit =
        AutoUnit::new(engine, Sum).learning_rate(0.5).group_learning_rate("bias", |n: u64| 0.25 * n as f64);
    let read = |unit: &AutoUnit<ToyEngine<ToyLinear>, Sum>, name: &str| {
        unit.engine().state(Part::Module).unwrap().array(name).unwrap().to_vec::<f64>().unwrap()[0]
    };
    let before = ["layer.weight", "layer.bias"].map(|name| read(&unit, name));
    assert_eq!(unit.learning_rates(), [("default".to_owned(), 0.5), ("bias".to_owned(), 0.0)]);
    Run::new(&mut unit).train(&[(), ()], Train::epochs(1)).unwrap();
    let moved = [before[0] - read(&unit, "layer.weight"), before[1] - read(&unit, "layer.bias")];
    assert!((moved[0] - 1.0).abs() < 1e-12 && (moved[1] - 0.25).abs() < 1e-12, "{moved:?}");
}

#[test]
fn predictions_come_from_the_module_as_it_is_evaluated() {
    let mut unit = unit(&Transcript::new());
    let mut run = Run::new(&mut unit);
    let mut outputs = Vec::new();
    let report = run.predict(&[2.0, 3.0], Evaluate::whole(), |output| {
        outputs.push(output);
        Ok(())
    });
    assert_eq!((report.unwrap().ended, outputs), (Ended::Complete, vec![2.0, 3.0]));
}

#[test]
fn a_hook_of_the_task_may_stop_the_run() {
    struct Stops(Slope);
    impl Task<ToyEngine<Weight>> for Stops {
        type Batch = f64;
        type Output = Mode;
        fn compute_loss(
            &mut self,
            step: &Step,
            w: &Weight,
            b: &f64,
        ) -> Result<(Loss<ToyArray>, Mode), BoxError> {
            self.0.compute_loss(step, w, b)
        }
        fn on_train_epoch_start(&mut self, state: &mut State) -> Result<(), BoxError> {
            state.pause("before the first step");
            Ok(())
        }
    }
    let (engine, task) = unit(&Transcript::new()).into_parts();
    let mut unit = AutoUnit::new(engine, Stops(task));
    let report = Run::new(&mut unit).train(&[1.0], Train::epochs(1)).unwrap();
    assert_eq!((report.ended, report.train.steps), (Ended::Paused("before the first step".into()), 0));
}
