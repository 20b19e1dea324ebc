//! Where a progress bar is shown, and how others print without breaking it.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressDrawTarget};

/// Prints whole lines above the bars of a [`ProgressBar`](super::ProgressBar), or after its plain
/// lines. Clones print to the same place, from any thread.
///
/// It is a [`Write`](io::Write): what is written appears line by line, once a line is complete, or
/// when it is dropped.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// # let bar = regimen::callback::ProgressBar::new();
/// use std::io::Write;
/// let mut printer = bar.printer();
/// writeln!(printer, "warming up")?;
/// printer.suspend(|| println!("what prints by itself goes in here"));
/// # Ok(()) }
/// ```
pub struct Printer {
    screen: Screen,
    /// The beginning of a line whose end has not been written yet.
    partial: Vec<u8>,
}

/// A terminal with bars at its bottom, or anything that takes lines.
#[derive(Clone)]
pub(super) enum Screen {
    Terminal(MultiProgress),
    Lines(Arc<Mutex<dyn Write + Send>>),
}

impl Printer {
    pub(super) fn new(screen: Screen) -> Self {
        Printer { screen, partial: Vec::new() }
    }

    pub(super) fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Prints a line where nobody needs to know whether that worked.
    pub(super) fn line(&self, text: &str) {
        let _ = self.screen.print(text);
    }

    /// Takes the bars off the screen while `print` runs, and draws them again.
    pub fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        match &self.screen {
            Screen::Terminal(bars) => {
                // A panic must not cross the lock that is held meanwhile: bars would panic too.
                let print = std::panic::AssertUnwindSafe(print);
                match bars.suspend(|| std::panic::catch_unwind(print)) {
                    Ok(result) => result,
                    Err(payload) => std::panic::resume_unwind(payload),
                }
            }
            Screen::Lines(_) => print(),
        }
    }
}

impl Write for Printer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.partial.extend_from_slice(bytes);
        if let Some(end) = self.partial.iter().rposition(|&byte| byte == b'\n') {
            let rest = self.partial.split_off(end + 1);
            let lines = std::mem::replace(&mut self.partial, rest);
            self.screen.print(&String::from_utf8_lossy(&lines[..end]))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &self.screen {
            Screen::Terminal(_) => Ok(()),
            Screen::Lines(out) => out.lock().unwrap_or_else(PoisonError::into_inner).flush(),
        }
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        if !self.partial.is_empty() {
            // Nobody is left to be told that it cannot be printed.
            let _ = self.screen.print(&String::from_utf8_lossy(&self.partial));
        }
    }
}

impl Clone for Printer {
    fn clone(&self) -> Self {
        Printer::new(self.screen.clone())
    }
}

impl fmt::Debug for Printer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Printer").finish_non_exhaustive()
    }
}

impl Screen {
    /// Standard error: with bars where it is a terminal, else with plain lines.
    pub(super) fn standard_error() -> Self {
        let target = ProgressDrawTarget::stderr();
        match target.is_hidden() || !io::stderr().is_terminal() {
            true => Screen::lines(io::stderr()),
            false => Screen::Terminal(MultiProgress::with_draw_target(target)),
        }
    }

    pub(super) fn lines(out: impl Write + Send + 'static) -> Self {
        Screen::Lines(Arc::new(Mutex::new(out)))
    }

    /// Prints `text`, and a line feed after it, in one write.
    pub(super) fn print(&self, text: &str) -> io::Result<()> {
        match self {
            Screen::Terminal(bars) => bars.println(text),
            Screen::Lines(out) => {
                let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
                out.write_all(format!("{text}\n").as_bytes())
            }
        }
    }
}
