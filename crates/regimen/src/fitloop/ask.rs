//! The question whether to go on.

use std::fmt;
use std::io::{self, BufRead, Write};

use crate::callback::{Event, Events, Ranks};
use crate::state::Phase;
use crate::{BoxError, Callback, State};

/// Asks after every few epochs of a fit whether to go on, and ends the fit if the answer is `n`.
///
/// ```text
/// continue loop ([y]/n): n
/// ```
///
/// Any other answer goes on, so does an empty line and the end of the input. It asks after the validation, and not
/// after the last epoch. An `n` is a final stop: the best weights are loaded and the totals printed as at the end of
/// the fit, and a restarted program does not train on. [`FitLoop::go_on`](super::FitLoop::go_on) clears it.
///
/// It asks on standard output, below the block of a table, and the fit waits for the answer. Among several
/// [ranks](crate::Run::peers) the first asks, and its answer counts for all. The others wait for it no longer than their
/// patience.
pub struct AskToContinue {
    every: u64,
    read_line: ReadLine,
    output: Box<dyn Write + Send>,
}

/// Appends a line of input.
type ReadLine = Box<dyn FnMut(&mut Vec<u8>) -> io::Result<usize> + Send>;

impl AskToContinue {
    /// Asks after every `epochs` epochs, counted since the beginning of the run. 0 never asks.
    pub fn every(epochs: u64) -> Self {
        let read_line = Box::new(|line: &mut Vec<u8>| io::stdin().lock().read_until(b'\n', line));
        AskToContinue { every: epochs, read_line, output: Box::new(io::stdout()) }
    }

    /// Reads answers from `input`, a line each, instead of standard input.
    pub fn input(self, mut input: impl BufRead + Send + 'static) -> Self {
        AskToContinue { read_line: Box::new(move |line| input.read_until(b'\n', line)), ..self }
    }

    /// Writes questions to `output` instead of standard output. A write that fails is ignored.
    pub fn output(self, output: impl Write + Send + 'static) -> Self {
        AskToContinue { output: Box::new(output), ..self }
    }

    /// Whether the answer is `n`.
    fn is_refused(&mut self) -> io::Result<bool> {
        let mut print = |text: &str| {
            let _ = self.output.write_all(text.as_bytes()).and_then(|()| self.output.flush());
        };
        print("continue loop ([y]/n): ");
        let mut answer = Vec::new();
        let read = (self.read_line)(&mut answer);
        print("\n");
        read.map(|_| matches!(&*answer, b"n" | b"n\n" | b"n\r\n"))
    }
}

impl<U: ?Sized> Callback<U> for AskToContinue {
    fn events(&self) -> Events {
        Events::of(&[Event::CycleEnd])
    }

    fn ranks(&self) -> Ranks {
        Ranks::First
    }

    /// It is called after those that print the epoch.
    fn writes_down(&self) -> bool {
        true
    }

    fn on_event(&mut self, _: Event, state: &mut State, _: &mut U) -> Result<(), BoxError> {
        let epochs = state.train_progress().epochs;
        let is_last = state.expected(Phase::Train).epochs == Some(epochs);
        if is_last || state.stopping().is_some() || epochs.checked_rem(self.every) != Some(0) {
            return Ok(());
        }
        match self.is_refused() {
            Ok(false) => {}
            Ok(true) => state.finish(format!("stopped after epoch {epochs}, as answered")),
            Err(error) => state.notify(format!("goes on after epoch {epochs}: no answer was read: {error}")),
        }
        Ok(())
    }
}

impl fmt::Debug for AskToContinue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskToContinue").field("every", &self.every).finish_non_exhaustive()
    }
}
