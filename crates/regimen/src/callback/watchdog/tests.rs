//! The watchdog without a run that hangs, and its threads.
#![cfg(test)]

use super::heartbeat::serve;
use super::*;
use crate::run::{Evaluate, Train};
use crate::unit::{EvalUnit, TrainUnit};
use crate::{Fit, Run};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn every_event_is_packed_with_its_step_and_unpacked() {
    for &event in Event::ALL {
        for step in [0, 1, 1 << 40] {
            assert_eq!(unpacked(packed(event, step)), (event, step));
        }
    }
}

#[test]
fn a_hang_is_reported_once_and_the_next_one_again() {
    let mut watchdog = Watchdog::new(seconds(10));
    let (watch, seen) = (watchdog.watch.as_mut().unwrap(), watchdog.seen.clone());
    let mut look = |event, step, at, expected: Option<u64>| {
        seen.newest.store(packed(event, step), Ordering::Relaxed);
        let expected = expected.map(|lasted| Hang { event, step, lasted: seconds(lasted) });
        assert_eq!(watch.look(&seen, seconds(at)), expected, "at {at}");
    };
    look(Event::TrainStepStart, 0, 1, None);
    look(Event::TrainStepStart, 0, 10, None);
    look(Event::TrainStepStart, 0, 11, Some(10));
    look(Event::TrainStepStart, 0, 12, None);
    look(Event::TrainStepStart, 0, 100, None);
    look(Event::TrainStepEnd, 1, 101, None);
    look(Event::TrainFetchStart, 1, 110, None);
    look(Event::TrainFetchStart, 1, 125, Some(15));
}

#[test]
fn a_report_names_the_place() {
    let check = |event, expected: &str| {
        let hang = Hang { event, step: 41, lasted: Duration::from_millis(300_500) };
        let expected = format!("the run hangs: no event for 300.5s after {event} at step 41; {expected}");
        assert_eq!(hang.to_string(), expected);
    };
    check(Event::TrainFetchStart, "the data gives no batch");
    check(Event::EvalStepStart, "the unit is in its step");
    check(Event::TrainEpochStart, "the data does not open, or a callback or a hook is running");
    check(Event::TrainStepEnd, "a callback, a hook or the saver is running");
    check(Event::TrainEnd, "a callback, a hook or the saver is running");
}

/// Looks for hangs of 1 millisecond without an event, until the words have said that the call has ended. `report`
/// begins the report of the first hang. Returns whether there was an abort.
fn aborts(patience: Duration, report: impl FnOnce(&Sender<Word>) -> bool) -> bool {
    static ABORTS: AtomicU64 = AtomicU64::new(0);
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let before = ABORTS.load(Ordering::Relaxed);
    let abort = || {
        ABORTS.fetch_add(1, Ordering::Relaxed);
    };
    let mut watch = Watchdog::new(Duration::from_millis(1)).watch.take().unwrap();
    watch.abort = Some(Abort { patience, abort });
    let ((words, received), mut report) = (channel(), Some(report));
    watch.run(&Seen::default(), &received, |_| {
        let begun = report.take().is_some_and(|report| report(&words));
        words.send(Word::Ended).unwrap();
        begun
    });
    ABORTS.load(Ordering::Relaxed) != before
}

#[test]
fn an_abort_comes_after_the_report_or_without_it_if_that_hangs_too() {
    let never = seconds(3600);
    assert!(aborts(never, |words| words.send(Word::Reported).is_ok()));
    assert!(aborts(Duration::ZERO, |_| true), "nobody says that it is made");
    assert!(aborts(never, |_| false), "it cannot be begun");
    assert!(!aborts(never, |_| true), "the call ends while it is made");
}

#[test]
fn a_report_that_hangs_does_not_hold_up_the_end_of_a_call() {
    let (begun, is_begun) = channel();
    let (release, released) = channel::<()>();
    let watchdog = Watchdog::new(Duration::from_millis(1)).on_hang(move |_| {
        begun.send(()).unwrap();
        let _ = released.recv();
    });
    let mut unit = Unit;
    let mut run = Run::new(&mut unit)
        .callback(watchdog)
        .on(Event::TrainStepEnd, move |_: &mut State, _: &mut Unit| is_begun.recv().unwrap());
    run.train(&[true], Train::epochs(1)).unwrap();
    drop(run);
    drop(release);
}

#[test]
fn a_heartbeat_that_hangs_does_not_hold_up_the_end_of_a_call_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heartbeat");
    let (heartbeat, seen) = (Heartbeat::new(path.clone()), Arc::<Seen>::default());
    // No thread receives the calls for now.
    let (heart, calls) = Heart::of(&heartbeat);
    heart.begin().end(&seen);
    let expected =
        format!("the heartbeat {} is not written within a second; it is tried again", path.display());
    assert_eq!(seen.take_failure(), Some(expected));
    let next = heart.begin();
    let of_thread = seen.clone();
    let thread = std::thread::spawn(move || serve(heartbeat, &calls, &of_thread));
    seen.newest.store(packed(Event::TrainEnd, 7), Ordering::Relaxed);
    drop(heart);
    next.end(&Seen::default());
    thread.join().unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "{\"event\":\"train end\",\"step\":7}\n");
    assert_eq!(seen.take_failure(), None);
}

#[test]
fn a_heartbeat_that_fails_at_the_end_of_a_call_is_a_notice_of_that_call_and_tried_in_the_next() {
    let folder = tempfile::tempdir().unwrap();
    // The file that is written and then renamed cannot be, from the last event of the first call on.
    let (path, new) = (folder.path().join("heartbeat"), folder.path().join("heartbeat.new"));
    let mut unit = Unit;
    let mut run = Run::new(&mut unit)
        .callback(Watchdog::new(seconds(3600)).heartbeat(path.clone()))
        .on(Event::TrainStart, |_: &mut State, _: &mut Unit| {
            while !path.exists() {
                std::thread::yield_now();
            }
        })
        .on(Event::TrainEnd, |state: &mut State, _: &mut Unit| {
            while state.train_progress().epochs == 1 && std::fs::create_dir(&new).is_err() {}
        });
    let report = run.train(&[true], Train::epochs(1)).unwrap();
    let cause = std::fs::write(&new, "").unwrap_err();
    let expected = format!("cannot write the heartbeat {}: {cause}; it is tried again", path.display());
    assert_eq!(report.notices, [expected]);
    std::fs::remove_dir(&new).unwrap();
    let report = run.train(&[true], Train::epochs(2)).unwrap();
    assert_eq!(report.notices, [""; 0]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"event\":\"train end\",\"step\":2}\n");
}

#[test]
fn a_heartbeat_that_cannot_be_written_and_a_report_that_panics_are_notices() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().join("heartbeat");
    let seen = Arc::<Seen>::default();
    Heart::start(Heartbeat::new(path.clone()), seen.clone()).unwrap().begin().end(&seen);
    let cause = std::fs::create_dir_all(file.path()).unwrap_err();
    let expected = format!("cannot write the heartbeat {}: {cause}; it is tried again", path.display());
    assert_eq!(seen.take_failure(), Some(expected));
    let ((hangs, received), (words, word)) = (channel(), channel());
    let hang = Hang { event: Event::TrainStepEnd, step: 1, lasted: seconds(10) };
    hangs.send(Reporting { hang, words }).unwrap();
    drop(hangs);
    report_all(Box::new(|_| panic!("no room")), None, &received, &seen);
    assert_eq!(word.try_recv(), Ok(Word::Reported));
    let expected = "the watchdog's report of a hang panicked: no room";
    assert_eq!(seen.take_failure().as_deref(), Some(expected));
    let watchdog = Watchdog::new(seconds(10));
    watchdog.seen.fail("told to fail".into());
    let report = Run::new(&mut Unit).callback(watchdog).train(&[true; 2], Train::epochs(1)).unwrap();
    assert_eq!(report.notices, ["told to fail"]);
}

/// A unit whose steps fail on `false`.
struct Unit;

impl TrainUnit for Unit {
    type Batch = bool;

    fn train_step(&mut self, _: &mut State, batch: bool) -> Result<(), BoxError> {
        if batch { Ok(()) } else { Err("told to fail".into()) }
    }
}

impl EvalUnit for Unit {
    type Batch = bool;

    fn eval_step(&mut self, _: &mut State, _: bool) -> Result<(), BoxError> {
        Ok(())
    }
}

/// A watchdog that can be looked at while a run has it.
struct Shared<'w>(&'w Mutex<Watchdog>);

impl<U> Callback<U> for Shared<'_> {
    fn on_event(&mut self, event: Event, state: &mut State, unit: &mut U) -> Result<(), BoxError> {
        self.0.lock().unwrap().on_event(event, state, unit)?;
        assert!(self.0.lock().unwrap().call.is_some());
        Ok(())
    }

    fn sum_up(&mut self, report: &mut Report) {
        Callback::<U>::sum_up(&mut *self.0.lock().unwrap(), report);
        assert!(self.0.lock().unwrap().call.is_some());
    }

    fn on_report(&mut self, report: &Report) {
        Callback::<U>::on_report(&mut *self.0.lock().unwrap(), report);
    }

    fn on_error(&mut self, state: &State, unit: &mut U, error: &Error) {
        self.0.lock().unwrap().on_error(state, unit, error);
    }
}

#[test]
fn the_thread_lives_as_long_as_a_call() {
    let watchdog = Mutex::new(Watchdog::new(seconds(3600)));
    let mut run_unit = Unit;
    let mut run = Run::new(&mut run_unit).callback(Shared(&watchdog));
    for (batches, is_complete) in [([true, true], true), ([true, false], false), ([true, true], true)] {
        let steps = run.state().train_progress().steps + 2;
        assert_eq!(run.train(&batches, Train::steps(steps)).is_ok(), is_complete);
        assert!(watchdog.lock().unwrap().call.is_none());
    }
    run.fit(&[true], &[true], Fit::epochs(9)).unwrap();
    assert!(watchdog.lock().unwrap().call.is_none());
    run.evaluate(&[true], Evaluate::whole()).unwrap();
    assert!(watchdog.lock().unwrap().call.is_none());
    run.train(&[true], Train::steps(0)).unwrap();
    assert!(watchdog.lock().unwrap().call.is_none());
}

#[test]
fn a_heartbeat_is_written_once_per_second_and_only_after_an_event() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new").join("heartbeat");
    let mut heartbeat = Heartbeat::new(path.clone());
    let mut beat = |step, at: Option<u64>, expected: &str| {
        let _ = std::fs::remove_file(&path);
        heartbeat.beat(packed(Event::TrainStepEnd, step), at.map(Duration::from_millis)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), expected, "{step} at {at:?}");
    };
    beat(1, None, "{\"event\":\"train step end\",\"step\":1}\n");
    beat(2, Some(999), "");
    beat(3, Some(1000), "{\"event\":\"train step end\",\"step\":3}\n");
    beat(3, Some(5000), "");
    beat(4, Some(5001), "{\"event\":\"train step end\",\"step\":4}\n");
    beat(5, Some(5002), "");
    beat(5, None, "{\"event\":\"train step end\",\"step\":5}\n");
    assert_eq!(std::fs::read_dir(folder.path().join("new")).unwrap().count(), 1);
}
