//! Errors and panics at every place, and the state of the run after one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::error::Error as _;

use regimen_core::callback::{Event, Events, Every};
use regimen_core::data::{each_epoch, one_epoch};
use regimen_core::error::{ErrorKind, NotFinite, Place};
use regimen_core::metric::Key;
use regimen_core::run::{Evaluate, Train};
use regimen_core::state::Phase;
use regimen_core::unit::TrainUnit;
use regimen_core::{BoxError, Error, Fit, Run, State};
use regimen_test::{Act, BadData, Call, Recorder, RecordingUnit, Transcript};

type Unit = RecordingUnit<u32>;

const CALLS: [(Call, &str); 10] = [
    (Call::TrainStart, "on_train_start"),
    (Call::TrainEpochStart, "on_train_epoch_start"),
    (Call::TrainStep, "train_step"),
    (Call::TrainEpochEnd, "on_train_epoch_end"),
    (Call::TrainEnd, "on_train_end"),
    (Call::EvalStart, "on_eval_start"),
    (Call::EvalEpochStart, "on_eval_epoch_start"),
    (Call::EvalStep, "eval_step"),
    (Call::EvalEpochEnd, "on_eval_epoch_end"),
    (Call::EvalEnd, "on_eval_end"),
];

/// Fits `unit` with two callbacks, the first of which is `recorder`, and returns the error.
fn failing_fit(unit: &mut Unit, recorder: Recorder, transcript: &Transcript) -> Error {
    let after = Recorder::new(transcript).named("after");
    Run::new(unit).callback(recorder).callback(after).fit(&[1], &[8], Fit::epochs(1)).unwrap_err()
}

#[test]
fn a_unit_that_fails_or_panics_in_any_method_is_named_with_its_place() {
    for (call, method) in CALLS {
        for act in [Act::Fail, Act::Panic] {
            let transcript = Transcript::new();
            let mut unit = Unit::new(&transcript).at(call, 1, act);
            let error = failing_fit(&mut unit, Recorder::new(&transcript), &transcript);
            let (word, verb, cause) = match act {
                Act::Panic => ("Panic", "panicked", "told to panic"),
                _ => ("Unit", "failed", "told to fail"),
            };
            assert_eq!((error.kind(), error.is_panic()), (&ErrorKind::Unit(method), act == Act::Panic));
            // Counts are those of the phase: the epoch at its end is counted, and nothing is before it.
            let (phase, done) = match call {
                Call::TrainStart | Call::TrainEpochStart | Call::TrainStep => ("train", (0, 0)),
                Call::TrainEpochEnd | Call::TrainEnd => ("train", (1, 1)),
                Call::EvalStart | Call::EvalEpochStart | Call::EvalStep => ("eval", (0, 0)),
                _ => ("eval", (1, 1)),
            };
            let line = format!("unit {verb} in {method} in {phase} at epoch {} step {}", done.0, done.1);
            assert_eq!(error.to_string(), line);
            assert_eq!(error.source().unwrap().to_string(), cause);
            assert_eq!(format!("{error:#}"), format!("{line}: {cause}"));
            // No method and no event comes after the failure except `on_error`, sent to all, and the
            // end of an epoch, which is counted.
            let words = transcript.take();
            let end = match call {
                Call::TrainEpochEnd | Call::EvalEpochEnd => {
                    format!("cb.{0} after.{0} ", call.name())
                }
                _ => String::new(),
            };
            let told = format!("{end}cb.error({word}) after.error({word})");
            let rest = words.rsplit_once(&format!("unit.{}", call.name())).unwrap().1;
            let rest = rest.trim_start_matches("(1)").trim_start_matches("(8)").trim();
            assert_eq!(rest, told, "after {call:?}");
        }
    }
}

#[test]
fn a_callback_that_fails_or_panics_is_named_and_later_ones_see_the_event_only_if_it_is_counted() {
    for &event in Event::ALL.iter().filter(|event| event.phase() != Some(Phase::Predict)) {
        for (act, word) in [(Act::Fail, "Callback"), (Act::Panic, "Panic")] {
            let transcript = Transcript::new();
            let mut unit = Unit::new(&transcript).at(Call::TrainStep, 1, Act::Notify);
            let recorder = Recorder::new(&transcript).at(event, 1, act);
            let error = failing_fit(&mut unit, recorder, &transcript);
            assert_eq!(*error.kind(), ErrorKind::Callback("cb".to_owned(), event));
            assert_eq!(error.is_panic(), act == Act::Panic);
            let (verb, cause) =
                if act == Act::Panic { ("panicked", "told to panic") } else { ("failed", "told to fail") };
            let Place { phase, epoch, step } = error.place();
            let place = format!("in {} at epoch {epoch} step {step}", phase.unwrap());
            assert_eq!(format!("{error:#}"), format!("callback cb {verb} at {event} {place}: {cause}"));
            let sent = format!("cb.{}", event.name().replace(' ', "_"));
            let words = transcript.take();
            let rest = words.rsplit_once(&sent).unwrap().1;
            // Notices of that boundary are still sent.
            let notice = if event == Event::TrainStepEnd { "cb.notice after.notice " } else { "" };
            let counted = ["step end", "epoch end"].iter().any(|end| event.name().ends_with(end));
            let end = format!("after.{} ", event.name().replace(' ', "_"));
            let end = if counted { &*end } else { "" };
            let expected = format!("{end}{notice}cb.error({word}) after.error({word})");
            assert_eq!(rest.trim(), expected, "at {event}");
        }
    }
}

#[test]
fn after_an_error_the_same_run_goes_on_with_the_same_batch() {
    for (event, steps) in [(Event::TrainFetchEnd, 1), (Event::TrainStepStart, 1), (Event::TrainStepEnd, 2)] {
        let transcript = Transcript::new();
        let mut unit = Unit::new(&transcript);
        let recorder = Recorder::new(&Transcript::new()).at(event, 2, Act::Fail);
        let mut run = Run::new(&mut unit).callback(recorder);
        let error = run.train(&[1, 2, 3], Train::epochs(1)).unwrap_err();
        assert_eq!(error.place().step, steps, "{error}");
        assert_eq!(run.state().train_progress().steps, steps);
        run.train(&[1, 2, 3], Train::epochs(1)).unwrap();
        let words = transcript.take();
        let steps: Vec<&str> = words.split(' ').filter(|word| word.contains("step(")).collect();
        assert_eq!(steps, ["unit.train_step(1)", "unit.train_step(2)", "unit.train_step(3)"], "at {event}");
    }
}

#[test]
fn a_panic_in_on_error_is_kept_beside_the_error_and_the_others_are_told() {
    struct Panics;
    impl<U> regimen_core::Callback<U> for Panics {
        fn on_error(&mut self, _: &regimen_core::State, _: &mut U, _: &Error) {
            panic!("even here");
        }
    }
    let transcript = Transcript::new();
    let mut unit = Unit::new(&transcript).at(Call::TrainStep, 1, Act::Fail);
    let mut run = Run::new(&mut unit).callback(Panics).callback(Recorder::new(&transcript));
    let error = run.train(&[1], Train::epochs(1)).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Unit("train_step"));
    let suppressed = error.suppressed();
    assert_eq!(suppressed.len(), 1);
    assert_eq!(*suppressed[0].kind(), ErrorKind::OnError("Panics".to_owned()));
    assert!(suppressed[0].is_panic());
    // The output of a `main` that returns it.
    assert_eq!(
        format!("{error:?}"),
        "unit failed in train_step in train at epoch 0 step 0: told to fail\n\
         while that was handled: callback Panics panicked in on_error in train at epoch 0 step 0: even here"
    );
    assert!(transcript.take().ends_with("cb.error(Unit)"));
}

#[test]
fn a_sink_that_fails_is_named() {
    let mut unit = Unit::new(&Transcript::new());
    let mut run = Run::new(&mut unit);
    let error = run.predict(&[1], Evaluate::whole(), |_| Err("no room".into())).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Sink);
    assert_eq!(format!("{error:#}"), "sink failed in predict at epoch 0 step 0: no room");
}

/// Trains two epochs on `data` and returns the error, after a check of its place.
fn failing_data(data: &impl regimen_core::data::Data<Batch = u32>) -> Error {
    let error = Run::new(&mut Unit::new(&Transcript::new())).train(data, Train::epochs(2)).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Data, "{error:#}");
    error
}

#[test]
fn data_that_fails_panics_or_lies_is_an_error_with_its_place() {
    let known = || BadData::new([1, 2, 3]);
    let unknown = || BadData::new(each_epoch(|_| 1..=3)).claim(None);
    let table = [
        (failing_data(&known().fail_at(2)), "data failed in train at epoch 0 step 1: told to fail"),
        (failing_data(&known().fail_epoch_at(2)), "data failed in train at epoch 1 step 3: told to fail"),
        (
            failing_data(&known().claim(Some(2))),
            "data failed in train at epoch 0 step 2: it announced 2 batches per epoch and gave more",
        ),
        (
            failing_data(&known().claim(Some(5))),
            "data failed in train at epoch 0 step 3: it announced 5 batches per epoch and gave 3",
        ),
        // Read ahead, the error waits until its batch is due.
        (failing_data(&unknown().fail_at(2)), "data failed in train at epoch 0 step 1: told to fail"),
        (
            failing_data(&one_epoch(1..=3)),
            "data failed in train at epoch 1 step 3: an iterator given with `one_epoch` cannot be started again; \
             use `each_epoch`",
        ),
    ];
    for (error, expected) in table {
        assert!(!error.is_panic());
        assert_eq!(format!("{error:#}"), expected);
    }
    for data in [known().panic_at(2), known().claim(None).panic_at(2)] {
        let error = failing_data(&data);
        assert!(error.is_panic());
        assert_eq!(format!("{error:#}"), "data panicked in train at epoch 0 step 1: told to panic");
    }
}

#[test]
fn data_without_a_batch_is_an_error_that_says_which_unless_it_is_allowed() {
    let empty = [0_u32; 0];
    let mut unit = Unit::new(&Transcript::new());
    let mut run = Run::new(&mut unit);
    let error = run.train(&empty, Train::steps(3)).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "data failed in train at epoch 0 step 0: the train data gave no batch; fill it, or say `allow_empty()`"
    );
    let error = run.fit(&[1], &empty, Fit::epochs(1)).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "data failed in eval at epoch 0 step 0: the eval data gave no batch; fill it, or say `allow_empty()`"
    );
    let error = run.predict(&empty, Evaluate::whole(), |_| Ok(())).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "data failed in predict at epoch 0 step 0: the predict data gave no batch; fill it, or say `allow_empty()`"
    );
    assert_eq!(run.evaluate(&empty, Evaluate::whole().allow_empty()).unwrap().eval.epochs, 1);
    assert_eq!(run.train(&empty, Train::epochs(2).allow_empty()).unwrap().train.epochs, 2);
}

#[test]
fn a_cadence_of_zero_is_kept_by_the_builder_and_returned_by_every_call() {
    let mut unit = Unit::new(&Transcript::new());
    let mut run = Run::new(&mut unit).on(Event::TrainStepEnd.every(Every::steps(0)), |_, _| {});
    for _ in 0..2 {
        let error = run.train(&[1], Train::epochs(1)).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Config);
        assert_eq!(format!("{error:#}"), "`on` train step end: a cadence of 0 is never due; give 1 or more");
    }
    drop(run);
    let error = Run::new(&mut unit).fit(&[1], &[8], Fit::epochs(1).eval_every(Every::steps(0))).unwrap_err();
    assert_eq!(format!("{error:#}"), "`Fit::eval_every`: a cadence of 0 is never due; give 1 or more");
}

/// Logs an invalid value and fails, in one of its methods.
struct Mistaken(Call);

impl Mistaken {
    fn make(&self, here: Call, state: &mut State) -> Result<(), BoxError> {
        if self.0 != here {
            return Ok(());
        }
        state.log(Key::mean("m"), 0.0, f64::NAN);
        Err("its own mistake".into())
    }
}

impl TrainUnit for Mistaken {
    type Batch = f64;

    fn train_step(&mut self, state: &mut State, _: f64) -> Result<(), BoxError> {
        state.commit_step();
        self.make(Call::TrainStep, state)
    }

    fn on_train_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        state.notify("a start");
        self.make(Call::TrainStart, state)
    }

    fn on_train_epoch_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.make(Call::TrainEpochEnd, state)
    }
}

#[test]
fn what_a_unit_that_fails_has_logged_wrongly_is_no_fault_of_the_callbacks_that_are_still_told() {
    for (call, told) in [
        (Call::TrainStart, "notice"),
        (Call::TrainStep, "notice train_step_end"),
        (Call::TrainEpochEnd, "notice train_step_end train_epoch_end"),
    ] {
        let events = Events::of(&[Event::Notice, Event::TrainStepEnd, Event::TrainEpochEnd]);
        let (first, second) = (Transcript::new(), Transcript::new());
        let mut unit = Mistaken(call);
        let mut run = Run::new(&mut unit)
            .callback(Recorder::new(&first).named("").events(events))
            .callback(Recorder::new(&second).named("").events(events));
        let error = run.train(&[1.0], Train::epochs(1)).unwrap_err();
        assert!(error.suppressed().is_empty(), "{:?}", error.suppressed());
        let expected = told.split(' ').map(|word| format!(".{word} ")).collect::<String>();
        let expected = format!("{expected} .error(Unit)");
        first.assert_reads(&expected);
        second.assert_reads(&expected);
    }
}

#[test]
fn an_error_of_memory_is_known_by_any_of_its_causes() {
    let out = || std::io::Error::from(std::io::ErrorKind::OutOfMemory);
    let check = |cause: BoxError, expected: bool| {
        let error = Error::new(ErrorKind::Data, Place { phase: None, epoch: 0, step: 0 }, cause);
        assert_eq!(error.is_out_of_memory(), expected, "{error:#}");
    };
    check("CUDA out of memory. Tried to allocate 2.00 GiB".into(), true);
    check(Box::new(out()), true);
    check(Box::new(Error::config(Box::new(out()) as BoxError)), true);
    check(Box::new(std::io::Error::other(out())), true);
    check("no such file".into(), false);
    // A failure meanwhile is no cause.
    let mut error = Error::config("no such file");
    error.suppress(Error::config("out of memory"));
    assert!(!error.is_out_of_memory());
}

#[test]
fn a_number_that_is_not_finite_has_the_step_that_made_it() {
    let check = |kind: ErrorKind, cause: BoxError, is_not_finite: bool, step: Option<u64>| {
        let error = Error::new(kind, Place { phase: Some(Phase::Train), epoch: 1, step: 9 }, cause);
        assert_eq!((error.is_not_finite(), error.not_finite_step()), (is_not_finite, step), "{error:#}");
    };
    let step = || ErrorKind::Unit("train_step");
    check(step(), NotFinite::new("NaN").into(), true, Some(9));
    check(step(), NotFinite::new("NaN").of_step(4).into(), true, Some(4));
    let inner = Error::new(ErrorKind::Data, Place { phase: None, epoch: 0, step: 0 }, NotFinite::new("NaN"));
    check(step(), inner.into(), true, Some(9));
    check(ErrorKind::Unit("on_train_epoch_end"), NotFinite::new("NaN").of_step(4).into(), true, Some(4));
    check(ErrorKind::Unit("on_train_epoch_end"), NotFinite::new("NaN").into(), true, Some(8));
    check(ErrorKind::Unit("on_train_end"), NotFinite::new("NaN").into(), true, Some(8));
    check(ErrorKind::Unit("eval_step"), NotFinite::new("NaN").into(), true, None);
    check(ErrorKind::State, NotFinite::new("NaN").into(), true, None);
    check(step(), "NaN".into(), false, None);
}
