//! A job of several ranks under `mpirun`, of which some are killed.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use regimen::BoxError;

use super::rank::Training;

/// The launcher and the library of Open MPI.
pub(super) const LAUNCHER: &str = "REGIMEN_TEST_MPIRUN";

/// Far longer than any job that does not hang.
const LONGEST: Duration = Duration::from_secs(120);

/// A signal to a rank.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blow {
    pub(super) rank: u64,
    /// After the first step of all ranks, or after the blow before.
    pub(super) after: Duration,
    /// Wait for a checkpoint that is being written from then on.
    pub(super) in_save: bool,
    pub(super) signal: &'static str,
}

/// A finished job.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: Option<ExitStatus>,
    /// Blows that came before its end.
    pub(super) struck: usize,
    pub(super) took: Duration,
    /// The time from its first steps to its end.
    pub(super) trained: Duration,
    /// The longest time from a blow to the notice that the others go on.
    pub(super) lost: Duration,
    pub(super) lines: Vec<String>,
    pub(super) errors: String,
}

impl Training {
    /// Runs a job of `ranks`, and strikes it.
    pub(super) fn run(&self, ranks: u64, is_elastic: bool, blows: &[Blow]) -> Result<Ended, BoxError> {
        let launcher = env::var_os(LAUNCHER).ok_or("there is no launcher")?;
        let mut command = Command::new(launcher);
        command.args(["--allow-run-as-root", "--oversubscribe", "-n", &ranks.to_string()]);
        if is_elastic {
            command.args(["--with-ft", "ulfm", "-x", "REGIMEN_ELASTIC=1"]);
            let detector = ["--mca", "mpi_ft_detector", "true", "--mca", "mpi_ft_detector_timeout", "3"];
            if blows.iter().any(|blow| blow.signal == "STOP") {
                command.args(detector);
            }
        }
        command.arg(env::current_exe()?).args(self.args());
        command.env("REGIMEN_PATIENCE", "30").stdout(Stdio::piped()).stderr(Stdio::piped());
        let begun = Instant::now();
        let mut child = command.spawn()?;
        let mut stderr = child.stderr.take().ok_or("the job has no errors")?;
        let errors = thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let stdout = child.stdout.take().ok_or("the job has no output")?;
        let (sender, receiver) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut job = Heard { receiver, lines: Vec::new(), times: Vec::new(), is_over: false };
        job.until(begun + LONGEST, |lines| told(lines, "begun").count() as u64 == ranks);
        let first = Instant::now();
        let mut struck = Vec::new();
        let mut next = first;
        for blow in blows {
            next += blow.after;
            job.until(next, |_| false);
            if blow.in_save {
                let limit = Instant::now() + Duration::from_secs(2);
                while !job.is_over && !is_writing(self) && Instant::now() < limit {
                    job.until(Instant::now() + Duration::from_micros(200), |_| false);
                }
            }
            let pids: BTreeMap<&str, &str> = told(&job.lines, "pid").collect();
            let Some(pid) = pids.get(&*blow.rank.to_string()).filter(|_| !job.is_over) else { break };
            let has_ended = told(&job.lines, "end").next().is_some();
            if has_ended || !Command::new("kill").args(["-s", blow.signal, pid]).status()?.success() {
                break;
            }
            struck.push(Instant::now());
        }
        job.until(begun + LONGEST, |_| false);
        let status = if job.is_over { Some(child.wait()?) } else { None };
        if status.is_none() {
            // A rank that hangs is a child of the launcher, which ends them all.
            let pids: Vec<String> = told(&job.lines, "pid").map(|(_, pid)| pid.to_owned()).collect();
            for pid in pids {
                let _ = Command::new("kill").args(["-s", "KILL", &pid]).status();
            }
            child.kill()?;
            child.wait()?;
        }
        let errors = errors.join().unwrap_or_default();
        let (took, trained) = (begun.elapsed(), first.elapsed());
        let lost = struck.iter().filter_map(|blow| {
            let notices = job.lines.iter().zip(&job.times).filter(|(line, _)| line.starts_with("notice "));
            let mut later = notices.filter_map(|(_, time)| time.checked_duration_since(*blow));
            later.next()
        });
        let lost = lost.max().unwrap_or_default();
        Ok(Ended { status, struck: struck.len(), took, trained, lost, lines: job.lines, errors })
    }
}

/// Whether a checkpoint is being written.
fn is_writing(training: &Training) -> bool {
    let Ok(entries) = std::fs::read_dir(training.checkpoints()) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(".tmp-"))
}

/// The output so far.
struct Heard {
    receiver: Receiver<String>,
    lines: Vec<String>,
    /// When each came.
    times: Vec<Instant>,
    is_over: bool,
}

impl Heard {
    /// Reads until `limit`, the end of the output, or until `is_enough`.
    fn until(&mut self, limit: Instant, is_enough: impl Fn(&[String]) -> bool) {
        while !self.is_over && !is_enough(&self.lines) {
            let left = limit.saturating_duration_since(Instant::now());
            match self.receiver.recv_timeout(left) {
                Ok(line) => {
                    self.lines.push(line);
                    self.times.push(Instant::now());
                }
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => self.is_over = true,
            }
        }
    }
}

/// The first word after `word`, and the rest, in every line that begins with it.
pub(super) fn told<'l>(lines: &'l [String], word: &str) -> impl Iterator<Item = (&'l str, &'l str)> {
    let start = format!("{word} ");
    lines.iter().filter_map(move |line| {
        let rest = line.strip_prefix(&*start)?;
        Some(rest.split_once(' ').unwrap_or((rest, "")))
    })
}
