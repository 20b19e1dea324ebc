//! Errors and panics at every place, and what is left of the run after one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::error::Error as _;

use regimen_core::{
    BoxError, Error, Evaluate, Event, Events, Every, Fit, Key, Kind, Phase, Run, State, Train, TrainUnit,
    from_fn, once,
};
use regimen_test::{Act, BadData, Call, Recorder, RecordingUnit, Transcript};

type Unit = RecordingUnit<u32>;

const CALLS: [Call; 10] = [
    Call::TrainStart,
    Call::TrainEpochStart,
    Call::TrainStep,
    Call::TrainEpochEnd,
    Call::TrainEnd,
    Call::EvalStart,
    Call::EvalEpochStart,
    Call::EvalStep,
    Call::EvalEpochEnd,
    Call::EvalEnd,
];

/// Fits `unit` with two callbacks, the first of which is `recorder`, and returns the error.
fn failing_fit(unit: &mut Unit, recorder: Recorder, transcript: &Transcript) -> Error {
    let after = Recorder::new(transcript).named("after");
    Run::new(unit).callback(recorder).callback(after).fit(&[1], &[8], Fit::epochs(1)).unwrap_err()
}

#[test]
fn a_unit_that_fails_or_panics_in_any_method_is_named_with_its_place() {
    for call in CALLS {
        for act in [Act::Fail, Act::Panic] {
            let transcript = Transcript::new();
            let mut unit = Unit::new(&transcript).at(call, 1, act);
            let error = failing_fit(&mut unit, Recorder::new(&transcript), &transcript);
            let method = match call {
                Call::TrainStep | Call::EvalStep => call.name().to_owned(),
                hook => format!("on_{}", hook.name()),
            };
            let (kind, verb, cause) = match act {
                Act::Panic => (Kind::Panic, "panicked", "told to panic"),
                _ => (Kind::Unit, "failed", "told to fail"),
            };
            assert_eq!(error.kind(), kind);
            let text = error.to_string();
            assert!(text.starts_with(&format!("unit {verb} in {method} in ")), "{text}");
            assert!(text.ends_with(cause), "{text}");
            assert_eq!(error.source().unwrap().to_string(), cause);
            // No method and no event comes after the failure but `on_error`, told to everyone, and the end
            // of an epoch, which is counted.
            let words = transcript.take();
            let end = match call {
                Call::TrainEpochEnd | Call::EvalEpochEnd => {
                    format!("cb.{0} after.{0} ", call.name())
                }
                _ => String::new(),
            };
            let told = format!("{end}cb.error({kind:?}) after.error({kind:?})");
            let rest = words.rsplit_once(&format!("unit.{}", call.name())).unwrap().1;
            let rest = rest.trim_start_matches("(1)").trim_start_matches("(8)").trim();
            assert_eq!(rest, told, "after {call:?}");
        }
    }
}

#[test]
fn a_callback_that_fails_or_panics_is_named_and_later_ones_see_the_event_only_if_it_is_counted() {
    for &event in Event::ALL.iter().filter(|event| event.phase() != Some(Phase::Predict)) {
        for (act, kind) in [(Act::Fail, Kind::Callback), (Act::Panic, Kind::Panic)] {
            let transcript = Transcript::new();
            let mut unit = Unit::new(&transcript).at(Call::TrainStep, 1, Act::Notify);
            let recorder = Recorder::new(&transcript).at(event, 1, act);
            let error = failing_fit(&mut unit, recorder, &transcript);
            assert_eq!(error.kind(), kind, "{error}");
            let verb = if act == Act::Panic { "panicked" } else { "failed" };
            let begins = format!("callback cb {verb} at {event} in ");
            assert!(error.to_string().starts_with(&begins), "{error}");
            let word = format!("cb.{}", event.name().replace(' ', "_"));
            let words = transcript.take();
            let rest = words.rsplit_once(&word).unwrap().1;
            // What was to be told at that boundary still is.
            let notice = if event == Event::TrainStepEnd { "cb.notice after.notice " } else { "" };
            let counted = ["step end", "epoch end"].iter().any(|end| event.name().ends_with(end));
            let end = format!("after.{} ", event.name().replace(' ', "_"));
            let end = if counted { &*end } else { "" };
            let expected = format!("{end}{notice}cb.error({kind:?}) after.error({kind:?})");
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
        assert_eq!(run.state().train().steps, steps);
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
    assert_eq!(error.kind(), Kind::Unit);
    let suppressed: Vec<String> = error.suppressed().iter().map(Error::to_string).collect();
    assert_eq!(suppressed, ["callback Panics panicked in on_error in train at epoch 0 step 0: even here"]);
    // What a `main` that returns it prints.
    assert_eq!(format!("{error:?}"), format!("{error}\nwhile that was handled: {}", suppressed[0]));
    assert!(transcript.take().ends_with("cb.error(Unit)"));
}

#[test]
fn a_sink_that_fails_is_named() {
    let mut unit = Unit::new(&Transcript::new());
    let mut run = Run::new(&mut unit);
    let error = run.predict(&[1], Evaluate::whole(), |_| Err("no room".into())).unwrap_err();
    assert_eq!(error.kind(), Kind::Sink);
    assert_eq!(error.to_string(), "sink failed in predict at epoch 0 step 0: no room");
}

/// Trains on `data` and returns the error's kind and text.
fn failing_data(data: &impl regimen_core::Data<Batch = u32>, config: Train) -> (Kind, String) {
    let error = Run::new(&mut Unit::new(&Transcript::new())).train(data, config).unwrap_err();
    (error.kind(), error.to_string())
}

#[test]
fn data_that_fails_panics_or_lies_is_an_error_with_its_place() {
    let epochs = Train::epochs(2);
    let known = || BadData::new([1, 2, 3]);
    let unknown = || BadData::new(from_fn(|_| 1..=3)).claim(None);
    let table = [
        (failing_data(&known().fail_at(2), epochs), "data failed in train at epoch 0 step 1: told to fail"),
        (
            failing_data(&known().fail_epoch_at(2), epochs),
            "data failed in train at epoch 1 step 3: told to fail",
        ),
        (failing_data(&known().claim(Some(2)), epochs), "it said it has 2 batches an epoch and gave more"),
        (failing_data(&known().claim(Some(5)), epochs), "it said it has 5 batches an epoch and gave 3"),
        // Read ahead, the error waits until its batch is due.
        (failing_data(&unknown().fail_at(2), epochs), "data failed in train at epoch 0 step 1: told to fail"),
        (failing_data(&once(1..=3), epochs), "cannot be started again; use `from_fn`"),
    ];
    for ((kind, text), expected) in table {
        assert_eq!(kind, Kind::Data, "{text}");
        assert!(text.ends_with(expected), "{text}\nexpected: {expected}");
    }
    for data in [known().panic_at(2), known().claim(None).panic_at(2)] {
        let (kind, text) = failing_data(&data, epochs);
        assert_eq!(kind, Kind::Panic);
        assert_eq!(text, "data panicked in train at epoch 0 step 1: told to panic");
    }
}

#[test]
fn data_without_a_batch_is_an_error_that_says_which_unless_it_is_allowed() {
    let empty = [0_u32; 0];
    let mut unit = Unit::new(&Transcript::new());
    let mut run = Run::new(&mut unit);
    let error = run.train(&empty, Train::steps(3)).unwrap_err();
    assert!(error.to_string().contains("the train data gave no batch"), "{error}");
    let error = run.fit(&[1], &empty, Fit::epochs(1)).unwrap_err();
    assert!(error.to_string().contains("the eval data gave no batch"), "{error}");
    let error = run.predict(&empty, Evaluate::whole(), |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("the predict data gave no batch"), "{error}");
    assert_eq!(run.evaluate(&empty, Evaluate::whole().allow_empty()).unwrap().eval.epochs, 1);
    assert_eq!(run.train(&empty, Train::epochs(2).allow_empty()).unwrap().train.epochs, 2);
}

#[test]
fn a_cadence_of_zero_is_kept_by_the_builder_and_returned_by_every_call() {
    let mut unit = Unit::new(&Transcript::new());
    let mut run = Run::new(&mut unit).on(Event::TrainStepEnd.every(0), |_, _| {});
    for _ in 0..2 {
        let error = run.train(&[1], Train::epochs(1)).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert_eq!(error.to_string(), "`on` train step end: a cadence of 0 is never due; give 1 or more");
    }
    drop(run);
    let error = Run::new(&mut unit).fit(&[1], &[8], Fit::epochs(1).eval_every(Every::steps(0))).unwrap_err();
    assert_eq!(error.to_string(), "`Fit::eval_every`: a cadence of 0 is never due; give 1 or more");
}

/// Logs wrongly and fails, in one of its methods.
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
