//! Machines and jobs that end at a known time: the run pauses, saves within the time left, and is started again.

mod deadline;
mod exit_code;

pub use deadline::Deadline;
pub use exit_code::{RUN_AGAIN, exit_code};

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, SystemTime};
use std::{env, io};

use regimen_core::error::panic_text;
use regimen_core::state::PauseHandle;

/// Pauses a run when its machine or its job is about to end, until it is dropped.
///
/// | told by | reason of the pause | time left |
/// |---|---|---|
/// | SIGTERM: Kubernetes, `scancel`, `timeout` | `SIGTERM` | [`grace`](Preemption::grace) |
/// | SIGUSR1: SLURM's `--signal=B:USR1@120`, `mpirun` | `SIGUSR1` | that of the job, or [`grace`](Preemption::grace) |
/// | SIGINT: a person | `SIGINT` | that of the job |
/// | a closure: the metadata of a cloud's machine | `preemption notice` | as it says |
///
/// The signals are those of [`Signals`](crate::signal::Signals), which it replaces. The end of a job of SLURM is read from
/// `SLURM_JOB_END_TIME`, if that is set. Of several times the earliest counts.
///
/// The step under way is finished, the saver saves, and the report says
/// [`Paused`](regimen_core::run::Ended::Paused). A checkpointer that knows the [`Deadline`] leaves that save out if the last
/// one took longer than the time left: see [`Checkpointer::deadline`](crate::checkpoint::Checkpointer::deadline). The
/// program ends with an [`exit_code`] that tells its launcher to run it again.
///
/// Among several [ranks](regimen_core::Run::peers) a notice to one of them pauses all, at the same step.
///
/// ```
/// # use regimen::preemption::exit_code;
/// # use regimen::{BoxError, Run};
/// # use regimen::run::Train;
/// # use regimen::saved::AppState;
/// # use regimen::unit::TrainUnit;
/// # use std::process::ExitCode;
/// use std::time::Duration;
///
/// use regimen::checkpoint::Checkpointer;
/// use regimen::preemption::Preemption;
///
/// # fn train<U: AppState + TrainUnit<Batch = u64>>(unit: &mut U, data: &[u64]) -> Result<ExitCode, BoxError> {
/// let preemption = Preemption::new()
///     .grace(Duration::from_secs(30))
///     .poll(Duration::from_secs(5), || {
///         // A request to the metadata service stands here. It is two minutes from the notice to the end.
///         std::path::Path::new("/run/preempted").exists().then_some(Duration::from_secs(120))
///     });
/// let saver = Checkpointer::new("runs/mine").deadline(preemption.deadline());
/// let mut run = Run::new(unit).saver(saver);
/// run.restore_latest()?;
/// let _preemption = preemption.pause(&run.pause_handle())?;
/// let report = run.train(data, Train::epochs(10))?;
/// Ok(exit_code(&report))
/// # }
/// ```
#[must_use = "signals do what they did before when it is dropped"]
pub struct Preemption {
    deadline: Deadline,
    grace: Option<Duration>,
    polls: Vec<Poll>,
    #[cfg(unix)]
    watch: Option<crate::signal::unix::Watch>,
    /// A thread ends when its sender is dropped.
    polling: Vec<Sender<()>>,
}

/// A closure, and the interval of its calls.
struct Poll {
    every: Duration,
    notice: Box<dyn FnMut() -> Option<Duration> + Send>,
}

impl Preemption {
    /// Signals alone, and no time known.
    pub fn new() -> Self {
        Preemption {
            deadline: Deadline::default(),
            grace: None,
            polls: Vec::new(),
            #[cfg(unix)]
            watch: None,
            polling: Vec::new(),
        }
    }

    /// The time between SIGTERM and the end of the process: `terminationGracePeriodSeconds` of Kubernetes, 30 by default
    /// there, or `KillWait` of SLURM. That of SIGUSR1 too if `SLURM_JOB_END_TIME` is not set: `mpirun` passes it on to the
    /// ranks, and no SIGTERM. Unknown by default.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Calls `notice` at this interval, on a thread of its own, until it returns the time left. `None` is no notice.
    ///
    /// Errors of a request are the closure's to judge: it is called again. If it panics, the run pauses, with the panic
    /// as the reason. The thread is not waited for when this is dropped, so a request that hangs holds nothing up.
    pub fn poll(
        mut self,
        every: Duration,
        notice: impl FnMut() -> Option<Duration> + Send + 'static,
    ) -> Self {
        self.polls.push(Poll { every, notice: Box::new(notice) });
        self
    }

    /// The time at which this process ends, for a saver. Known from the first notice on, or from the start of a job with
    /// an end.
    pub fn deadline(&self) -> Deadline {
        self.deadline.clone()
    }

    /// Pauses the run of `handle` from now on.
    ///
    /// It is an error if a handler cannot be registered, a thread not be started, an interval is zero, or
    /// `SLURM_JOB_END_TIME` is not a whole number.
    pub fn pause(mut self, handle: &PauseHandle) -> io::Result<Self> {
        if let Some(end) = env::var_os("SLURM_JOB_END_TIME") {
            let left = until(&end.to_string_lossy(), SystemTime::now())?;
            self.deadline.end_within(left);
        }
        for poll in std::mem::take(&mut self.polls) {
            self.polling.push(poll.start(self.deadline.clone(), handle.clone())?);
        }
        #[cfg(unix)]
        {
            let (deadline, grace, run) = (self.deadline.clone(), self.grace, handle.clone());
            let is_end_known = env::var_os("SLURM_JOB_END_TIME").is_some();
            let watch = crate::signal::unix::Watch::start(move |name| {
                let is_short = name == "SIGTERM" || name == "SIGUSR1" && !is_end_known;
                if let Some(grace) = grace.filter(|_| is_short) {
                    deadline.end_within(grace);
                }
                run.pause(name);
            })?;
            self.watch = Some(watch);
        }
        Ok(self)
    }
}

impl Default for Preemption {
    fn default() -> Self {
        Preemption::new()
    }
}

impl Poll {
    /// Starts the thread, which ends when the sender is dropped.
    fn start(mut self, deadline: Deadline, run: PauseHandle) -> io::Result<Sender<()>> {
        if self.every.is_zero() {
            let text = "`Preemption::poll`: an interval of 0 never sleeps; give more";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let (sender, dropped) = channel();
        let poll = move || {
            loop {
                match catch_unwind(AssertUnwindSafe(|| (self.notice)())) {
                    Ok(Some(left)) => {
                        deadline.end_within(left);
                        run.pause("preemption notice");
                        break;
                    }
                    Ok(None) => {}
                    Err(payload) => {
                        run.pause(panicked(payload));
                        break;
                    }
                }
                if dropped.recv_timeout(self.every) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
        };
        thread::Builder::new().name("regimen-preemption".to_owned()).spawn(poll)?;
        Ok(sender)
    }
}

fn panicked(payload: Box<dyn Any + Send>) -> String {
    let text = format!("the closure of `Preemption::poll` panicked: {}", panic_text(&*payload));
    // A payload is free to panic when it is dropped.
    std::mem::forget(payload);
    text
}

/// The time from `now` to the end of a job, which SLURM gives in seconds since 1970.
fn until(end: &str, now: SystemTime) -> io::Result<Duration> {
    let seconds = end.parse().map_err(|_| {
        let text = format!("`SLURM_JOB_END_TIME` is {end:?}, and must be a whole number of seconds");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(Duration::from_secs(seconds).saturating_sub(now))
}

impl fmt::Debug for Preemption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Preemption { deadline, grace, .. } = self;
        f.debug_struct("Preemption").field("deadline", deadline).field("grace", grace).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    use std::process::Command;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Barrier};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Waits for the pause, and returns the time left in whole hours.
    fn hours_left(handle: &PauseHandle, deadline: &Deadline) -> Option<u64> {
        while !handle.is_asked() {
            thread::yield_now();
        }
        deadline.left().map(|left| left.as_secs_f64().div_euclid(3599.0) as u64)
    }

    #[test]
    fn the_first_notice_of_a_poll_pauses_the_run_and_gives_its_deadline() {
        let (calls, handle) = (Arc::new(AtomicU64::new(0)), PauseHandle::default());
        let called = Arc::clone(&calls);
        let preemption = Preemption::new().poll(Duration::from_millis(1), move || {
            (called.fetch_add(1, Ordering::SeqCst) == 3).then_some(HOUR)
        });
        let deadline = preemption.deadline();
        let _preemption = preemption.pause(&handle).unwrap();
        assert_eq!(hours_left(&handle, &deadline), Some(1));
        assert_eq!(calls.load(Ordering::SeqCst), 4);
    }

    #[test]
    fn a_poll_that_panics_pauses_the_run_and_gives_no_deadline() {
        let handle = PauseHandle::default();
        let poll = || -> Option<Duration> { std::panic::resume_unwind(Box::new("no such host")) };
        let preemption = Preemption::new().poll(HOUR, poll);
        let deadline = preemption.deadline();
        let _preemption = preemption.pause(&handle).unwrap();
        assert_eq!(hours_left(&handle, &deadline), None);
        let text = "the closure of `Preemption::poll` panicked: no such host";
        assert_eq!(panicked(Box::new("no such host")), text);
    }

    #[test]
    fn dropping_it_waits_for_no_request_and_ends_the_polling() {
        let (hangs, handle) = (Arc::new(Barrier::new(2)), PauseHandle::default());
        let hung = Arc::clone(&hangs);
        let preemption = Preemption::new().poll(Duration::from_millis(1), move || {
            hung.wait();
            None
        });
        drop(preemption.pause(&handle).unwrap());
        // The request comes back after that. Were there another, it would wait for ever and keep its half.
        hangs.wait();
        while Arc::strong_count(&hangs) > 1 {
            thread::yield_now();
        }
        assert!(!handle.is_asked());
    }

    #[test]
    fn an_interval_of_zero_is_an_error() {
        let result = Preemption::new().poll(Duration::ZERO, || None).pause(&PauseHandle::default());
        let text = "`Preemption::poll`: an interval of 0 never sleeps; give more";
        assert_eq!(result.unwrap_err().to_string(), text);
    }

    #[test]
    fn the_end_of_a_job_is_in_seconds_since_1970() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_250);
        let check = |end: &str, expected: Result<Duration, String>| {
            assert_eq!(until(end, now).map_err(|error| error.to_string()), expected, "{end}");
        };
        check("1800000120", Ok(Duration::from_millis(119_750)));
        check("1800000000", Ok(Duration::ZERO));
        let text = "`SLURM_JOB_END_TIME` is \"soon\", and must be a whole number of seconds";
        check("soon", Err(text.to_owned()));
    }

    #[cfg(unix)]
    #[test]
    fn sigterm_begins_the_grace_period_and_sigusr1_if_slurm_tells_no_end() {
        use signal_hook::consts::{SIGTERM, SIGUSR1};
        use signal_hook::low_level::raise;
        // A signal is one to every run of a process, those of the other tests included.
        let child = "REGIMEN_TEST_CHILD";
        let end = "SLURM_JOB_END_TIME";
        if env::var_os(child).is_none() {
            let in_five_hours = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + 5 * HOUR;
            let test = "preemption::tests::sigterm_begins_the_grace_period_and_sigusr1_if_slurm_tells_no_end";
            for end_time in [None, Some(in_five_hours.as_secs().to_string())] {
                let mut process = Command::new(env::current_exe().unwrap());
                process.args(["--exact", test]).env(child, "").env_remove(end);
                let output = process.envs(end_time.map(|time| (end, time))).output().unwrap();
                let told = String::from_utf8(output.stdout).unwrap();
                assert!(told.contains("test result: ok. 1 passed"), "{told}");
            }
            return;
        }
        let check = |signal, expected| {
            let (preemption, handle) = (Preemption::new().grace(HOUR), PauseHandle::default());
            let deadline = preemption.deadline();
            let _preemption = preemption.pause(&handle).unwrap();
            raise(signal).unwrap();
            assert_eq!(hours_left(&handle, &deadline), expected, "{signal}");
        };
        check(SIGUSR1, Some(if env::var_os(end).is_some() { 5 } else { 1 }));
        check(SIGTERM, Some(1));
    }
}
