//! A watchdog: a hang is reported with its place.

use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use regimen_core::error::panic_text;

use super::{Event, Events};
use crate::replace_file::replace_file;
use crate::run::Report;
use crate::{BoxError, Callback, Error, State};

/// Reports that a run hangs: that no event came for a time. It reports a hang once, and training goes on if
/// the hang ends.
///
/// The report is a line on standard error, or of [`to`](Watchdog::to) or [`on_hang`](Watchdog::on_hang). It
/// names the place by the newest event: the data after a fetch start, the unit's step after a step start,
/// otherwise a callback, a hook or the saver. Add it before the other callbacks, because one that hangs in a
/// hook counts to the event that the watchdog received.
///
/// The limit must be longer than the slowest step, evaluation step and save. A thread looks ten times within
/// the limit, at least once per second, from the start of a call to its end; an event costs one atomic store.
/// Nothing is saved.
///
/// ```
/// # use regimen::Run;
/// # fn example<U>(run: Run<'_, U>) -> Run<'_, U> {
/// use std::io::Write;
/// use std::time::Duration;
///
/// use regimen::callback::{ProgressBar, Watchdog};
///
/// let bar = ProgressBar::new();
/// let watchdog = Watchdog::new(Duration::from_secs(300)).to(bar.printer()).heartbeat("runs/mine/heartbeat");
/// run.callback(watchdog).callback(bar)
/// # }
/// ```
pub struct Watchdog {
    /// `None` while the thread has it.
    watch: Option<Watch>,
    seen: Arc<Seen>,
    thread: Option<Thread>,
}

/// A hang of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hang {
    /// The newest event.
    pub event: Event,
    /// Completed steps of the active phase at that event.
    pub step: u64,
    /// The time since that event.
    pub lasted: Duration,
}

impl Watchdog {
    /// Reports a hang after `limit` without an event. A limit of zero is an error of the run.
    pub fn new(limit: Duration) -> Self {
        let watch = Watch {
            limit,
            report: line_to(io::stderr()),
            after: || (),
            heartbeat: None,
            newest: 0,
            since: Duration::ZERO,
            is_reported: false,
        };
        Watchdog { watch: Some(watch), seen: Arc::default(), thread: None }
    }

    /// Reports to `out`, such as the [printer](super::ProgressBar::printer) of a progress bar, a line per hang.
    /// An output that is closed or full is no error.
    pub fn to(self, out: impl Write + Send + 'static) -> Self {
        self.set(|watch| watch.report = line_to(out))
    }

    /// Reports to `report`, on the thread of the watchdog. A panic of it is a notice.
    pub fn on_hang(self, report: impl FnMut(&Hang) + Send + 'static) -> Self {
        self.set(|watch| watch.report = Box::new(report))
    }

    /// Writes the newest event to the file at `path` for a supervisor outside of the process, at most once per
    /// second and only if there was an event: `{"event":"train step end","step":41}`.
    ///
    /// The file is replaced as a whole, and its folder created. Among several ranks each needs its own. A
    /// write that fails is a notice, and the last.
    pub fn heartbeat(self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        self.set(|watch| watch.heartbeat = Some(Heartbeat { path, written: 0, at: None }))
    }

    /// Aborts the process after the report of a hang, so that whatever started it can start it again. Nothing
    /// is saved and nothing is dropped: the run continues from its newest checkpoint.
    pub fn aborts(self) -> Self {
        self.set(|watch| watch.after = || std::process::abort())
    }

    fn set(mut self, change: impl FnOnce(&mut Watch)) -> Self {
        if let Some(watch) = &mut self.watch {
            change(watch);
        }
        self
    }

    /// Starts the thread, unless it runs.
    fn start(&mut self) -> Result<(), BoxError> {
        if self.thread.is_some() {
            return Ok(());
        }
        let Some(mut watch) = self.watch.take() else {
            return Err("the thread of the watchdog could not be started before; make a new watchdog".into());
        };
        if watch.limit.is_zero() {
            self.watch = Some(watch);
            return Err("`Watchdog::new`: a limit of 0 is always exceeded; give more".into());
        }
        let (ends, ended) = channel();
        let seen = self.seen.clone();
        let join = std::thread::Builder::new().name("watchdog".into()).spawn(move || {
            watch.run(&seen, &ended);
            watch
        })?;
        self.thread = Some(Thread { ends, join });
        Ok(())
    }

    /// Ends the thread.
    fn end(&mut self) {
        if let Some(Thread { ends, join }) = self.thread.take() {
            drop(ends);
            self.watch = join.join().ok();
        }
    }
}

impl<U: ?Sized> Callback<U> for Watchdog {
    fn on_event(&mut self, event: Event, state: &mut State, _: &mut U) -> Result<(), BoxError> {
        self.seen.newest.store(packed(event, state.progress().steps), Ordering::Relaxed);
        if matches!(event, Event::TrainStart | Event::EvalStart | Event::PredictStart) {
            self.start()?;
        }
        if self.seen.has_failed.load(Ordering::Relaxed) {
            self.seen.take_failure().into_iter().for_each(|failure| state.notify(failure));
        }
        Ok(())
    }

    fn events(&self) -> Events {
        Events::ALL
    }

    // Not at the end of the phase: the saver comes after it.
    fn on_report(&mut self, _: &Report) {
        self.end();
    }

    fn on_error(&mut self, _: &State, _: &mut U, _: &Error) {
        self.end();
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Display for Hang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Event::*;
        let Hang { event, step, lasted } = self;
        let place = match event {
            TrainFetchStart | EvalFetchStart | PredictFetchStart => "the data gives no batch",
            TrainStepStart | EvalStepStart | PredictStepStart => "the unit is in its step",
            TrainStart | EvalStart | PredictStart | TrainEpochStart | EvalEpochStart | PredictEpochStart => {
                "the data does not open, or a callback or a hook is running"
            }
            _ => "a callback, a hook or the saver is running",
        };
        write!(f, "the run hangs: no event for {lasted:.1?} after {event} at step {step}; {place}")
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog").field("is_running", &self.thread.is_some()).finish_non_exhaustive()
    }
}

/// The thread of a call. It ends when `ends` is dropped.
struct Thread {
    ends: Sender<()>,
    join: JoinHandle<Watch>,
}

/// The memory that run and thread share.
#[derive(Default)]
struct Seen {
    /// The newest event and its step, [packed].
    newest: AtomicU64,
    has_failed: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl Seen {
    fn fail(&self, failure: String) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
        self.has_failed.store(true, Ordering::Relaxed);
    }

    fn take_failure(&self) -> Option<String> {
        self.has_failed.store(false, Ordering::Relaxed);
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// One word for the thread to read. It changes with every event: within a call none comes twice at a step.
fn packed(event: Event, step: u64) -> u64 {
    step << 8 | event as u64
}

fn unpacked(newest: u64) -> (Event, u64) {
    let event = Event::ALL.get((newest & 0xff) as usize).copied();
    (event.unwrap_or(Event::Notice), newest >> 8)
}

/// The look-out of the thread. Times are since the start of the call.
struct Watch {
    limit: Duration,
    report: Box<dyn FnMut(&Hang) + Send>,
    /// Called after a report.
    after: fn(),
    heartbeat: Option<Heartbeat>,
    /// As it was last seen, and when it was new.
    newest: u64,
    since: Duration,
    is_reported: bool,
}

impl Watch {
    fn run(&mut self, seen: &Seen, ended: &Receiver<()>) {
        let began = Instant::now();
        let pause = (self.limit / 10).clamp(Duration::from_millis(1), Duration::from_secs(1));
        (self.newest, self.since, self.is_reported) =
            (seen.newest.load(Ordering::Relaxed), Duration::ZERO, false);
        self.beat(seen, None);
        while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            self.look(seen, began.elapsed());
        }
        self.newest = seen.newest.load(Ordering::Relaxed);
        self.beat(seen, None);
    }

    fn look(&mut self, seen: &Seen, now: Duration) {
        let newest = seen.newest.load(Ordering::Relaxed);
        if newest != self.newest {
            (self.newest, self.since, self.is_reported) = (newest, now, false);
        }
        self.beat(seen, Some(now));
        let lasted = now.saturating_sub(self.since);
        if self.limit <= lasted && !self.is_reported {
            self.is_reported = true;
            let (event, step) = unpacked(newest);
            let report = || (self.report)(&Hang { event, step, lasted });
            if let Err(payload) = catch_unwind(AssertUnwindSafe(report)) {
                seen.fail(format!("the watchdog's report of a hang panicked: {}", panic_text(&*payload)));
            }
            (self.after)();
        }
    }

    /// Writes the heartbeat, if it is due `now`; at once without a time.
    fn beat(&mut self, seen: &Seen, now: Option<Duration>) {
        let Some(heartbeat) = &mut self.heartbeat else { return };
        if let Err(cause) = heartbeat.beat(self.newest, now) {
            let path = heartbeat.path.display();
            seen.fail(format!("cannot write the heartbeat {path}: {cause}; it is not written any more"));
            self.heartbeat = None;
        }
    }
}

struct Heartbeat {
    path: PathBuf,
    /// The newest event in the file.
    written: u64,
    /// The time of the last write.
    at: Option<Duration>,
}

impl Heartbeat {
    fn beat(&mut self, newest: u64, now: Option<Duration>) -> io::Result<()> {
        let is_early =
            now.zip(self.at).is_some_and(|(now, at)| now.saturating_sub(at) < Duration::from_secs(1));
        if is_early || now.is_some() && newest == self.written {
            return Ok(());
        }
        let (event, step) = unpacked(newest);
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        replace_file(&self.path, format!("{{\"event\":\"{event}\",\"step\":{step}}}\n").as_bytes())?;
        (self.written, self.at) = (newest, Some(now.unwrap_or(Duration::ZERO)));
        Ok(())
    }
}

fn line_to(mut out: impl Write + Send + 'static) -> Box<dyn FnMut(&Hang) + Send> {
    Box::new(move |hang| {
        // There is no other place for the report.
        let _ = out.write_all(format!("{hang}\n").as_bytes()).and_then(|()| out.flush());
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::Run;
    use crate::run::Train;
    use crate::unit::TrainUnit;

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
        let (reports, reported) = channel();
        let mut watchdog = Watchdog::new(seconds(10)).on_hang(move |hang| reports.send(*hang).unwrap());
        let (watch, seen) = (watchdog.watch.as_mut().unwrap(), watchdog.seen.clone());
        let mut look = |event, step, at, expected: Option<u64>| {
            seen.newest.store(packed(event, step), Ordering::Relaxed);
            watch.look(&seen, seconds(at));
            let expected = expected.map(|lasted| Hang { event, step, lasted: seconds(lasted) });
            assert_eq!(reported.try_recv().ok(), expected, "at {at}");
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

    #[test]
    fn an_abort_comes_after_the_report() {
        static ABORTS: AtomicU64 = AtomicU64::new(0);
        let mut watchdog =
            Watchdog::new(seconds(10)).on_hang(|_| assert_eq!(ABORTS.load(Ordering::Relaxed), 0));
        let (watch, seen) = (watchdog.watch.as_mut().unwrap(), watchdog.seen.clone());
        watch.after = || {
            ABORTS.fetch_add(1, Ordering::Relaxed);
        };
        for at in [9, 10, 11, 30] {
            watch.look(&seen, seconds(at));
        }
        assert_eq!((ABORTS.load(Ordering::Relaxed), seen.take_failure()), (1, None));
    }

    #[test]
    fn a_heartbeat_that_cannot_be_written_and_a_report_that_panics_are_notices() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().join("heartbeat");
        let mut watchdog = Watchdog::new(seconds(10)).on_hang(|_| panic!("no room")).heartbeat(&path);
        let (watch, seen) = (watchdog.watch.as_mut().unwrap(), watchdog.seen.clone());
        seen.newest.store(packed(Event::TrainStepEnd, 1), Ordering::Relaxed);
        watch.look(&seen, seconds(1));
        let failure = seen.take_failure().unwrap();
        assert!(
            failure.starts_with(&format!("cannot write the heartbeat {}: ", path.display())),
            "{failure}"
        );
        assert!(failure.ends_with("; it is not written any more"), "{failure}");
        watch.look(&seen, seconds(11));
        let expected = "the watchdog's report of a hang panicked: no room";
        assert_eq!(seen.take_failure().as_deref(), Some(expected));
        seen.fail("told to fail".into());
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

    /// A watchdog that can be looked at while a run has it.
    struct Shared<'w>(&'w Mutex<Watchdog>);

    impl<U> Callback<U> for Shared<'_> {
        fn on_event(&mut self, event: Event, state: &mut State, unit: &mut U) -> Result<(), BoxError> {
            self.0.lock().unwrap().on_event(event, state, unit)?;
            assert!(self.0.lock().unwrap().thread.is_some());
            Ok(())
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
            assert!(watchdog.lock().unwrap().thread.is_none());
        }
    }

    #[test]
    fn a_heartbeat_is_written_once_per_second_and_only_after_an_event() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("heartbeat");
        let mut heartbeat = Heartbeat { path: path.clone(), written: 0, at: None };
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
}
