//! A watchdog: a hang is reported with its place.

mod heartbeat;

use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use regimen_core::error::panic_text;

use self::heartbeat::{Beating, Heart, Heartbeat};
use super::flight_recorder::{FlightRecorder, Recorded};
use super::{Event, Events};
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
/// Reports and the heartbeat have threads of their own: a terminal or a disk that hangs as well holds up
/// neither the abort nor the end of the run. Nothing is saved.
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
    /// `None` once its thread has it.
    report: Option<ReportHang>,
    /// To the thread that reports.
    hangs: Option<Sender<Reporting>>,
    /// `None` once its thread has it.
    heartbeat: Option<Heartbeat>,
    /// The steps to write after a report.
    flight: Option<Arc<Recorded>>,
    /// The thread that writes the heartbeat.
    heart: Option<Heart>,
    seen: Arc<Seen>,
    call: Option<Call>,
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
        let watch = Watch { limit, abort: None, newest: 0, since: Duration::ZERO, is_reported: false };
        Watchdog {
            watch: Some(watch),
            report: Some(line_to(io::stderr())),
            hangs: None,
            heartbeat: None,
            flight: None,
            heart: None,
            seen: Arc::default(),
            call: None,
        }
    }

    /// Reports to `out`, such as the [printer](super::ProgressBar::printer) of a progress bar, a line per hang.
    /// An output that is closed or full is no error.
    pub fn to(mut self, out: impl Write + Send + 'static) -> Self {
        self.report = Some(line_to(out));
        self
    }

    /// Reports to `report`, on a thread of the watchdog. A panic of it is a notice.
    pub fn on_hang(mut self, report: impl FnMut(&Hang) + Send + 'static) -> Self {
        self.report = Some(Box::new(report));
        self
    }

    /// Writes the newest event to the file at `path` for a supervisor outside of the process, at most once per
    /// second and only if there was an event: `{"event":"train step end","step":41}`.
    ///
    /// The file is replaced as a whole, and its folder created. Among several ranks each needs its own. A
    /// write that fails is tried again at the next event, at most once per second. The first failure of a call
    /// is a notice, and so is a last write that is not done a second after the end of training. After an
    /// evaluation or prediction by hand the next call has the notice. A disk that answers later has its
    /// heartbeat again.
    pub fn heartbeat(mut self, path: impl Into<PathBuf>) -> Self {
        self.heartbeat = Some(Heartbeat::new(path.into()));
        self
    }

    /// Writes the last steps of `recorder` to its file after the report of a hang, which is the reason in it. The step
    /// that hangs is the last of them. Nothing is read from a device that may hang: a loss that is still there is left
    /// out. A write that fails is a notice.
    ///
    /// ```
    /// # use regimen::saved::AppState;
    /// # use regimen::{Error, Run};
    /// use std::time::Duration;
    ///
    /// use regimen::callback::Watchdog;
    /// use regimen::folder::RunFolder;
    ///
    /// # fn example<'a, U: AppState>(run: Run<'a, U>) -> Result<Run<'a, U>, Error> {
    /// let folder = RunFolder::new("runs/mine");
    /// let watchdog = Watchdog::new(Duration::from_secs(300)).flight(folder.flight_recorder()).aborts();
    /// folder.open(run.callback(watchdog))
    /// # }
    /// ```
    pub fn flight(mut self, recorder: &FlightRecorder) -> Self {
        self.flight = Some(recorder.recorded());
        self
    }

    /// Aborts the process after the report of a hang, or five seconds later if the report hangs as well, so
    /// that whatever started it can start it again. Nothing is saved and nothing is dropped: the run continues
    /// from its newest checkpoint.
    pub fn aborts(mut self) -> Self {
        if let Some(watch) = &mut self.watch {
            watch.abort = Some(Abort { patience: Duration::from_secs(5), abort: || std::process::abort() });
        }
        self
    }

    /// Starts the threads, unless they run.
    fn start(&mut self) -> Result<(), BoxError> {
        if self.call.is_some() {
            return Ok(());
        }
        let reports = self.report.is_some() || self.hangs.is_some();
        let Some(watch) = self.watch.as_ref().filter(|_| reports) else {
            return Err("the thread of the watchdog could not be started before; make a new watchdog".into());
        };
        if watch.limit.is_zero() {
            return Err("`Watchdog::new`: a limit of 0 is always exceeded; give more".into());
        }
        if let Some(report) = self.report.take() {
            let ((hangs, received), seen) = (channel(), self.seen.clone());
            let flight = self.flight.clone();
            Builder::new()
                .name("watchdog-report".into())
                .spawn(move || report_all(report, flight.as_deref(), &received, &seen))?;
            self.hangs = Some(hangs);
        }
        if let Some(heartbeat) = self.heartbeat.take() {
            self.heart = Some(Heart::start(heartbeat, self.seen.clone())?);
        }
        let heartbeat = self.heart.as_ref().map(Heart::begin);
        let (words, received) = channel();
        let (seen, own, hangs) = (self.seen.clone(), words.clone(), self.hangs.clone());
        let Some(mut watch) = self.watch.take() else { return Ok(()) };
        let join = Builder::new().name("watchdog".into()).spawn(move || {
            watch.run(&seen, &received, |hang| {
                let reporting = Reporting { hang, words: own.clone() };
                hangs.as_ref().is_some_and(|hangs| hangs.send(reporting).is_ok())
            });
            watch
        })?;
        self.call = Some(Call { words, join, heartbeat });
        Ok(())
    }

    /// Ends the heartbeat of the call.
    fn end_heartbeat(&mut self) {
        let heartbeat = self.call.as_mut().and_then(|call| call.heartbeat.take());
        heartbeat.into_iter().for_each(|heartbeat| heartbeat.end(&self.seen));
    }

    /// Ends the call: its heartbeat, and the thread that looks.
    fn end(&mut self) {
        self.end_heartbeat();
        if let Some(Call { words, join, .. }) = self.call.take() {
            let _ = words.send(Word::Ended);
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

    // No event comes after this, but callbacks that can hang do, so the look-out stays.
    fn sum_up(&mut self, report: &mut Report) {
        self.end_heartbeat();
        report.notices.extend(self.seen.take_failure());
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
        f.debug_struct("Watchdog").field("is_running", &self.call.is_some()).finish_non_exhaustive()
    }
}

/// The threads of a call.
struct Call {
    words: Sender<Word>,
    /// The one that looks. It waits for nothing but words.
    join: JoinHandle<Watch>,
    /// `None` without a heartbeat, and once that has ended.
    heartbeat: Option<Beating>,
}

/// A word to the thread that looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// The report of a hang is made.
    Reported,
    /// The call has ended.
    Ended,
}

type ReportHang = Box<dyn FnMut(&Hang) + Send>;

/// A hang to report, and where to say so when it is done.
struct Reporting {
    hang: Hang,
    words: Sender<Word>,
}

/// Reports hangs until the watchdog is dropped. A report may take for ever, so nobody joins this thread.
fn report_all(mut report: ReportHang, flight: Option<&Recorded>, hangs: &Receiver<Reporting>, seen: &Seen) {
    for Reporting { hang, words } in hangs {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| report(&hang))) {
            seen.fail(format!("the watchdog's report of a hang panicked: {}", panic_text(&*payload)));
        }
        if let Some(Err(cause)) = flight.map(|flight| flight.write(&hang.to_string(), None, false)) {
            seen.fail(cause.to_string());
        }
        let _ = words.send(Word::Reported);
    }
}

/// The memory that run and threads share.
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

/// The look-out. Times are since the start of the call.
struct Watch {
    limit: Duration,
    abort: Option<Abort>,
    /// As it was last seen, and when it was new.
    newest: u64,
    since: Duration,
    is_reported: bool,
}

/// The end of a process that hangs.
#[derive(Clone, Copy)]
struct Abort {
    /// The longest wait for the report.
    patience: Duration,
    abort: fn(),
}

impl Watch {
    /// Looks until the call has ended. `report` begins the report of a hang, and returns whether a word will say
    /// that it is made.
    fn run(&mut self, seen: &Seen, words: &Receiver<Word>, mut report: impl FnMut(Hang) -> bool) {
        let began = Instant::now();
        let pause = (self.limit / 10).clamp(Duration::from_millis(1), Duration::from_secs(1));
        (self.newest, self.since, self.is_reported) =
            (seen.newest.load(Ordering::Relaxed), Duration::ZERO, false);
        // The time at which the process is aborted, with or without a report.
        let mut abort_at = None;
        loop {
            let word = words.recv_timeout(pause);
            let now = began.elapsed();
            match word {
                Ok(Word::Ended) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Word::Reported) => abort_at = abort_at.and(Some(now)),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(hang) = self.look(seen, now) {
                        let patience =
                            if report(hang) { self.abort.map(|abort| abort.patience) } else { None };
                        abort_at = Some(now + patience.unwrap_or_default());
                    }
                }
            }
            if let Some(Abort { abort, .. }) = self.abort
                && abort_at.is_some_and(|at| at <= now)
            {
                abort_at = None;
                abort();
            }
        }
    }

    /// The hang that is to be reported `now`.
    fn look(&mut self, seen: &Seen, now: Duration) -> Option<Hang> {
        let newest = seen.newest.load(Ordering::Relaxed);
        if newest != self.newest {
            (self.newest, self.since, self.is_reported) = (newest, now, false);
        }
        let lasted = now.saturating_sub(self.since);
        if lasted < self.limit || std::mem::replace(&mut self.is_reported, true) {
            return None;
        }
        let (event, step) = unpacked(newest);
        Some(Hang { event, step, lasted })
    }
}

fn line_to(mut out: impl Write + Send + 'static) -> ReportHang {
    Box::new(move |hang| {
        // There is no other place for the report.
        let _ = out.write_all(format!("{hang}\n").as_bytes()).and_then(|()| out.flush());
    })
}

#[cfg(test)]
mod tests;
