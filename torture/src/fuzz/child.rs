//! The parent of a worker process: starts it, reads its reports, and restarts it if it dies or hangs.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use regimen::BoxError;

/// The readers under fuzz and the time limit per case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fuzzed {
    pub(super) of: &'static str,
    patience: Duration,
}

/// Most cases take less than a millisecond.
pub(super) const READERS: Fuzzed = Fuzzed { of: "readers", patience: Duration::from_secs(10) };
pub(super) const CONTROLS: Fuzzed = Fuzzed { of: "controls", patience: Duration::from_secs(3) };

/// The verdict on a case.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Verdict {
    Held,
    Panic,
    Hang,
    /// The process ended: an abort, a stack overflow or an allocation failure.
    Crash,
    Mismatch,
    Memory,
}

/// The outcome of a finished case.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) seed: u64,
    pub(super) reader: String,
    pub(super) verdict: Verdict,
    /// Size of the input and peak memory, in bytes.
    pub(super) size: usize,
    pub(super) peak: usize,
    pub(super) is_read: bool,
    text: String,
}

impl Outcome {
    /// Returns an error if a promise was broken, with the seed that reproduces it.
    pub(super) fn verdict(&self) -> Result<(), String> {
        let Outcome { seed, reader, verdict, size, peak, text, .. } = self;
        let what = match verdict {
            Verdict::Held => return Ok(()),
            Verdict::Panic => format!("a panic: {text}"),
            Verdict::Hang => "no answer".to_owned(),
            Verdict::Crash => format!("the process ended: {text}"),
            Verdict::Mismatch => text.clone(),
            Verdict::Memory => format!("{peak} bytes of memory for {size}"),
        };
        Err(format!("{reader}: {what} (--fuzz 0 --seed {seed})"))
    }
}

/// Runs the cases of `seeds` in steps of `stride` until `end`, and sends the outcome of each.
pub(super) fn watch(
    fuzzed: Fuzzed,
    folder: &Path,
    seeds: Range<u64>,
    stride: u64,
    end: Instant,
    outcomes: &Sender<Outcome>,
) -> Result<(), BoxError> {
    let mut next = Some(seeds.start);
    while let Some(seed) = next.filter(|seed| seeds.contains(seed)) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let last = Watched::start(fuzzed, folder, seed..seeds.end, stride, left)?.end(fuzzed, outcomes)?;
        next = last.and_then(|last| last.checked_add(stride));
    }
    Ok(())
}

/// A worker process.
struct Watched {
    child: Child,
    lines: Receiver<String>,
    /// The case under way: seed and reader.
    open: Option<(u64, String)>,
}

impl Watched {
    fn start(
        fuzzed: Fuzzed,
        folder: &Path,
        seeds: Range<u64>,
        stride: u64,
        time: Duration,
    ) -> Result<Self, BoxError> {
        fs::create_dir_all(folder)?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["fuzz", fuzzed.of])
            .arg(folder)
            .args([seeds.start, stride, seeds.end, time.as_millis() as u64].map(|n| n.to_string()));
        let mut child =
            command.env("RUST_BACKTRACE", "0").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("the process has no output")?;
        let (told, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.map(|line| told.send(line)).take_while(Result::is_ok).for_each(drop);
        });
        Ok(Watched { child, lines, open: None })
    }

    /// Reads reports until the process ends. Returns the seed of the case that ended it, or `None`
    /// if it finished its work.
    fn end(mut self, fuzzed: Fuzzed, outcomes: &Sender<Outcome>) -> Result<Option<u64>, BoxError> {
        let verdict = loop {
            match self.lines.recv_timeout(fuzzed.patience) {
                Ok(line) => self.hear(&line, outcomes)?,
                Err(RecvTimeoutError::Timeout) => break Verdict::Hang,
                Err(RecvTimeoutError::Disconnected) => break Verdict::Crash,
            }
        };
        if verdict == Verdict::Hang {
            self.child.kill()?;
        }
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut text)?;
        }
        let status = self.child.wait()?;
        let text = format!("{status}: {}", text.trim());
        let Some((seed, reader)) = self.open else {
            return if status.success() {
                Ok(None)
            } else {
                Err(format!("no case could be run: {text}").into())
            };
        };
        outcomes.send(Outcome { seed, reader, verdict, size: 0, peak: 0, is_read: false, text })?;
        Ok(Some(seed))
    }

    fn hear(&mut self, line: &str, outcomes: &Sender<Outcome>) -> Result<(), BoxError> {
        let unknown = || format!("the fuzz said `{line}`");
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["begin", seed, reader] => self.open = Some((seed.parse()?, reader.to_owned())),
            ["end", verdict, size, peak, read, text] => {
                let all = [Verdict::Held, Verdict::Panic, Verdict::Mismatch, Verdict::Memory];
                let verdict = all.into_iter().find(|known| format!("{known:?}") == verdict);
                let verdict = verdict.ok_or_else(unknown)?;
                let (seed, reader) = self.open.take().ok_or_else(unknown)?;
                let (size, peak, is_read) = (size.parse()?, peak.parse()?, read == "read");
                let text = text.to_owned();
                outcomes.send(Outcome { seed, reader, verdict, size, peak, is_read, text })?;
            }
            _ => return Err(unknown().into()),
        }
        Ok(())
    }
}
