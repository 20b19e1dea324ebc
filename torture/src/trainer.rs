//! The parent of a training process: starts it and reads its reports.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use regimen::BoxError;

use crate::train::Training;

/// A running training process.
#[derive(Debug)]
pub(crate) struct Trainer {
    child: Child,
    output: BufReader<ChildStdout>,
    heard: String,
}

/// A finished training process.
#[derive(Debug)]
pub(crate) struct Over {
    pub(crate) status: ExitStatus,
    /// The lines of its output.
    pub(crate) lines: Vec<String>,
    pub(crate) errors: String,
}

impl Training {
    /// Starts the process.
    pub(crate) fn start(&self) -> Result<Trainer, BoxError> {
        Trainer::start(Command::new(std::env::current_exe()?).args(self.args()))
    }

    /// Runs the process to its end.
    pub(crate) fn run(&self) -> Result<Over, BoxError> {
        self.start()?.end()
    }
}

impl Trainer {
    /// Starts a command that trains.
    pub(crate) fn start(command: &mut Command) -> Result<Self, BoxError> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("the process has no output")?;
        Ok(Trainer { child, output: BufReader::new(output), heard: String::new() })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that begins with `word`.
    pub(crate) fn wait_for(&mut self, word: &str) -> Result<(), BoxError> {
        let mut line = String::new();
        while !line.starts_with(word) {
            line.clear();
            if self.output.read_line(&mut line)? == 0 {
                return Err(format!("the training process ended before it said `{word}`").into());
            }
            self.heard += &line;
        }
        Ok(())
    }

    /// Kills the process with SIGKILL.
    pub(crate) fn kill(mut self) -> Result<Over, BoxError> {
        self.child.kill()?;
        self.end()
    }

    /// Waits for the end of the process.
    pub(crate) fn end(mut self) -> Result<Over, BoxError> {
        let mut errors = String::new();
        self.output.read_to_string(&mut self.heard)?;
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut errors)?;
        }
        let lines = self.heard.lines().map(str::to_owned).collect();
        Ok(Over { status: self.child.wait()?, lines, errors })
    }
}

impl Over {
    /// The first number of every line that begins with `word`.
    pub(crate) fn told(&self, word: &str) -> impl Iterator<Item = u64> {
        self.words(word).filter_map(|words| words.first()?.parse().ok())
    }

    /// The words after `word` in every line that begins with it.
    pub(crate) fn words(&self, word: &str) -> impl Iterator<Item = Vec<&str>> {
        self.lines.iter().filter_map(move |line| {
            let mut words = line.split(' ');
            (words.next() == Some(word)).then(|| words.collect())
        })
    }

    /// Returns an error unless the process ended with success.
    pub(crate) fn success(&self) -> Result<(), String> {
        if self.status.success() {
            return Ok(());
        }
        Err(format!("an undisturbed training ended with {}: {}", self.status, self.errors.trim()))
    }
}
