//! Every event of every entry point, in order.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use regimen_core::callback::Every;
use regimen_core::data::{Data, each_epoch};
use regimen_core::run::{Evaluate, Train};
use regimen_core::{Fit, Run};
use regimen_test::{Recorder, RecordingUnit, Transcript};

type Unit = RecordingUnit<u32>;

/// Runs `call` with a unit and a callback that record everything, and compares.
#[track_caller]
fn check(call: impl FnOnce(&mut Run<'_, Unit>), expected: &str) {
    let transcript = Transcript::new();
    let mut unit = Unit::new(&transcript);
    call(&mut Run::new(&mut unit).callback(Recorder::new(&transcript)));
    transcript.assert_reads(expected);
}

#[test]
fn train_sends_every_event_in_order() {
    check(
        |run| drop(run.train(&[1, 2], Train::epochs(1)).unwrap()),
        "unit.train_start cb.train_start
         unit.train_epoch_start cb.train_epoch_start
         cb.train_fetch_start cb.train_fetch_end
         cb.train_step_start unit.train_step(1) cb.train_step_end
         cb.train_fetch_start cb.train_fetch_end
         cb.train_step_start unit.train_step(2) cb.train_step_end
         unit.train_epoch_end cb.train_epoch_end
         unit.train_end cb.train_end",
    );
}

#[test]
fn evaluate_sends_every_event_in_order() {
    check(
        |run| drop(run.evaluate(&[1], Evaluate::whole()).unwrap()),
        "unit.eval_start cb.eval_start
         unit.eval_epoch_start cb.eval_epoch_start
         cb.eval_fetch_start cb.eval_fetch_end
         cb.eval_step_start unit.eval_step(1) cb.eval_step_end
         unit.eval_epoch_end cb.eval_epoch_end
         unit.eval_end cb.eval_end",
    );
}

#[test]
fn predict_hands_each_output_to_the_sink_before_the_step_ends() {
    let transcript = Transcript::new();
    let mut unit = Unit::new(&transcript);
    let mut run = Run::new(&mut unit).callback(Recorder::new(&transcript));
    let sink = |output| {
        transcript.write(format!("sink({output})"));
        Ok(())
    };
    run.predict(&[7], Evaluate::whole(), sink).unwrap();
    transcript.assert_reads(
        "unit.predict_start cb.predict_start
         unit.predict_epoch_start cb.predict_epoch_start
         cb.predict_fetch_start cb.predict_fetch_end
         cb.predict_step_start unit.predict_step(7) sink(7) cb.predict_step_end
         unit.predict_epoch_end cb.predict_epoch_end
         unit.predict_end cb.predict_end",
    );
}

#[test]
fn fit_evaluates_after_each_epoch_inside_its_cycle() {
    check(
        |run| drop(run.fit(&[1], &[8], Fit::epochs(2)).unwrap()),
        "unit.train_start cb.train_start
         cb.cycle_start
         unit.train_epoch_start cb.train_epoch_start
         cb.train_fetch_start cb.train_fetch_end
         cb.train_step_start unit.train_step(1) cb.train_step_end
         unit.train_epoch_end cb.train_epoch_end
         unit.eval_start cb.eval_start
         unit.eval_epoch_start cb.eval_epoch_start
         cb.eval_fetch_start cb.eval_fetch_end
         cb.eval_step_start unit.eval_step(8) cb.eval_step_end
         unit.eval_epoch_end cb.eval_epoch_end
         unit.eval_end cb.eval_end
         cb.cycle_end
         cb.cycle_start
         unit.train_epoch_start cb.train_epoch_start
         cb.train_fetch_start cb.train_fetch_end
         cb.train_step_start unit.train_step(1) cb.train_step_end
         unit.train_epoch_end cb.train_epoch_end
         unit.eval_start cb.eval_start
         unit.eval_epoch_start cb.eval_epoch_start
         cb.eval_fetch_start cb.eval_fetch_end
         cb.eval_step_start unit.eval_step(8) cb.eval_step_end
         unit.eval_epoch_end cb.eval_epoch_end
         unit.eval_end cb.eval_end
         cb.cycle_end
         unit.train_end cb.train_end",
    );
}

/// Only the calls of the unit, one word per call: enough to see order and number.
#[track_caller]
fn check_unit(call: impl FnOnce(&mut Run<'_, Unit>), expected: &str) {
    let transcript = Transcript::new();
    let mut unit = Unit::new(&transcript).named("");
    call(&mut Run::new(&mut unit));
    transcript.assert_reads(expected);
}

#[test]
fn an_evaluation_due_by_steps_comes_right_after_its_step() {
    // Totals count, not steps of an epoch: after step 2 and step 4 of epochs of three.
    check_unit(
        |run| drop(run.fit(&[1, 2, 3], &[8], Fit::epochs(2).eval_every(Every::steps(2))).unwrap()),
        ".train_start
         .train_epoch_start .train_step(1) .train_step(2)
           .eval_start .eval_epoch_start .eval_step(8) .eval_epoch_end .eval_end
         .train_step(3) .train_epoch_end
         .train_epoch_start .train_step(1)
           .eval_start .eval_epoch_start .eval_step(8) .eval_epoch_end .eval_end
         .train_step(2) .train_step(3)
           .eval_start .eval_epoch_start .eval_step(8) .eval_epoch_end .eval_end
         .train_epoch_end
         .train_end",
    );
}

#[test]
fn where_evaluations_by_steps_and_by_epochs_meet_there_is_one_at_the_end_of_the_epoch() {
    let both = Every::steps(2).or(Every::epochs(1));
    check_unit(
        |run| drop(run.fit(&[1, 2], &[8], Fit::epochs(1).eval_every(both)).unwrap()),
        ".train_start
         .train_epoch_start .train_step(1) .train_step(2)
         .train_epoch_end
           .eval_start .eval_epoch_start .eval_step(8) .eval_epoch_end .eval_end
         .train_end",
    );
}

#[test]
fn an_evaluation_every_second_epoch_leaves_the_others_out() {
    check_unit(
        |run| drop(run.fit(&[1], &[8], Fit::epochs(3).eval_every(Every::epochs(2))).unwrap()),
        ".train_start
         .train_epoch_start .train_step(1) .train_epoch_end
         .train_epoch_start .train_step(1) .train_epoch_end
           .eval_start .eval_epoch_start .eval_step(8) .eval_epoch_end .eval_end
         .train_epoch_start .train_step(1) .train_epoch_end
         .train_end",
    );
}

/// Trains twice with limits that may meet in mid-epoch, and compares progress and steps.
#[track_caller]
fn check_limits(calls: &[Train], expected: &str) {
    let transcript = Transcript::new();
    let mut unit = Unit::new(&transcript);
    let mut run = Run::new(&mut unit);
    for call in calls {
        run.train(&[1, 2, 3, 4, 5], *call).unwrap();
    }
    let progress = run.state().train_progress();
    let found = format!("{}/{}/{}", progress.epochs, progress.steps, progress.steps_in_epoch);
    assert_eq!(found, expected);
}

#[test]
fn limits_are_totals_and_only_data_or_cap_end_an_epoch() {
    check_limits(&[Train::epochs(2)], "2/10/0");
    check_limits(&[Train::steps(7)], "1/7/2");
    check_limits(&[Train::steps(5)], "1/5/0");
    check_limits(&[Train::steps(7), Train::steps(7)], "1/7/2");
    check_limits(&[Train::steps(7), Train::steps(14)], "2/14/4");
    check_limits(&[Train::steps(14)], "2/14/4");
    check_limits(&[Train::samples(3)], "0/3/3");
    check_limits(&[Train::epochs(3).steps_per_epoch(2)], "3/6/0");
    check_limits(&[Train::epochs(3).steps_per_epoch(5)], "3/15/0");
    check_limits(&[Train::epochs(9).max_steps(7).max_samples(8)], "1/7/2");
    check_limits(&[Train::epochs(1), Train::epochs(1), Train::epochs(2)], "2/10/0");
    // The cap shrinks below what an open epoch has done: it ends at once.
    check_limits(&[Train::steps(4), Train::epochs(1).steps_per_epoch(2)], "1/4/0");
}

#[test]
fn a_limit_of_zero_does_nothing_and_is_no_error() {
    for zero in [
        Train::epochs(0),
        Train::steps(0),
        Train::samples(0),
        Train::until_stopped().steps_per_epoch(0),
        Train::epochs(3).max_steps(0),
    ] {
        check_unit(|run| drop(run.train(&[1], zero).unwrap()), ".train_start .train_end");
    }
    check_unit(|run| drop(run.evaluate(&[1], Evaluate::steps(0)).unwrap()), ".eval_start .eval_end");
    check_unit(
        |run| drop(run.fit(&[1], &[8], Fit::epochs(1).eval_steps(0)).unwrap()),
        ".train_start .train_epoch_start .train_step(1) .train_epoch_end .eval_start .eval_end .train_end",
    );
}

#[test]
fn caps_end_an_epoch_as_the_data_does() {
    check_unit(
        |run| drop(run.fit(&[1, 2, 3], &[8, 9], Fit::epochs(1).steps_per_epoch(2).eval_steps(1)).unwrap()),
        ".train_start .train_epoch_start .train_step(1) .train_step(2) .train_epoch_end
         .eval_start .eval_epoch_start .eval_step(8) .eval_epoch_end .eval_end
         .train_end",
    );
}

#[test]
fn evaluations_of_fit_add_up_over_calls_and_one_by_hand_is_counted_by_itself() {
    let transcript = Transcript::new();
    let mut unit = Unit::new(&transcript);
    let mut run = Run::new(&mut unit);
    run.fit(&[1], &[1, 2], Fit::epochs(1)).unwrap();
    let report = run.evaluate(&[1, 2, 3], Evaluate::whole()).unwrap();
    assert_eq!((report.eval.epochs, report.eval.steps, report.eval.steps_in_last_epoch), (1, 3, 3));
    let report = run.fit(&[1], &[1, 2], Fit::epochs(2)).unwrap();
    assert_eq!((report.eval.epochs, report.eval.steps, report.eval.steps_in_last_epoch), (2, 4, 2));
}

/// The batches that were the last of their epoch, by the state in the step.
#[track_caller]
fn check_last(data: &impl Data<Batch = u32>, config: Train, expected: &str) {
    let transcript = Transcript::new();
    let mut unit = Unit::new(&Transcript::new());
    let shown = |state: &regimen_core::State| if state.last_in_epoch() { "last" } else { "-" }.to_owned();
    let events = regimen_core::callback::Events::of(&[regimen_core::callback::Event::TrainStepStart]);
    let recorder = Recorder::new(&transcript).named("").events(events).showing(shown);
    Run::new(&mut unit).callback(recorder).train(data, config).unwrap();
    transcript.assert_reads(
        &expected.replace('-', ".train_step_start(-)").replace("last", ".train_step_start(last)"),
    );
}

#[test]
fn the_last_batch_of_an_epoch_is_known_by_length_by_cap_and_by_reading_ahead() {
    let unknown = each_epoch(|_| 0..3_u32);
    check_last(&[0, 1, 2], Train::epochs(2), "- - last - - last");
    check_last(&unknown, Train::epochs(2), "- - last - - last");
    check_last(&[0, 1, 2], Train::epochs(2).steps_per_epoch(2), "- last - last");
    check_last(&unknown, Train::epochs(2).steps_per_epoch(2), "- last - last");
    check_last(&unknown, Train::epochs(1).steps_per_epoch(3), "- - last");
    check_last(&unknown, Train::epochs(1).steps_per_epoch(9), "- - last");
    // A limit pauses the epoch: its last step is not the epoch's last batch.
    check_last(&[0, 1, 2], Train::steps(2), "- -");
    check_last(&unknown, Train::steps(4), "- - last -");
}
