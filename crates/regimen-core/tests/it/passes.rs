//! Passes by hand next to the training and the evaluations of `fit`, and failed steps in any of them.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::cell::RefCell;
use std::rc::Rc;

use crate::weighted::{Unit, unit};
use regimen_core::auto_unit::{EVAL_LOSS, Plateau};
use regimen_core::callback::{Event, Every};
use regimen_core::metric::Key;
use regimen_core::run::{Ended, Evaluate, PredictionSink, Train};
use regimen_core::saved::StateDict;
use regimen_core::schedule::LearningRates;
use regimen_core::unit::{EvalUnit, PredictUnit, TrainUnit};
use regimen_core::{BoxError, Fit, Run, State};

#[test]
fn a_test_set_is_not_mixed_with_a_validation_that_was_paused() {
    let mut unit = unit().learning_rate(0.0);
    let mut run = Run::new(&mut unit).on(Event::EvalStepEnd, |state: &mut State, _: &mut Unit| {
        if state.eval_progress().steps == 2 {
            state.pause("SIGINT");
        }
    });
    let (train, valid, test) = ([(0.0, 1.0)], [(1000.0, 1.0); 4], [(0.0, 1.0); 4]);
    run.fit(&train, &valid, Fit::epochs(1)).unwrap();
    let place = run.run_state().unwrap();
    let paused = run.evaluate(&test, Evaluate::whole()).unwrap();
    assert_eq!(paused.ended, Ended::Paused("SIGINT".into()));
    // From the beginning, because it was not named; and the next one is the whole again.
    let report = run.evaluate(&test, Evaluate::steps(1)).unwrap();
    assert_eq!((report.metric(EVAL_LOSS), report.eval.steps), (Some(0.0), 1));
    // Nothing of the run has changed, and the validation goes on.
    assert_eq!(run.run_state().unwrap(), place);
    let report = run.fit(&train, &valid, Fit::epochs(1)).unwrap();
    assert_eq!((report.ended, report.eval.steps, report.eval.epochs), (Ended::Complete, 4, 1));
}

#[test]
fn a_validation_that_is_due_stays_due_and_rules_do_not_learn_of_the_test_set() {
    let mut unit = unit().reduce_on_plateau(Plateau::min(EVAL_LOSS).patience(0).factor(0.5));
    let mut run = Run::new(&mut unit).on(Event::TrainEpochEnd, |state: &mut State, _: &mut Unit| {
        if state.train_progress().epochs == 2 {
            state.pause("SIGINT");
        }
    });
    run.fit(&[(0.0, 1.0)], &[(0.0, 1.0)], Fit::epochs(2)).unwrap();
    run.evaluate(&[(f64::MAX, 1.0)], Evaluate::whole()).unwrap();
    assert!(run.state().eval_is_due());
    assert_eq!(run.unit().learning_rates()[0].1, 1.0);
}

#[test]
fn a_plateau_can_be_told_to_learn_of_evaluations_by_hand() {
    let plateau = Plateau::min(EVAL_LOSS).patience(0).factor(0.5).judge_evaluate();
    let mut unit = unit().learning_rate(1.0).reduce_on_plateau(plateau);
    let mut run = Run::new(&mut unit);
    run.evaluate(&[(0.0, 1.0)], Evaluate::whole()).unwrap();
    run.evaluate(&[(0.0, 1.0)], Evaluate::whole()).unwrap();
    assert_eq!(run.unit().learning_rates()[0].1, 0.5);
}

struct Ten;

impl PredictUnit for Ten {
    type Batch = u64;
    type Output = u64;

    fn predict_step(&mut self, _: &mut State, batch: u64) -> Result<u64, BoxError> {
        Ok(10 * batch)
    }
}

#[test]
fn a_prediction_that_failed_is_not_gone_on_with_on_other_data() {
    let mut unit = Ten;
    let mut run = Run::new(&mut unit);
    let mut n = 0;
    let full = |_| {
        n += 1;
        if n == 3 { Err("disk full".into()) } else { Ok(()) }
    };
    run.predict(&[1, 2, 3], Evaluate::whole(), full).unwrap_err();
    let mut outputs = Vec::new();
    let report = run.predict(&[5, 6], Evaluate::whole(), |output| {
        outputs.push(output);
        Ok(())
    });
    assert_eq!((report.unwrap().ended, outputs), (Ended::Complete, vec![50, 60]));
}

/// Outputs that outlive the process, as a file does; the third write fails once.
#[derive(Clone, Default)]
struct File(Rc<RefCell<(Vec<u64>, u64)>>);

impl PredictionSink<u64> for File {
    fn begin(&mut self, position: Option<&StateDict>) -> Result<(), BoxError> {
        let length = position.map_or(Ok(0), |position| position.get::<u64>("length"))?;
        self.0.borrow_mut().0.truncate(length as usize);
        Ok(())
    }

    fn write(&mut self, output: u64) -> Result<(), BoxError> {
        let (outputs, calls) = &mut *self.0.borrow_mut();
        *calls += 1;
        if *calls == 3 {
            return Err("disk full".into());
        }
        outputs.push(output);
        Ok(())
    }

    fn position(&mut self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("length", self.0.borrow().0.len() as u64)?;
        Ok(dict)
    }
}

#[test]
fn a_prediction_with_a_name_goes_on_after_a_restart_and_stays_finished() {
    let file = File::default();
    let mut saved = None;
    // Each time in a new process: an error, then the rest, then nothing.
    for (expected, ended) in [(&[10, 20][..], false), (&[10, 20, 30, 40], true), (&[10, 20, 30, 40], true)] {
        let mut unit = Ten;
        let mut run = Run::new(&mut unit);
        if let Some(saved) = &saved {
            run.load_run_state(saved).unwrap();
        }
        let mut sink = file.clone();
        let report = run.predict_into(&[1, 2, 3, 4], Evaluate::whole().resume("a"), &mut sink);
        assert_eq!(report.is_ok(), ended);
        // Another of another name, in between.
        let mut others = Vec::new();
        let report = run.predict(&[7], Evaluate::whole(), |output| {
            others.push(output);
            Ok(())
        });
        assert_eq!((report.unwrap().ended, others), (Ended::Complete, vec![70]));
        saved = Some(run.run_state().unwrap());
        // Output after the last save of a process is dropped by the next.
        if !ended {
            file.0.borrow_mut().0.push(99);
        }
        assert_eq!(file.0.borrow().0[..expected.len()], *expected);
    }
    assert_eq!(file.0.borrow().0, [10, 20, 30, 40]);
}

impl TrainUnit for Ten {
    type Batch = u64;
    fn train_step(&mut self, _: &mut State, _: u64) -> Result<(), BoxError> {
        Ok(())
    }
}

#[test]
fn a_prediction_under_other_weights_begins_anew_and_its_file_too() {
    for paused_at in [2, 9] {
        let file = File(Rc::new(RefCell::new((Vec::new(), 9))));
        let mut unit = Ten;
        let mut run = Run::new(&mut unit).on(Event::PredictStepEnd, move |state: &mut State, _: &mut Ten| {
            if state.train_progress().steps == 0 && state.predict_progress().steps == paused_at {
                state.pause("told to");
            }
        });
        let (data, config) = ([1, 2, 3, 4], Evaluate::whole().resume("a"));
        run.predict_into(&data, config, &mut file.clone()).unwrap();
        run.train(&[0], Train::steps(1)).unwrap();
        let report = run.predict_into(&data, config, &mut file.clone()).unwrap();
        assert_eq!((report.ended, report.predict.steps), (Ended::Complete, 4));
        assert_eq!(file.0.borrow().0, [10, 20, 30, 40]);
        let told = match paused_at {
            2 => "the predict pass begun after 0 steps of training starts over: the weights have changed",
            _ => "the predict pass starts over: the weights have changed since it was finished",
        };
        assert_eq!(report.notices, [told]);
    }
}

const M: Key = Key::mean("m");

/// Logs its batches, and fails at one of them once, or asks for a pause.
struct Logs {
    fails: Option<f64>,
}

impl Logs {
    fn log(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(M, batch, 1.0);
        state.log(Key::sum("new"), batch, 1.0);
        match self.fails.take_if(|at| *at == batch) {
            Some(_) => Err("once".into()),
            None => Ok(()),
        }
    }
}

impl TrainUnit for Logs {
    type Batch = f64;
    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        self.log(state, batch)
    }
}

impl EvalUnit for Logs {
    type Batch = f64;
    fn eval_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        self.log(state, batch)
    }
}

impl PredictUnit for Logs {
    type Batch = f64;
    type Output = ();
    fn predict_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        self.log(state, batch)
    }
}

#[test]
fn what_a_step_that_failed_has_logged_is_taken_back() {
    let data = [0.0, 3.0, 6.0];
    for fails in data {
        let mut unit = Logs { fails: Some(fails) };
        let mut run = Run::new(&mut unit);
        run.train(&data, Train::epochs(1)).unwrap_err();
        let train = run.train(&data, Train::epochs(1)).unwrap();
        run.unit_mut().fails = Some(fails);
        run.evaluate(&data, Evaluate::whole().resume("a")).unwrap_err();
        let eval = run.evaluate(&data, Evaluate::whole().resume("a")).unwrap();
        // It is finished: its metrics are reported again.
        let again = run.evaluate(&data, Evaluate::whole().resume("a")).unwrap();
        run.unit_mut().fails = Some(fails);
        run.predict(&data, Evaluate::whole().resume("a"), |()| Ok(())).unwrap_err();
        let predict = run.predict(&data, Evaluate::whole().resume("a"), |()| Ok(())).unwrap();
        for report in [train, eval, again, predict] {
            assert_eq!([report.metric(M), report.metric(Key::sum("new"))], [Some(3.0), Some(9.0)]);
        }
    }
}

#[test]
fn a_callback_that_fails_before_the_step_leaves_nothing_logged_either() {
    let mut failed = false;
    let mut unit = Logs { fails: None };
    let mut run = Run::new(&mut unit)
        .on(Event::TrainStepStart, |state: &mut State, _: &mut Logs| state.log(Key::sum("starts"), 1.0, 1.0))
        .on(Event::TrainStepStart, move |_: &mut State, _: &mut Logs| -> Result<(), BoxError> {
            if std::mem::replace(&mut failed, true) { Ok(()) } else { Err("once".into()) }
        });
    run.train(&[1.0, 2.0], Train::epochs(1)).unwrap_err();
    let report = run.train(&[1.0, 2.0], Train::epochs(1)).unwrap();
    assert_eq!(report.metric(Key::sum("starts")), Some(2.0));
}

#[test]
fn a_key_with_two_reductions_and_an_impossible_weight_make_the_step_fail() {
    let check = |key: Key, weight: f64, expected: &str| {
        let mut unit = Logs { fails: None };
        let log = move |state: &mut State, _: &mut Logs| state.log(key.clone(), 1.0, weight);
        let mut run = Run::new(&mut unit).on(Event::TrainStepEnd, log);
        assert_eq!(
            run.train(&[1.0], Train::epochs(1)).map_err(|error| format!("{error:#}")).unwrap_err(),
            expected
        );
    };
    let place = "callback closure failed at train step end in train at epoch 0 step 1";
    let text = "two keys are named `m`, one of Mean and one of Last; give them different names";
    check(Key::last("m"), 1.0, &format!("{place}: {text}"));
    let text = "`x` was logged with the weight -1; give a finite number of at least 0";
    check(Key::mean("x"), -1.0, &format!("{place}: {text}"));
}

#[test]
fn what_a_callback_logs_at_the_end_of_an_epoch_belongs_to_it() {
    let mut unit = Logs { fails: None };
    let mut run = Run::new(&mut unit)
        .on(Event::TrainEpochEnd, |state: &mut State, _: &mut Logs| {
            state.log(Key::last("late"), state.train_progress().epochs as f64, 1.0);
            state.log(M, 9.0, 2.0);
        })
        .on(Event::EvalEpochEnd, |state: &mut State, _: &mut Logs| {
            state.log(Key::last("late"), 10.0 * state.eval_progress().epochs as f64, 1.0);
        });
    let report = run.fit(&[3.0, 3.0], &[1.0], Fit::epochs(2)).unwrap();
    let late: Vec<_> = report.epochs.iter().map(|epoch| epoch.metric(Key::last("late"))).collect();
    assert_eq!(late, [Some(1.0), Some(10.0), Some(2.0), Some(20.0)]);
    let means: Vec<_> = report.epochs.iter().map(|epoch| epoch.metric(M)).collect();
    assert_eq!(means, [Some(6.0), Some(1.0), Some(6.0), Some(1.0)]);
}

struct Gan;

impl TrainUnit for Gan {
    type Batch = u64;
    fn train_step(&mut self, state: &mut State, _: u64) -> Result<(), BoxError> {
        // No step of the generator at first.
        for _ in 0..if state.train_progress().steps == 0 { 1 } else { 2 } {
            state.count_update();
        }
        Ok(())
    }
}

impl EvalUnit for Gan {
    type Batch = u64;
    fn eval_step(&mut self, _: &mut State, _: u64) -> Result<(), BoxError> {
        Ok(())
    }
}

#[test]
fn a_cadence_of_updates_is_due_where_a_step_passes_it() {
    let config = Fit::epochs(1).eval_every(Every::updates(10));
    let report = Run::new(&mut Gan).fit(&[0; 100], &[0], config).unwrap();
    assert_eq!((report.train.updates, report.eval.epochs), (199, 19));
}

#[test]
fn a_fit_that_ends_before_its_first_evaluation_says_so() {
    let config = Fit::steps(3).eval_every(Every::steps(100).or(Every::epochs(1)));
    let report = Run::new(&mut Gan).fit(&[0; 100], &[0], config).unwrap();
    let told = "`fit` came to its limit before its first evaluation: it evaluates every 100 steps or 1 epoch, \
                and has made 0 epochs, 3 steps and 5 updates";
    assert_eq!(report.notices, [told]);
}
