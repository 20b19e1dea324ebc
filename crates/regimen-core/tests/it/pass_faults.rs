//! Passes whose weights, sinks, hooks or data change or fail under way: continued or started over.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::borrow::Cow;
use std::cell::RefCell;
use std::mem;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use crate::weighted::{Unit, unit, weight};
use regimen_core::auto_unit::EVAL_LOSS;
use regimen_core::callback::{Event, Events, Every};
use regimen_core::data::{At, Data, Epoch, Fetched};
use regimen_core::metric::Key;
use regimen_core::run::{Ended, Evaluate, PredictionSink, Train};
use regimen_core::saved::StateDict;
use regimen_core::state::Phase;
use regimen_core::unit::{PredictUnit, TrainUnit};
use regimen_core::{BoxError, Callback, Fit, Run, State};
use regimen_test::{Act, Call, Recorder, RecordingUnit, Transcript};

const STEP: [(f64, f64); 1] = [(0.5, 1.0)];
/// Its loss is twice the weight.
const EVAL: [(f64, f64); 2] = [(1.0, 1.0), (3.0, 1.0)];

#[test]
fn a_finished_evaluation_is_told_again_until_the_weights_are_others() {
    let transcript = Transcript::new();
    let mut unit = unit();
    let mut w = weight(&unit);
    let recorder = Recorder::new(&transcript).named("").events(Events::of(&[Event::EvalStepEnd]));
    let mut run = Run::new(&mut unit).callback(recorder);
    let told = "the eval pass starts over: the weights have changed since it was finished";
    for notices in [&[][..], &[told], &[told]] {
        for (steps, notices) in [(".eval_step_end .eval_step_end", notices), ("", &[])] {
            let report = run.evaluate(&EVAL, Evaluate::whole().resume("a")).unwrap();
            transcript.assert_reads(steps);
            let (loss, done) = (report.metric(EVAL_LOSS), (report.eval.epochs, report.eval.steps));
            assert_eq!((loss, done), (Some(2.0 * w), (1, 2)));
            assert_eq!(report.notices, notices);
        }
        let epochs = run.state().train_progress().epochs + 1;
        run.train(&STEP, Train::epochs(epochs)).unwrap();
        w -= 0.5;
    }
}

#[test]
fn an_evaluation_of_fit_that_was_paused_begins_anew_where_train_came_between() {
    let mut unit = unit();
    let w = weight(&unit) - 11.0 * 0.5;
    let mut run = Run::new(&mut unit).on(Event::EvalStepEnd, |state: &mut State, _: &mut Unit| {
        if state.eval_progress().steps == 1 {
            state.pause("SIGINT");
        }
    });
    let report = run.fit(&STEP, &EVAL, Fit::epochs(1)).unwrap();
    assert_eq!(report.ended, Ended::Paused("SIGINT".into()));
    run.train(&STEP, Train::epochs(11)).unwrap();
    let report = run.fit(&STEP, &EVAL, Fit::epochs(11)).unwrap();
    assert_eq!((report.eval.epochs, report.eval.steps), (1, 3));
    assert_eq!(
        report.notices,
        ["the eval pass begun after 1 step of training starts over: the weights have changed"]
    );
    assert_eq!((report.metric(EVAL_LOSS), report.ended), (Some(2.0 * w), Ended::Complete));
}

/// Outputs that outlive the process, as a file does. Beginning and writing fail once, on request.
#[derive(Clone, Default)]
struct Disk(Rc<RefCell<Written>>);

#[derive(Default)]
struct Written {
    outputs: Vec<u64>,
    begin_fails: bool,
    write_fails: Option<u64>,
}

impl PredictionSink<u64> for Disk {
    fn begin(&mut self, position: Option<&StateDict>) -> Result<(), BoxError> {
        let mut written = self.0.borrow_mut();
        if mem::take(&mut written.begin_fails) {
            return Err("not mounted".into());
        }
        let length = position.map_or(Ok(0), |position| position.get::<u64>("length"))?;
        written.outputs.truncate(length as usize);
        Ok(())
    }

    fn write(&mut self, output: u64) -> Result<(), BoxError> {
        let mut written = self.0.borrow_mut();
        if written.write_fails.take_if(|at| *at == output).is_some() {
            return Err("disk full".into());
        }
        written.outputs.push(output);
        Ok(())
    }

    fn position(&mut self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("length", self.0.borrow().outputs.len() as u64)?;
        Ok(dict)
    }
}

/// Predicts its batches, says early that each step has happened, and asks for a pause at one, once.
struct Hasty {
    stops: Option<u64>,
}

impl PredictUnit for Hasty {
    type Batch = u64;
    type Output = u64;

    fn predict_step(&mut self, state: &mut State, batch: u64) -> Result<u64, BoxError> {
        state.commit_step();
        if self.stops.take_if(|at| *at == batch).is_some() {
            state.pause("SIGINT");
        }
        Ok(batch)
    }
}

#[test]
fn a_prediction_whose_sink_could_not_begin_goes_on_where_it_stood() {
    for restarts in [false, true] {
        let (mut unit, mut disk) = (Hasty { stops: Some(2) }, Disk::default());
        let pass = || Evaluate::whole().resume("a");
        let mut run = Run::new(&mut unit);
        run.predict_into(&[1, 2, 3, 4], pass(), &mut disk).unwrap();
        // Written by a process that did not save, so dropped.
        disk.0.borrow_mut().outputs.push(99);
        disk.0.borrow_mut().begin_fails = true;
        let error = run.predict_into(&[1, 2, 3, 4], pass(), &mut disk).unwrap_err();
        assert_eq!(format!("{error:#}"), "sink failed in predict at epoch 0 step 2: not mounted");
        if restarts {
            let saved = run.run_state().unwrap();
            drop(run);
            run = Run::new(&mut unit);
            run.load_run_state(&saved).unwrap();
        }
        let report = run.predict_into(&[1, 2, 3, 4], pass(), &mut disk).unwrap();
        assert_eq!((report.ended, report.predict.steps), (Ended::Complete, 4));
        assert_eq!(disk.0.borrow().outputs, [1, 2, 3, 4]);
    }
}

#[test]
fn an_output_that_could_not_be_written_is_made_again_also_where_the_unit_has_committed_its_step() {
    for fails in [1, 3, 4] {
        let (mut unit, mut disk) = (Hasty { stops: None }, Disk::default());
        disk.0.borrow_mut().write_fails = Some(fails);
        let mut run = Run::new(&mut unit);
        let pass = || Evaluate::whole().resume("a");
        let error = run.predict_into(&[1, 2, 3, 4], pass(), &mut disk).unwrap_err();
        let step = fails - 1;
        assert_eq!(format!("{error:#}"), format!("sink failed in predict at epoch 0 step {step}: disk full"));
        let report = run.predict_into(&[1, 2, 3, 4], pass(), &mut disk).unwrap();
        assert_eq!((report.ended, report.predict.steps), (Ended::Complete, 4));
        assert_eq!(disk.0.borrow().outputs, [1, 2, 3, 4]);
    }
}

const M: Key = Key::mean("m");
const THEIRS: Key = Key::sum("theirs");

/// Logs its batches under a key, and fails as requested, once.
struct Logs {
    key: Key,
    /// In the step of this batch.
    fails: Option<f64>,
    /// When training starts.
    refuses: bool,
}

impl Logs {
    fn new(key: Key) -> Self {
        Logs { key, fails: None, refuses: false }
    }
}

impl TrainUnit for Logs {
    type Batch = f64;

    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        if self.fails.take_if(|at| *at == batch).is_some() {
            state.log(M, batch, f64::NAN);
            return Err("its own mistake".into());
        }
        state.log(M, batch, 1.0);
        state.log(self.key.clone(), batch, 1.0);
        Ok(())
    }

    fn on_train_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        if mem::take(&mut self.refuses) {
            state.log(M, 0.0, f64::NAN);
            return Err("its own mistake".into());
        }
        Ok(())
    }

    fn on_train_epoch_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        state.notify("an epoch");
        Ok(())
    }
}

#[test]
fn metrics_that_a_callback_merges_at_the_end_of_an_epoch_belong_to_it() {
    let mut other = Logs::new(THEIRS);
    let mut other = Run::new(&mut other);
    other.train(&[6.0, 6.0], Train::steps(1)).unwrap();
    let theirs = other.state().metrics(Phase::Train).clone();
    let mut unit = Logs::new(Key::sum("ours"));
    let mut run = Run::new(&mut unit).on(Event::TrainEpochEnd, |state: &mut State, _: &mut Logs| {
        state.metrics_mut(Phase::Train).merge(&theirs)
    });
    let report = run.train(&[1.0, 2.0], Train::epochs(2)).unwrap();
    let values = vec![(M, 3.0), (Key::sum("ours"), 3.0), (THEIRS, 6.0)];
    let found: Vec<_> = report.epochs.into_iter().map(|epoch| epoch.values).collect();
    assert_eq!(found, [values.clone(), values]);
}

#[test]
fn what_was_logged_wrongly_beside_another_failure_is_forgotten_with_it() {
    for (fails, refuses, place) in [(None, true, "on_train_start"), (Some(1.0), false, "train_step")] {
        let mut unit = Logs { fails, refuses, ..Logs::new(M) };
        // It receives the notice of the epoch after the step has failed.
        let mut run = Run::new(&mut unit).on(Event::Notice, |_: &mut State, _: &mut Logs| ());
        let error = run.train(&[1.0], Train::epochs(1)).unwrap_err();
        let text = format!("unit failed in {place} in train at epoch 0 step 0: its own mistake");
        assert_eq!((format!("{error:#}"), error.suppressed().len()), (text, 0));
        assert_eq!(run.train(&[1.0], Train::epochs(1)).unwrap().ended, Ended::Complete);
    }
}

/// Writes down every event.
struct Writer(Transcript);

impl Callback<Logs> for Writer {
    fn name(&self) -> Cow<'static, str> {
        "writer".into()
    }

    fn events(&self) -> Events {
        Events::of(&[Event::TrainStepEnd])
    }

    fn writes_down(&self) -> bool {
        true
    }

    fn on_event(&mut self, event: Event, _: &mut State, _: &mut Logs) -> Result<(), BoxError> {
        self.0.write(event.name());
        Ok(())
    }
}

#[test]
fn what_a_callback_that_fails_has_logged_wrongly_is_no_fault_of_the_next() {
    let transcript = Transcript::new();
    let mut unit = Logs::new(M);
    let mut run = Run::new(&mut unit)
        .on(Event::TrainStepEnd, |state: &mut State, _: &mut Logs| -> Result<(), BoxError> {
            state.log(M, 0.0, f64::NAN);
            Err("its own mistake".into())
        })
        .callback(Writer(transcript.clone()));
    let error = run.train(&[1.0], Train::epochs(1)).unwrap_err();
    let text = "callback closure failed at train step end in train at epoch 0 step 1: its own mistake";
    assert_eq!((format!("{error:#}"), error.suppressed().len()), (text.to_owned(), 0));
    transcript.assert_reads("train step end");
}

#[test]
fn an_evaluation_whose_end_fails_is_counted_once_and_told_once() {
    let transcript = Transcript::new();
    let events = Events::of(&[Event::EvalEpochEnd]);
    let mut unit = RecordingUnit::new(&transcript).named("").at(Call::EvalEpochEnd, 1, Act::Fail);
    let mut run = Run::new(&mut unit).callback(Recorder::new(&transcript).events(events));
    let error = run.fit(&[1], &[8], Fit::epochs(1)).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "unit failed in on_eval_epoch_end in eval at epoch 1 step 1: told to fail"
    );
    let report = run.fit(&[1], &[8], Fit::epochs(1)).unwrap();
    assert_eq!((report.ended, report.eval.epochs, report.eval.steps), (Ended::Complete, 1, 1));
    transcript.assert_reads(
        ".train_start .train_epoch_start .train_step(1) .train_epoch_end
         .eval_start .eval_epoch_start .eval_step(8) .eval_epoch_end cb.eval_epoch_end cb.error(Unit)
         .train_start .train_end",
    );
}

/// Two batches, of which the second brings a notice.
struct Tells;

struct Telling {
    next: u32,
    notice: Option<String>,
}

impl Data for Tells {
    type Batch = u32;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = u32>, BoxError> {
        Ok(Telling { next: at.skip as u32, notice: None })
    }

    fn batches(&self) -> Option<u64> {
        Some(2)
    }
}

impl Epoch for Telling {
    type Batch = u32;

    fn next(&mut self) -> Option<Result<Fetched<u32>, BoxError>> {
        let batch = self.next;
        self.next += 1;
        if batch == 1 {
            self.notice = Some("sample 7 was passed over".to_owned());
        }
        (batch < 2).then(|| Ok(Fetched::new(batch, 1)))
    }

    fn notice(&mut self) -> Option<String> {
        self.notice.take()
    }
}

#[test]
fn a_notice_of_a_batch_whose_step_is_made_again_is_told_once() {
    let transcript = Transcript::new();
    let recorder = Recorder::new(&transcript)
        .named("")
        .events(Events::of(&[Event::Notice]))
        .showing(|state| state.notices().join(", "));
    let mut unit = RecordingUnit::new(&Transcript::new()).at(Call::TrainStep, 2, Act::Fail);
    let mut run = Run::new(&mut unit).callback(recorder);
    run.train(&Tells, Train::epochs(1)).unwrap_err();
    let report = run.train(&Tells, Train::epochs(1)).unwrap();
    assert_eq!((report.train.steps, report.notices), (2, vec!["sample 7 was passed over".to_owned()]));
    transcript.assert_reads(".error(Unit) .notice(sample 7 was passed over)");
}

#[test]
fn a_fit_that_is_to_evaluate_nothing_tells_of_no_evaluation_that_it_has_not_made() {
    for fit in [Fit::epochs(1), Fit::epochs(1).eval_every(Every::steps(9)), Fit::steps(1)] {
        let mut unit = RecordingUnit::new(&Transcript::new());
        let mut run = Run::new(&mut unit);
        let report = run.fit(&[1, 2], &[8], fit.eval_steps(0)).unwrap();
        assert_eq!((report.ended, report.eval.epochs, report.notices), (Ended::Complete, 0, vec![]));
        // The next call may be an evaluation.
        let report = run.fit(&[1, 2], &[8], Fit::epochs(2).eval_every(Every::steps(9))).unwrap();
        let told = "`fit` came to its limit before its first evaluation: it evaluates every 9 steps, and has \
                    made 2 epochs, 4 steps and 0 updates";
        assert_eq!(report.notices, [told]);
    }
}

#[test]
fn rules_behind_a_callback_that_fails_at_the_end_of_an_evaluation_are_fed_all_the_same() {
    let mut failed = false;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let fed = seen.clone();
    let mut unit = unit().learning_rate(0.0);
    let mut run = Run::new(&mut unit)
        .on(Event::EvalEpochEnd, move |_: &mut State, _: &mut Unit| -> Result<(), BoxError> {
            if std::mem::replace(&mut failed, true) { Ok(()) } else { Err("once".into()) }
        })
        .on(Event::EvalEpochEnd, move |state: &mut State, _: &mut Unit| {
            fed.lock().unwrap().push(state.eval_progress().epochs);
        });
    let (train, eval, config) = ([(0.5, 1.0)], [(1.0, 1.0)], Fit::epochs(2));
    run.fit(&train, &eval, config).unwrap_err();
    run.fit(&train, &eval, config).unwrap();
    assert_eq!(*seen.lock().unwrap(), [1, 2]);
}

#[test]
fn a_pause_that_is_asked_for_while_an_error_is_told_does_not_pause_the_next_call() {
    let mut unit = RecordingUnit::<u32>::new(&Transcript::new());
    let mut run = Run::new(&mut unit)
        .on(Event::TrainStepEnd, |state: &mut State, _: &mut RecordingUnit<u32>| -> Result<(), BoxError> {
            state.notify("waits");
            if state.train_progress().steps == 1 { Err("once".into()) } else { Ok(()) }
        })
        .on(Event::Notice, |state: &mut State, _: &mut RecordingUnit<u32>| {
            if state.train_progress().steps == 1 {
                state.pause("too late");
            }
        });
    run.train(&[1, 2], Train::steps(2)).unwrap_err();
    assert_eq!(run.train(&[1, 2], Train::steps(2)).unwrap().ended, Ended::Complete);
}
