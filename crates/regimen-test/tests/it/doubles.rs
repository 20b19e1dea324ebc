//! The doubles perform their scripted actions once, and record their calls.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use regimen_core::callback::{Event, Events};
use regimen_core::error::ErrorKind;
use regimen_core::run::{Ended, Evaluate, Predict, Train, predict};
use regimen_core::saved::{AppState, Parts, load_parts, save_parts};
use regimen_core::{BoxError, Run, State};
use regimen_test::{Act, BadData, BadState, Call, Fault, Recorder, RecordingUnit, Transcript};

/// Trains twice over three batches with `act` at the second step end. Compares the end of each
/// call: the cause of the error and whether it was a panic, or the report's end.
#[track_caller]
fn check(act: Act, expected: [&str; 2], failure: Option<bool>) {
    let transcript = Transcript::new();
    let mut unit = RecordingUnit::new(&transcript);
    let mut run = Run::new(&mut unit).callback(Recorder::new(&transcript).at(Event::TrainStepEnd, 2, act));
    for expected in expected {
        let found = match run.train(&[1, 2, 3], Train::epochs(1)) {
            Ok(report) => report.ended.to_string(),
            Err(error) => {
                assert_eq!(*error.kind(), ErrorKind::Callback("cb".to_owned(), Event::TrainStepEnd));
                assert_eq!(Some(error.is_panic()), failure);
                error.into_cause().to_string()
            }
        };
        assert_eq!(found, expected);
    }
}

#[test]
fn each_act_happens_once() {
    check(Act::Fail, ["told to fail", "complete"], Some(false));
    check(Act::Panic, ["told to panic", "complete"], Some(true));
    check(Act::Stop, ["paused: told to stop", "complete"], None);
    check(Act::Finish, ["finished: told to finish", "finished: told to finish"], None);
    check(Act::Notify, ["complete", "complete"], None);
}

#[test]
fn a_recorder_writes_what_it_is_told_to_show() -> Result<(), BoxError> {
    let transcript = Transcript::new();
    let mut unit = RecordingUnit::new(&transcript).named("u");
    let events = Events::of(&[Event::EvalStepEnd, Event::Notice]);
    let recorder = Recorder::new(&transcript).named("c").events(events);
    let recorder = recorder.showing(|state: &State| state.eval_progress().steps.to_string());
    let data = BadData::new([10, 20]).notify_at(2);
    Run::new(&mut unit).callback(recorder).evaluate(&data, Evaluate::whole())?;
    transcript.assert_reads(
        "u.eval_start u.eval_epoch_start u.eval_step(10) c.eval_step_end(1)
         u.eval_step(20) c.eval_step_end(2) c.notice(2) u.eval_epoch_end u.eval_end",
    );
    Ok(())
}

#[test]
fn a_unit_predicts_its_batches_and_saves_its_steps() -> Result<(), BoxError> {
    let transcript = Transcript::new();
    let mut unit = RecordingUnit::new(&transcript);
    let mut outputs = Vec::new();
    predict(&mut unit, &[7, 8], Predict::whole(), |output| {
        outputs.push(output);
        Ok(())
    })?;
    assert_eq!(outputs, [7, 8]);
    transcript.assert_reads(
        "unit.predict_start unit.predict_epoch_start unit.predict_step(7) unit.predict_step(8)
         unit.predict_epoch_end unit.predict_end",
    );
    assert_eq!(save_parts(&mut unit)?["steps"].get::<u64>("value")?, 2);
    Ok(())
}

#[test]
fn a_failure_is_written_by_its_kind() {
    let transcript = Transcript::new();
    let mut unit = RecordingUnit::new(&transcript).at(Call::TrainStep, 2, Act::Panic);
    let recorder = Recorder::new(&transcript).events(Events::NONE);
    let result = Run::new(&mut unit).callback(recorder).train(&[1, 2], Train::epochs(1));
    assert!(result.is_err());
    transcript.assert_reads(
        "unit.train_start unit.train_epoch_start unit.train_step(1) unit.train_step(2) cb.error(Panic)",
    );
}

#[test]
fn a_transcript_that_differs_says_from_where() {
    let transcript = Transcript::new();
    ["a", "b", "c"].into_iter().for_each(|word| transcript.write(word));
    let panic = catch_unwind(AssertUnwindSafe(|| transcript.assert_reads("a x c"))).unwrap_err();
    let text = panic.downcast_ref::<String>().map_or("", String::as_str);
    assert_eq!(text, "the transcript differs after 1 words\nafter: a\nfound: b c\nexpected: x c");
    assert_eq!(transcript.take(), "");
}

/// Trains on `data`, which fails; then again, after which all three batches must have been seen.
#[track_caller]
fn check_bad(data: BadData<[i32; 3]>, is_panic: bool, step: u64) {
    let transcript = Transcript::new();
    let mut unit = RecordingUnit::new(&transcript);
    let mut run = Run::new(&mut unit);
    let error = run.train(&data, Train::epochs(1)).unwrap_err();
    assert_eq!((error.kind(), error.is_panic(), error.place().step), (&ErrorKind::Data, is_panic, step));
    assert_eq!(run.train(&data, Train::epochs(1)).unwrap().ended, Ended::Complete);
    for step in ["train_step(1)", "train_step(2)", "train_step(3)"] {
        assert_eq!(transcript.to_string().matches(step).count(), 1, "{transcript}");
    }
}

#[test]
fn bad_data_goes_wrong_once_and_loses_no_batch() {
    check_bad(BadData::new([1, 2, 3]).fail_at(2), false, 1);
    check_bad(BadData::new([1, 2, 3]).panic_at(3), true, 2);
    check_bad(BadData::new([1, 2, 3]).fail_epoch_at(1), false, 0);
}

#[test]
fn data_that_lies_about_its_length_is_an_error() {
    for claim in [2, 4] {
        let data = BadData::new([1, 2, 3]).claim(Some(claim));
        let mut unit = RecordingUnit::new(&Transcript::new());
        let error = Run::new(&mut unit).train(&data, Train::epochs(1)).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Data, "{error:#}");
    }
}

#[test]
fn bad_state_fails_where_it_should() {
    struct Parted(BadState);
    impl AppState for Parted {
        fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
            parts.part("bad", &mut self.0)
        }
    }
    let saved = save_parts(&mut Parted(BadState { value: 3, fault: None })).unwrap();
    assert!(save_parts(&mut Parted(BadState::new(0, Fault::Save))).is_err());
    for fault in [Fault::Check, Fault::Load] {
        let mut parted = Parted(BadState::new(0, fault));
        assert!(load_parts(&mut parted, &saved).is_err());
        assert_eq!(parted.0.value, 0);
    }
    let mut good = Parted(BadState { value: 0, fault: None });
    assert!(load_parts(&mut good, &saved).is_ok());
    assert_eq!(good.0.value, 3);
}
