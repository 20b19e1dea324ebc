//! Foundations of callbacks: cadences by the counts of the state, ranks, and the logs of a step.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use regimen_core::callback::{Event, Events, Every, Ranks, Trigger};
use regimen_core::data::Rank;
use regimen_core::metric::Key;
use regimen_core::run::{Evaluate, Report, Train};
use regimen_core::unit::{EvalUnit, TrainUnit};
use regimen_core::{BoxError, Callback, Error, Fit, Run, State};

const LOSS: Key = Key::mean("loss");

/// Makes an update in every second step of training and one at the end of each epoch, and logs batches
/// that are not 0.
struct Unit;

impl TrainUnit for Unit {
    type Batch = u8;
    fn train_step(&mut self, state: &mut State, batch: u8) -> Result<(), BoxError> {
        if state.train_progress().steps % 2 == 1 {
            state.count_update();
        }
        if batch > 0 {
            state.log(LOSS, batch.into(), 1.0);
        }
        Ok(())
    }
    fn on_train_epoch_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        state.count_update();
        Ok(())
    }
}

impl EvalUnit for Unit {
    type Batch = u8;
    fn eval_step(&mut self, _: &mut State, _: u8) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Notes the events at which a cadence is due, by the counts of the active phase.
struct Due<'n> {
    every: Every,
    noted: &'n std::sync::Mutex<Vec<String>>,
}

impl<U> Callback<U> for Due<'_> {
    fn on_event(&mut self, event: Event, state: &mut State, _: &mut U) -> Result<(), BoxError> {
        if state.is_due(self.every) {
            self.noted.lock().unwrap().push(format!("{event} {}", state.progress().steps));
        }
        Ok(())
    }
}

/// The places at which `every` is due in three epochs of three steps with an evaluation of two steps
/// after each, in calls of at most `pause` steps, each of a new process.
fn due(every: Every, pause: u64) -> Vec<String> {
    let (noted, mut saved) = (Default::default(), None);
    for limit in (1..).map(|call| call * pause) {
        let mut unit = Unit;
        let mut run = Run::new(&mut unit).callback(Due { every, noted: &noted });
        if let Some(saved) = &saved {
            run.load_run_state(saved).unwrap();
        }
        let report = run.fit(&[1; 3], &[1; 2], Fit::steps(limit.min(9))).unwrap();
        saved = Some(run.run_state().unwrap());
        if report.train.epochs == 3 {
            break;
        }
    }
    noted.into_inner().unwrap()
}

#[test]
fn a_cadence_is_due_at_the_same_places_in_one_process_and_in_many() {
    let check = |every: Every, expected: &[&str]| {
        for pause in [9, 1, 2, 4] {
            assert_eq!(due(every, pause), expected, "{every}, in calls of {pause} steps");
        }
    };
    let (step, epoch) = ("train step end", "train epoch end");
    let (at_step, at_epoch) = (|n| format!("{step} {n}"), |n| format!("{epoch} {n}"));
    let eval = |n| format!("eval step end {n}");
    let all = |list: &[String]| list.to_vec();
    let owned: [(Every, Vec<String>); 3] = [
        // Steps of either phase.
        (Every::steps(4), all(&[at_step(4), eval(4), at_step(8)])),
        (Every::epochs(2), all(&[at_epoch(6), "eval epoch end 4".to_owned()])),
        // Of the updates 1 in step 2, 2 at the end of epoch 1, 3 in step 4, 4 in step 6, 5, 6 in step 8, 7.
        (Every::updates(2), all(&[at_epoch(3), at_step(6), at_step(8)])),
    ];
    for (every, expected) in owned {
        check(every, &expected.iter().map(|line| &**line).collect::<Vec<_>>());
    }
}

/// The training steps that are complete at the calls of a closure at `trigger`.
fn called(trigger: impl Into<Trigger>) -> Vec<u64> {
    let (mut unit, noted) = (Unit, std::sync::Mutex::new(Vec::new()));
    let note = |state: &mut State, _: &mut Unit| noted.lock().unwrap().push(state.train_progress().steps);
    Run::new(&mut unit).on(trigger, note).fit(&[1; 3], &[1; 2], Fit::epochs(3)).unwrap();
    noted.into_inner().unwrap()
}

#[test]
fn a_closure_is_called_at_the_cadence_of_its_event() {
    assert_eq!(called(Event::TrainStepEnd.every(Every::steps(4))), [4, 8]);
    assert_eq!(called(Event::TrainStepEnd.every(Every::steps(4).or(Every::updates(2)))), [4, 6, 8]);
    assert_eq!(called(Event::TrainStepEnd.every(Every::epochs(1))), [0; 0]);
    assert_eq!(called(Event::TrainEpochEnd.every(Every::epochs(2))), [6]);
    assert_eq!(called(Event::EvalStepEnd.every(Every::steps(3))), [6, 9]);
    assert_eq!(called(Event::EvalEpochEnd), [3, 6, 9]);
    // At other events the counts decide, 0 included.
    assert_eq!(called(Event::TrainStepStart.every(Every::steps(4))), [0, 4, 8]);
    assert_eq!(called(Event::CycleEnd.every(Every::epochs(2))), [6]);
}

/// Notes every call, and fails at the end of the second step.
struct First<'n>(&'n std::sync::Mutex<Vec<String>>);

impl<U> Callback<U> for First<'_> {
    fn events(&self) -> Events {
        Events::of(&[Event::TrainStart, Event::TrainStepEnd])
    }
    fn ranks(&self) -> Ranks {
        Ranks::First
    }
    fn on_event(&mut self, event: Event, state: &mut State, _: &mut U) -> Result<(), BoxError> {
        self.0.lock().unwrap().push(event.to_string());
        if state.train_progress().steps == 2 { Err("told to fail".into()) } else { Ok(()) }
    }
    fn on_error(&mut self, _: &State, _: &mut U, _: &Error) {
        self.0.lock().unwrap().push("error".to_owned());
    }
    fn sum_up(&mut self, _: &mut Report) {
        self.0.lock().unwrap().push("sum up".to_owned());
    }
    fn on_report(&mut self, _: &Report) {
        self.0.lock().unwrap().push("report".to_owned());
    }
}

#[test]
fn a_callback_of_the_first_rank_hears_nothing_on_the_others() {
    let told = |index| {
        let (mut unit, noted) = (Unit, std::sync::Mutex::new(Vec::new()));
        // The rank may be set after the callback.
        let mut run = Run::new(&mut unit).callback(First(&noted)).rank(Rank { index, count: 2 });
        run.train(&[1; 3], Train::steps(1)).unwrap();
        let failed = run.train(&[1; 3], Train::steps(2)).is_err();
        drop(run);
        (failed, noted.into_inner().unwrap().join(", "))
    };
    let first = "train start, train step end, sum up, report, train start, train step end, error";
    assert_eq!(told(0), (true, first.to_owned()));
    assert_eq!(told(1), (false, String::new()));
}

#[test]
fn a_metric_is_in_the_step_in_which_it_was_logged() {
    let (mut unit, noted) = (Unit, std::sync::Mutex::new(Vec::new()));
    let note = |state: &mut State, _: &mut Unit| {
        let steps = state.train_progress().steps;
        noted.lock().unwrap().push(state.metric(LOSS).and_then(|loss| loss.in_step(steps)));
    };
    let mut run = Run::new(&mut unit).on(Event::TrainStepEnd, note);
    run.train(&[0, 3, 0, 0, 5], Train::epochs(2)).unwrap();
    drop(run);
    let once = [None, Some(3.0), None, None, Some(5.0)];
    assert_eq!(noted.into_inner().unwrap(), [once, once].concat());
    // A value of the end of a step is not one of the next.
    let noted = std::sync::Mutex::new(Vec::new());
    let note = |state: &mut State, _: &mut Unit| {
        let steps = state.train_progress().steps;
        if steps == 2 || steps == 5 {
            state.log(Key::mean("at the end"), 1.0, 1.0);
        }
        let metric = state.metric(Key::mean("at the end"));
        noted.lock().unwrap().push(metric.and_then(|metric| metric.in_step(steps)));
    };
    let mut run = Run::new(&mut unit).on(Event::TrainStepEnd, note);
    run.train(&[0; 3], Train::epochs(2)).unwrap();
    drop(run);
    assert_eq!(noted.into_inner().unwrap(), [None, Some(1.0), None, None, Some(1.0), None]);
    // An evaluation by itself counts its steps separately.
    let mut run = Run::new(&mut unit);
    run.evaluate(&[1], Evaluate::whole()).unwrap();
    assert!(run.state().metric(LOSS).is_none());
}
