//! The report of a call: its completion and its recipients.

#![allow(clippy::panic, clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::{Arc, Mutex};

use regimen_core::callback::{Event, Events};
use regimen_core::metric::{Best, Goal, Key};
use regimen_core::run::{Ended, Evaluate, Report, Train};
use regimen_core::unit::{EvalUnit, TrainUnit};
use regimen_core::{BoxError, Callback, Error, Run, State};

const LOSS: Key = Key::mean("loss");

struct Unit;

impl TrainUnit for Unit {
    type Batch = u64;
    fn train_step(&mut self, _: &mut State, _: u64) -> Result<(), BoxError> {
        Ok(())
    }
}

impl EvalUnit for Unit {
    type Batch = u64;
    fn eval_step(&mut self, state: &mut State, batch: u64) -> Result<(), BoxError> {
        state.log(LOSS, batch as f64, 1.0);
        Ok(())
    }
}

/// Notes its calls at the end of calls.
struct Listener(Arc<Mutex<Vec<String>>>);

impl Callback<Unit> for Listener {
    fn on_event(&mut self, event: Event, _: &mut State, _: &mut Unit) -> Result<(), BoxError> {
        if [Event::TrainEnd, Event::EvalEnd].contains(&event) {
            self.0.lock().unwrap().push(event.to_string());
        }
        Ok(())
    }

    fn on_error(&mut self, _: &State, _: &mut Unit, error: &Error) {
        self.0.lock().unwrap().push(format!("{error:#}"));
    }

    fn on_report(&mut self, report: &Report) {
        self.0.lock().unwrap().push(report.to_string());
    }
}

/// Knows the best value of a metric.
struct Rule(f64);

impl Callback<Unit> for Rule {
    fn events(&self) -> Events {
        Events::NONE
    }

    fn sum_up(&mut self, report: &mut Report) {
        let checkpoint = (self.0 < 0.0).then(|| "runs/a".to_owned());
        let best = Best { key: LOSS, goal: Goal::Min, value: self.0, epoch: 1, train_step: 2, checkpoint };
        report.add_best(best);
    }
}

struct Bad;

impl Callback<Unit> for Bad {
    fn on_report(&mut self, _: &Report) {
        panic!("no paper");
    }
}

#[test]
fn all_sum_up_before_anyone_is_told() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut unit = Unit;
    let mut run =
        Run::new(&mut unit).callback(Listener(Arc::clone(&told))).callback(Rule(0.5)).callback(Rule(-1.5));
    let report = run.train(&[1, 2], Train::epochs(1)).unwrap();
    run.evaluate(&[3], Evaluate::whole()).unwrap();
    let text = "training complete after 1 epoch, 2 steps\nbest loss -1.500 in epoch 1, at step 2: runs/a";
    assert_eq!(*told.lock().unwrap(), ["train end", text, "eval end", "evaluation complete: loss 3.000"]);
    assert_eq!(report.to_string(), text);
    assert_eq!(report.best(LOSS).map(|best| best.value), Some(-1.5));
}

/// Has a last word.
struct Word;

impl Callback<Unit> for Word {
    fn events(&self) -> Events {
        Events::NONE
    }

    fn sum_up(&mut self, report: &mut Report) {
        report.notices.push("the last word".to_owned());
    }
}

#[test]
fn a_notice_that_comes_with_the_report_is_sent_before_the_report_and_is_in_it_once() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut unit = Unit;
    let notices = Arc::clone(&told);
    let mut run = Run::new(&mut unit)
        .on(Event::Notice, move |state: &mut State, _: &mut Unit| {
            notices.lock().unwrap().extend_from_slice(state.notices());
            state.pause("too late");
        })
        .callback(Listener(Arc::clone(&told)))
        .callback(Word);
    let report = run.train(&[1, 2], Train::epochs(1)).unwrap();
    let text = "training complete after 1 epoch, 2 steps";
    assert_eq!(*told.lock().unwrap(), ["train end", "the last word", text]);
    assert_eq!(report.notices, ["the last word"]);
    let report = run.train(&[1, 2], Train::epochs(2)).unwrap();
    assert_eq!((report.ended, report.train.steps), (Ended::Complete, 4));
    assert_eq!(report.notices, ["the last word"]);
}

#[test]
fn of_two_about_one_metric_the_better_stays_and_of_equal_ones_the_one_with_a_checkpoint() {
    let mut unit = Unit;
    let mut report = Run::new(&mut unit).train(&[1], Train::epochs(1)).unwrap();
    let mut add = |value, goal, checkpoint: Option<&str>| {
        let checkpoint = checkpoint.map(str::to_owned);
        report.add_best(Best { key: LOSS, goal, value, epoch: 1, train_step: 1, checkpoint });
        report.bests.iter().map(|best| (best.value, best.checkpoint.clone())).collect::<Vec<_>>()
    };
    let at = |place: &str| Some(place.to_owned());
    assert_eq!(add(2.0, Goal::Min, None), [(2.0, None)]);
    assert_eq!(add(2.0, Goal::Min, Some("a")), [(2.0, at("a"))]);
    assert_eq!(add(2.0, Goal::Min, Some("b")), [(2.0, at("a"))]);
    assert_eq!(add(3.0, Goal::Min, Some("c")), [(2.0, at("a"))]);
    assert_eq!(add(1.0, Goal::Min, None), [(1.0, None)]);
    assert_eq!(add(f64::NAN, Goal::Min, Some("d")), [(1.0, None)]);
    assert_eq!(add(5.0, Goal::Max, None), [(1.0, None), (5.0, None)]);
    assert_eq!(report.best(LOSS), None);
}

#[test]
fn a_panic_of_one_who_is_told_is_an_error_of_the_call() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(Bad).callback(Listener(Arc::clone(&told)));
    let error = run.train(&[1], Train::epochs(1)).map_err(|error| format!("{error:#}")).unwrap_err();
    assert_eq!(error, "callback Bad panicked at train end in train at epoch 1 step 1: no paper");
    assert_eq!(*told.lock().unwrap(), ["train end".to_owned(), error]);
}

#[test]
fn a_value_is_that_of_the_newest_epoch_that_ended_by_key_or_by_reference() {
    let mut unit = Unit;
    let mut run = Run::new(&mut unit);
    assert_eq!(run.state().value(LOSS), None);
    run.evaluate(&[1, 5], Evaluate::whole()).unwrap();
    assert_eq!((run.state().value(LOSS), run.state().value(&LOSS)), (Some(3.0), Some(3.0)));
    assert_eq!(run.state().value(Key::mean("other")), None);
    run.evaluate(&[2, 2, 8], Evaluate::whole()).unwrap();
    assert_eq!(run.state().value(LOSS), Some(4.0));
}
