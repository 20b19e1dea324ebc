//! The watchdog: hangs of a run, by place.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use regimen::callback::{Event, Hang, Watchdog};
use regimen::data::each_epoch;
use regimen::run::Train;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};

/// A unit whose steps wait for a report at their start, if the batch says so.
struct Waits(Receiver<Hang>);

fn wait_for(reported: &Receiver<Hang>, event: Event, step: u64) {
    while reported.recv().is_ok_and(|hang| (hang.event, hang.step) != (event, step)) {}
}

impl TrainUnit for Waits {
    type Batch = bool;

    fn train_step(&mut self, state: &mut State, waits: bool) -> Result<(), BoxError> {
        if waits {
            wait_for(&self.0, Event::TrainStepStart, state.train_progress().steps);
        }
        Ok(())
    }
}

/// A watchdog whose reports are sent.
fn watchdog() -> (Watchdog, Receiver<Hang>) {
    let (reports, reported) = channel();
    let watchdog = Watchdog::new(Duration::from_millis(5)).on_hang(move |hang| {
        let _ = reports.send(*hang);
    });
    (watchdog, reported)
}

// Each of these runs hangs until the report of that very hang ends it.

#[test]
fn a_step_that_hangs_is_reported_meanwhile_and_the_run_goes_on() {
    let (watchdog, reported) = watchdog();
    let mut unit = Waits(reported);
    let mut run = Run::new(&mut unit).callback(watchdog);
    let report = run.train(&[false, true, false, true], Train::epochs(2)).unwrap();
    assert_eq!(report.train.steps, 8);
}

#[test]
fn data_that_hangs_is_reported_meanwhile() {
    let (watchdog, reported) = watchdog();
    let reported = &std::sync::Mutex::new(reported);
    let data = each_epoch(move |_| {
        (0..3).map(move |i| {
            if i == 2 {
                // The first batch of an epoch of unknown length is fetched by its beginning.
                wait_for(&reported.lock().unwrap(), Event::TrainFetchStart, 1);
            }
            false
        })
    });
    let mut unit = Waits(channel().1);
    let report = Run::new(&mut unit).callback(watchdog).train(&data, Train::epochs(1)).unwrap();
    assert_eq!(report.train.steps, 3);
}

#[test]
fn a_callback_that_hangs_is_reported_meanwhile() {
    let (watchdog, reported) = watchdog();
    let mut unit = Waits(channel().1);
    let mut run = Run::new(&mut unit).callback(watchdog).on(Event::TrainEpochEnd, move |_, _| {
        wait_for(&reported, Event::TrainEpochEnd, 2);
    });
    assert_eq!(run.train(&[false; 2], Train::epochs(1)).unwrap().train.steps, 2);
}

#[test]
fn a_limit_of_zero_is_an_error_of_the_run() {
    let mut unit = Waits(channel().1);
    let mut run = Run::new(&mut unit).callback(Watchdog::new(Duration::ZERO));
    for _ in 0..2 {
        let error = run.train(&[false], Train::epochs(1)).unwrap_err();
        let expected = "callback Watchdog failed at train start in train at epoch 0 step 0: `Watchdog::new`: a \
                        limit of 0 is always exceeded; give more";
        assert_eq!(format!("{error:#}"), expected);
    }
}

#[test]
fn a_heartbeat_is_there_from_the_first_step_and_tells_the_last_event() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heartbeat");
    let mut unit = Waits(channel().1);
    let mut run = Run::new(&mut unit).callback(Watchdog::new(Duration::from_secs(3600)).heartbeat(&path));
    run.train(&[false; 3], Train::epochs(1)).unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "{\"event\":\"train end\",\"step\":3}\n");
}
