//! The recorder: when its file is written, and what is in it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use regimen::callback::{Event, Every, Flight, FlightRecorder, FlightStep, LearningRateMonitor, Watchdog};
use regimen::checkpoint::Checkpointer;
use regimen::run::{Evaluate, NanGuard, Train};
use regimen::{BoxError, Run, State};
use regimen_test::toy::host_reads;
use tempfile::TempDir;

use super::{Seen, Unit, data, expected, told, unit};

/// A file in a folder that does not exist yet.
fn file() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs/flight.json");
    (dir, path)
}

fn read(path: &Path) -> Flight {
    Flight::read(path).unwrap().unwrap()
}

/// Pauses after `step` steps.
fn pause_at(step: u64) -> impl FnMut(&mut State, &mut Unit) {
    move |state, _| {
        if state.train_progress().steps == step {
            state.pause("enough");
        }
    }
}

#[test]
fn an_error_leaves_the_last_steps_and_the_one_that_failed_with_its_samples() {
    let ((_dir, path), seen, data) = (file(), Seen::default(), data(None));
    let mut unit = unit(&seen, false);
    let mut run = Run::new(&mut unit)
        .seed(7)
        .callback(FlightRecorder::new(&path).last(4).samples_of(&data))
        .on(Event::TrainStepStart, |state: &mut State, _: &mut Unit| -> Result<(), BoxError> {
            if state.train_progress().steps == 7 { Err("told to fail".into()) } else { Ok(()) }
        });
    let error = run.train(&data, Train::epochs(3)).unwrap_err();
    let flight = read(&path);
    assert_eq!(flight.reason, format!("{error:#}"));
    assert_eq!((flight.seed, flight.step), (7, None));
    // Made by hand, the step that failed sees its samples.
    drop(run);
    let again = Seen::default();
    let mut other = super::unit(&again, false);
    Run::new(&mut other).seed(7).train(&data, Train::steps(8)).unwrap();
    let failed = format!("8 2/1 0 false {{}} Some({:?})", again.lock().unwrap()[7].0);
    let mut lines = expected(5, &seen.lock().unwrap());
    lines.push(failed);
    assert_eq!(told(&flight), lines);
}

#[test]
fn losses_that_stay_on_the_device_are_recorded_without_a_read_of_their_own() {
    let reads = |recorder: Option<FlightRecorder>, seen: &Seen| {
        let data = data(None);
        let mut unit = unit(seen, true);
        let mut run = Run::new(&mut unit).on(Event::TrainStepEnd, pause_at(8));
        if let Some(recorder) = recorder {
            run = run.callback(recorder.samples_of(&data));
        }
        let before = host_reads();
        run.train(&data, Train::until_stopped()).unwrap();
        host_reads() - before
    };
    let ((_dir, path), seen) = (file(), Seen::default());
    let without = reads(None, &Seen::default());
    assert_eq!(reads(Some(FlightRecorder::new(&path)), &seen), without);
    assert_eq!(told(&read(&path)), expected(1, &seen.lock().unwrap()));
    assert_eq!(read(&path).reason, "enough");
}

#[test]
fn a_number_that_is_not_finite_names_its_step_also_if_it_is_found_later() {
    for reads_later in [false, true] {
        let ((_dir, path), seen, data) = (file(), Seen::default(), data(Some(3)));
        let mut unit = unit(&seen, reads_later);
        let mut run = Run::new(&mut unit).callback(FlightRecorder::new(&path).samples_of(&data));
        run.train(&data, Train::epochs(1)).unwrap_err();
        let flight = read(&path);
        let bad = flight.steps.iter().find(|step| Some(step.step) == flight.step).unwrap();
        assert!(bad.indices.as_ref().unwrap().contains(&3), "{bad:?}");
        // The loss that is found at once belongs to no step.
        let loss = bad.metrics.get("train/loss").map(|loss| loss.is_nan());
        assert_eq!((loss, bad.complete), (reads_later.then_some(true), reads_later));
    }
}

#[test]
fn an_end_leaves_the_file_of_a_pause_and_a_pass_by_hand_writes_none() {
    let ((_dir, path), data) = (file(), data(None));
    let mut unit = unit(&Seen::default(), false);
    let mut run = Run::new(&mut unit)
        .callback(FlightRecorder::new(&path))
        .on(Event::TrainStepEnd, pause_at(4))
        .on(Event::EvalStepStart, |_: &mut State, _: &mut Unit| -> Result<(), BoxError> { Err("no".into()) });
    run.train(&data, Train::steps(2)).unwrap();
    run.evaluate(&data, Evaluate::whole()).unwrap_err();
    assert_eq!(Flight::read(&path).unwrap(), None);
    run.train(&data, Train::epochs(2)).unwrap();
    let paused = read(&path);
    assert_eq!(paused.steps.iter().map(|step| step.step).collect::<Vec<_>>(), [1, 2, 3, 4]);
    run.train(&data, Train::epochs(2)).unwrap();
    assert_eq!(read(&path), paused);
}

#[test]
fn samples_are_those_after_a_restart_within_an_epoch_with_another_batch_size() {
    let ((_dir, path), seen) = (file(), Seen::default());
    let mut first = unit(&seen, false);
    let mut run = Run::new(&mut first).seed(7);
    run.train(&data(None), Train::steps(1)).unwrap();
    let saved = run.run_state().unwrap();
    seen.lock().unwrap().clear();
    let (mut second, data) = (unit(&seen, false), data(None).batch_size(3));
    let mut run = Run::new(&mut second)
        .callback(FlightRecorder::new(&path).samples_of(&data))
        .on(Event::TrainStepEnd, pause_at(6));
    run.load_run_state(&saved).unwrap();
    run.train(&data, Train::epochs(5)).unwrap();
    let recorded: Vec<_> = read(&path).steps.into_iter().map(|step| step.indices.unwrap()).collect();
    let seen: Vec<_> = seen.lock().unwrap().iter().map(|(indices, _)| indices.clone()).collect();
    assert_eq!(recorded, seen);
    assert_eq!(recorded.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 3, 3]);
}

#[test]
fn samples_are_those_after_a_batch_that_is_passed_over() {
    let ((dir, path), seen, data) = (file(), Seen::default(), data(Some(3)));
    let mut unit = unit(&seen, false);
    let mut run = Run::new(&mut unit)
        .seed(7)
        .saver(Checkpointer::new(dir.path().join("checkpoints")).every(Every::steps(1)))
        .callback(FlightRecorder::new(&path).samples_of(&data))
        .on(Event::TrainStepEnd, pause_at(7));
    run.train(&data, Train::steps(1)).unwrap();
    NanGuard::new().train(&mut run, &data, Train::epochs(9)).unwrap();
    let steps = read(&path).steps;
    let recorded: Vec<_> = steps.iter().map(|step| step.indices.clone().unwrap()).collect();
    let seen: Vec<_> = seen.lock().unwrap().iter().map(|(indices, _)| indices.clone()).collect();
    assert_eq!(recorded, seen);
    let failed: Vec<_> = steps.iter().filter(|step| !step.complete).collect();
    assert!(
        failed.len() > 2 && failed.iter().all(|step| step.indices.as_ref().unwrap().contains(&3)),
        "{steps:?}"
    );
    // Some batch comes after one that is passed over in its epoch.
    let follows = |step: &FlightStep| {
        failed.iter().any(|failed| failed.epoch == step.epoch && failed.batch < step.batch)
    };
    assert!(steps.iter().any(follows), "{steps:?}");
}

#[test]
fn a_cadence_brings_the_learning_rates_of_its_steps() {
    let ((_dir, path), data) = (file(), data(None));
    let mut unit = unit(&Seen::default(), false);
    let mut run = Run::new(&mut unit)
        .callback(LearningRateMonitor::new())
        .callback(FlightRecorder::new(&path).every(Every::steps(2)))
        .on(Event::TrainStepEnd, pause_at(4));
    run.train(&data, Train::until_stopped()).unwrap();
    let rates = read(&path).steps.into_iter().map(|step| step.metrics.get("learning_rate/default").copied());
    assert_eq!(rates.collect::<Vec<_>>(), [None, Some(0.01 / 2.0), Some(0.01 / 3.0), Some(0.01 / 4.0)]);
}

#[test]
fn a_hang_leaves_the_steps_while_it_lasts() {
    let ((_dir, path), seen, data) = (file(), Seen::default(), data(None));
    let mut unit = unit(&seen, true);
    let recorder = FlightRecorder::new(&path).samples_of(&data);
    let watchdog = Watchdog::new(Duration::from_millis(5)).on_hang(|_| {}).flight(&recorder);
    let waits_for = path.clone();
    let mut run = Run::new(&mut unit).callback(watchdog).callback(recorder).on(
        Event::TrainStepStart,
        move |state: &mut State, _: &mut Unit| {
            // The hang is over when its file names this step: another may have been written before on a slow machine.
            let step = state.train_progress().steps + 1;
            let is_named =
                || Flight::read(&waits_for).unwrap().is_some_and(|flight| flight.steps.len() as u64 == step);
            while step == 3 && !is_named() {
                std::thread::yield_now();
            }
        },
    );
    run.train(&data, Train::steps(3)).unwrap();
    let flight = read(&path);
    assert!(flight.reason.starts_with("the run hangs: no event for "), "{}", flight.reason);
    // The losses of the first two are still on the device.
    let lines: Vec<String> =
        flight.steps.iter().map(|step| format!("{} {:?}", step.step, step.metrics)).collect();
    assert_eq!(lines, ["1 {}", "2 {}", "3 {}"]);
}

#[test]
fn no_steps_at_all_are_an_error_of_the_run() {
    let ((_dir, path), data) = (file(), data(None));
    let mut unit = unit(&Seen::default(), false);
    let error = Run::new(&mut unit)
        .callback(FlightRecorder::new(&path).last(0))
        .train(&data, Train::steps(1))
        .unwrap_err();
    let expected = "callback FlightRecorder failed at train start in train at epoch 0 step 0: `FlightRecorder::last`: \
                    0 keeps no step; give 1 or more";
    assert_eq!(format!("{error:#}"), expected);
    assert_eq!(Flight::read(&path).unwrap(), None);
}

#[test]
fn a_damaged_file_is_an_error_that_names_it() {
    let (dir, _) = file();
    let path = dir.path().join("flight.json");
    std::fs::write(&path, "{\"reason\":1}").unwrap();
    let error = Flight::read(&path).unwrap_err().to_string();
    let expected = format!(
        "cannot read {}: invalid type: integer `1`, expected a string at line 1 column 11",
        path.display()
    );
    assert_eq!(error, expected);
}
