//! Pauses and final stops, at every place from which one can come.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use regimen_core::callback::{Event, Events, Every};
use regimen_core::run::{Ended, Evaluate, Train};
use regimen_core::state::{PauseHandle, Progress, Stop};
use regimen_core::{Fit, Run};
use regimen_test::{Act, Call, Recorder, RecordingUnit, Transcript};

type Unit = RecordingUnit<u32>;

const TRAIN: [u32; 2] = [1, 2];
const EVAL: [u32; 2] = [8, 9];

fn fit() -> Fit {
    Fit::epochs(2).eval_every(Every::steps(3).or(Every::epochs(1)))
}

/// The calls of the unit in an uninterrupted `fit`, without the words that begin and end every call:
/// those come once more for each call.
fn uninterrupted() -> String {
    let transcript = Transcript::new();
    Run::new(&mut Unit::new(&transcript)).fit(&TRAIN, &EVAL, fit()).unwrap();
    without_brackets(&transcript.take())
}

fn without_brackets(words: &str) -> String {
    const BRACKETS: [&str; 4] = ["unit.train_start", "unit.train_end", "unit.eval_start", "unit.eval_end"];
    words.split(' ').filter(|word| !BRACKETS.contains(word)).collect::<Vec<_>>().join(" ")
}

/// Fits with `stop` requested at the `n`-th `event`, continues until the limit, and compares the whole
/// with an uninterrupted run. Returns the number of pauses.
fn check_resumed(event: Event, n: u64) -> u64 {
    let transcript = Transcript::new();
    let mut unit = Unit::new(&transcript);
    let recorder = Recorder::new(&Transcript::new()).at(event, n, Act::Stop);
    let mut run = Run::new(&mut unit).callback(recorder);
    let mut pauses = 0;
    loop {
        match run.fit(&TRAIN, &EVAL, fit()).unwrap().ended {
            Ended::Paused(reason) => assert_eq!(reason, "told to stop"),
            ended => {
                assert_eq!(ended, Ended::Complete);
                break;
            }
        }
        pauses += 1;
        assert!(pauses < 2, "a stop at {event} {n} paused the run twice");
    }
    assert_eq!(without_brackets(&transcript.take()), uninterrupted(), "stopped at {event} {n}");
    pauses
}

#[test]
fn a_fit_paused_at_any_event_goes_on_as_if_it_had_not_been() {
    let mut pauses = 0;
    for &event in Event::ALL {
        for n in 1..=8 {
            pauses += check_resumed(event, n);
        }
    }
    // 4 training steps in 2 epochs with 3 evaluations of 2 steps: most stops do pause.
    assert!(pauses > 60, "only {pauses} stops paused the run");
}

#[test]
fn the_state_loaded_into_a_new_run_goes_on_as_the_old_one_would() {
    for n in 1..=4 {
        for event in [Event::TrainStepEnd, Event::EvalStepEnd, Event::TrainEpochEnd] {
            let transcript = Transcript::new();
            let mut unit = Unit::new(&transcript);
            let recorder = Recorder::new(&Transcript::new()).at(event, n, Act::Stop);
            let mut run = Run::new(&mut unit).callback(recorder);
            run.fit(&TRAIN, &EVAL, fit()).unwrap();
            let saved = run.run_state().unwrap();
            drop(run);
            let mut run = Run::new(&mut unit);
            run.load_run_state(&saved).unwrap();
            run.fit(&TRAIN, &EVAL, fit()).unwrap();
            assert_eq!(without_brackets(&transcript.take()), uninterrupted(), "saved at {event} {n}");
        }
    }
}

#[test]
fn a_stop_lets_the_step_under_way_finish_and_leaves_the_epoch_open() {
    let transcript = Transcript::new();
    let mut unit = Unit::new(&transcript).at(Call::TrainStep, 2, Act::Stop);
    let mut run = Run::new(&mut unit).callback(Recorder::new(&transcript));
    let report = run.train(&[1, 2, 3], Train::epochs(1)).unwrap();
    assert_eq!(report.ended, Ended::Paused("told to stop".into()));
    assert_eq!((report.train.epochs, report.train.steps_in_epoch), (0, 2));
    transcript.assert_reads(
        "unit.train_start cb.train_start
         unit.train_epoch_start cb.train_epoch_start
         cb.train_fetch_start cb.train_fetch_end cb.train_step_start unit.train_step(1) cb.train_step_end
         cb.train_fetch_start cb.train_fetch_end cb.train_step_start unit.train_step(2) cb.train_step_end
         unit.train_end cb.train_end",
    );
    run.train(&[1, 2, 3], Train::epochs(1)).unwrap();
    transcript.assert_reads(
        "unit.train_start cb.train_start
         cb.train_fetch_start cb.train_fetch_end cb.train_step_start unit.train_step(3) cb.train_step_end
         unit.train_epoch_end cb.train_epoch_end
         unit.train_end cb.train_end",
    );
}

#[test]
fn a_stop_inside_an_evaluation_of_fit_leaves_it_half_done() {
    let transcript = Transcript::new();
    let mut unit = Unit::new(&transcript).named("").at(Call::EvalStep, 1, Act::Stop);
    let mut run = Run::new(&mut unit);
    run.fit(&[1], &EVAL, Fit::epochs(1)).unwrap();
    transcript.assert_reads(
        ".train_start .train_epoch_start .train_step(1) .train_epoch_end
         .eval_start .eval_epoch_start .eval_step(8) .eval_end
         .train_end",
    );
    assert!(run.state().eval_is_due());
    run.fit(&[1], &EVAL, Fit::epochs(1)).unwrap();
    transcript.assert_reads(".train_start .eval_start .eval_step(9) .eval_epoch_end .eval_end .train_end");
    assert!(!run.state().eval_is_due());
}

#[test]
fn no_evaluation_is_entered_once_a_stop_was_asked_for() {
    let transcript = Transcript::new();
    let mut unit = Unit::new(&transcript).named("").at(Call::TrainEpochEnd, 1, Act::Finish);
    let report = Run::new(&mut unit).fit(&[1], &EVAL, Fit::epochs(5)).unwrap();
    assert_eq!(report.ended, Ended::Finished("told to finish".into()));
    assert_eq!(report.eval.steps, 0);
    transcript.assert_reads(".train_start .train_epoch_start .train_step(1) .train_epoch_end .train_end");
}

#[test]
fn a_final_stop_ends_every_later_call_until_told_to_go_on() {
    let transcript = Transcript::new();
    let mut unit = Unit::new(&transcript).named("").at(Call::TrainStep, 1, Act::Finish);
    let mut run = Run::new(&mut unit);
    for _ in 0..2 {
        let report = run.train(&TRAIN, Train::epochs(1)).unwrap();
        assert_eq!(report.ended, Ended::Finished("told to finish".into()));
        assert_eq!(report.train.steps, 1);
    }
    // It is part of the saved state.
    let saved = run.run_state().unwrap();
    let mut other = Unit::new(&transcript);
    let mut restarted = Run::new(&mut other);
    restarted.load_run_state(&saved).unwrap();
    let report = restarted.train(&TRAIN, Train::epochs(1)).unwrap();
    assert_eq!((report.ended, report.train.steps), (Ended::Finished("told to finish".into()), 1));
    // Evaluation and prediction are still possible.
    let report = restarted.evaluate(&EVAL, Evaluate::whole()).unwrap();
    assert_eq!((report.ended, report.eval.steps), (Ended::Complete, 2));
    assert!(restarted.state().stopping().is_some_and(Stop::is_final));
    restarted.go_on();
    assert_eq!(restarted.train(&TRAIN, Train::epochs(1)).unwrap().ended, Ended::Complete);
}

#[test]
fn the_first_reason_wins_but_a_final_stop_replaces_a_pause() {
    let mut unit = Unit::new(&Transcript::new());
    let mut run = Run::new(&mut unit).on(Event::TrainStepEnd, |state, _| {
        state.pause("first");
        state.pause("second");
        if state.train_progress().steps == 2 {
            state.finish("third");
            state.pause("fourth");
            state.finish("fifth");
        }
    });
    assert_eq!(run.train(&TRAIN, Train::epochs(1)).unwrap().ended, Ended::Paused("first".into()));
    assert_eq!(run.train(&TRAIN, Train::epochs(1)).unwrap().ended, Ended::Finished("third".into()));
}

#[test]
fn another_thread_pauses_the_run_at_the_end_of_its_step() {
    let transcript = Transcript::new();
    let mut unit = Unit::new(&transcript);
    let (asked, answered) = std::sync::mpsc::sync_channel::<PauseHandle>(0);
    let stopper = std::thread::spawn(move || {
        let handle = answered.recv().unwrap();
        handle.pause("from outside");
        handle.pause("too late");
    });
    let handle = std::sync::OnceLock::new();
    let mut run = Run::new(&mut unit).on(Event::TrainStepStart, |state, _| {
        // The step waits for the request of the other thread, so this does not depend on timing.
        let handle: &PauseHandle = handle.get_or_init(|| state.pause_handle());
        let _ = asked.send(handle.clone());
        while !handle.is_asked() {
            std::thread::yield_now();
        }
    });
    let report = run.train(&[1, 2, 3], Train::epochs(1)).unwrap();
    stopper.join().unwrap();
    assert_eq!((report.ended, report.train.steps), (Ended::Paused("from outside".into()), 1));
}

#[test]
fn a_handle_asked_between_calls_pauses_the_next_before_its_first_step_and_only_that() {
    let mut unit = Unit::new(&Transcript::new());
    let mut run = Run::new(&mut unit);
    run.pause_handle().pause("not now");
    let report = run.evaluate(&EVAL, Evaluate::whole()).unwrap();
    assert_eq!((report.ended, report.eval.steps), (Ended::Paused("not now".into()), 0));
    let report = run.evaluate(&EVAL, Evaluate::whole()).unwrap();
    assert_eq!((report.ended, report.eval.steps), (Ended::Complete, 2));
}

#[test]
fn a_paused_prediction_does_not_predict_a_batch_twice() {
    let transcript = Transcript::new();
    let mut unit = Unit::new(&transcript).at(Call::PredictStep, 2, Act::Stop);
    let mut run = Run::new(&mut unit);
    let mut outputs = Vec::new();
    while run
        .predict(&[1, 2, 3], Evaluate::whole().resume("test"), |output| {
            outputs.push(output);
            Ok(())
        })
        .unwrap()
        .ended
        != Ended::Complete
    {}
    assert_eq!(outputs, [1, 2, 3]);
}

/// The progress of a fit whose unit ends it for good in its second evaluation, at the last step of an
/// epoch, with `act` at the `n`-th `event`. It is called until it is over.
fn finished(event: Event, n: u64, act: Act) -> (Progress, Progress) {
    let mut unit = Unit::new(&Transcript::new()).at(Call::EvalEpochEnd, 2, Act::Finish);
    let recorder = Recorder::new(&Transcript::new()).at(event, n, act);
    let mut run = Run::new(&mut unit).callback(recorder);
    for _ in 0..4 {
        let report = run.fit(&TRAIN, &EVAL, Fit::epochs(5).eval_every(Every::steps(2)));
        if report.is_ok_and(|report| report.ended == Ended::Finished("told to finish".into())) {
            return (run.state().train_progress(), run.state().eval_progress());
        }
    }
    panic!("with {act:?} at {event} {n} it never ends");
}

#[test]
fn a_final_stop_at_the_end_of_an_epoch_counts_it_whatever_comes_between() {
    let expected = finished(Event::PredictStart, 1, Act::Stop);
    assert_eq!((expected.0.epochs, expected.0.steps_in_epoch, expected.1.epochs), (2, 0, 2));
    for &event in Event::ALL {
        for n in 1..=6 {
            for act in [Act::Stop, Act::Fail, Act::Panic] {
                assert_eq!(finished(event, n, act), expected, "{act:?} at {event} {n}");
            }
        }
    }
}

#[test]
fn a_stop_in_the_last_hook_of_a_call_changes_nothing() {
    for act in [Act::Stop, Act::Finish] {
        for unit in [Unit::new(&Transcript::new()).at(Call::TrainEnd, 1, act), Unit::new(&Transcript::new())]
        {
            let mut unit = unit.at(Call::EvalEnd, 1, act);
            let late = [Event::TrainEnd, Event::EvalEnd];
            let recorder = late
                .into_iter()
                .fold(Recorder::new(&Transcript::new()), |recorder, event| recorder.at(event, 1, act));
            let mut run = Run::new(&mut unit).callback(recorder);
            assert_eq!(run.train(&TRAIN, Train::epochs(1)).unwrap().ended, Ended::Complete);
            assert_eq!(run.evaluate(&EVAL, Evaluate::whole()).unwrap().ended, Ended::Complete);
            assert_eq!(run.train(&TRAIN, Train::epochs(2)).unwrap().ended, Ended::Complete);
        }
    }
}

#[test]
fn a_finish_in_the_last_hook_of_a_call_changes_nothing_where_another_one_fails() {
    for (call, event) in [(Call::TrainEnd, Event::TrainEnd), (Call::EvalEnd, Event::EvalEnd)] {
        let unit = || Unit::new(&Transcript::new());
        let recorder = || Recorder::new(&Transcript::new());
        let cases = [
            (unit().at(call, 1, Act::Finish), recorder().at(event, 1, Act::Fail)),
            (unit().at(call, 1, Act::Finish).at(call, 1, Act::Fail), recorder()),
            (unit(), recorder().at(event, 1, Act::Finish).at(event, 1, Act::Fail)),
        ];
        for (mut unit, recorder) in cases {
            let mut run = Run::new(&mut unit).callback(recorder);
            match call {
                Call::TrainEnd => run.train(&TRAIN, Train::epochs(1)).unwrap_err(),
                _ => run.evaluate(&EVAL, Evaluate::whole()).unwrap_err(),
            };
            let report = run.train(&TRAIN, Train::epochs(2)).unwrap();
            assert_eq!((report.ended, report.train.epochs), (Ended::Complete, 2), "at {event}");
        }
    }
}

#[test]
fn cycles_begin_and_end_in_turns_where_train_comes_between_two_fits() {
    for steps in 1..=4 {
        let transcript = Transcript::new();
        let events = Events::of(&[Event::CycleStart, Event::CycleEnd, Event::TrainEpochEnd]);
        let mut unit = Unit::new(&Transcript::new());
        let recorder = Recorder::new(&transcript).named("").events(events);
        let mut run = Run::new(&mut unit).callback(recorder);
        run.fit(&TRAIN, &EVAL, Fit::steps(1)).unwrap();
        run.train(&TRAIN, Train::steps(steps)).unwrap();
        run.fit(&TRAIN, &EVAL, Fit::epochs(3)).unwrap();
        let second = match steps {
            // An epoch that `train` made as a whole is in no cycle.
            4 => "",
            _ => ".cycle_start",
        };
        let end = if second.is_empty() { "" } else { ".cycle_end" };
        transcript.assert_reads(&format!(
            ".cycle_start .train_epoch_end .cycle_end {second} .train_epoch_end {end}
             .cycle_start .train_epoch_end .cycle_end"
        ));
    }
}
