//! The output of a progress bar, and printing that does not break it.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use console::Term;

use super::line::Line;
use super::terminal::Terminal;

/// Prints whole lines above the bars of a [`ProgressBar`](super::ProgressBar), or after its plain
/// lines. Clones print to the same place, from any thread.
///
/// It is a [`Write`](io::Write): each line appears once it is complete, and the rest when the printer is
/// dropped.
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
    Terminal(Arc<Mutex<Terminal>>),
    Lines(Arc<Mutex<dyn Write + Send>>),
}

impl Printer {
    pub(super) fn new(screen: Screen) -> Self {
        Printer { screen, partial: Vec::new() }
    }

    pub(super) fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Prints a line; a failure is ignored.
    pub(super) fn line(&self, text: &str) {
        let _ = self.screen.print(text);
    }

    /// Takes the bars off the screen while `print` runs, and draws them again. Its output must end with a
    /// line feed.
    pub fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        let _suspended = Suspended::new(&self.screen);
        print()
    }
}

/// Keeps the bars off the screen until it is dropped, also by a panic.
struct Suspended<'a>(&'a Screen);

impl<'a> Suspended<'a> {
    fn new(screen: &'a Screen) -> Self {
        if let Screen::Terminal(terminal) = screen {
            let _ = lock(terminal).suspend();
        }
        Suspended(screen)
    }
}

impl Drop for Suspended<'_> {
    fn drop(&mut self) {
        if let Screen::Terminal(terminal) = self.0 {
            let _ = lock(terminal).resume();
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
            Screen::Lines(out) => lock(out).flush(),
        }
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        if !self.partial.is_empty() {
            // A drop cannot return the error.
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
    /// Standard error: with bars if it is a terminal, else with plain lines.
    pub(super) fn standard_error() -> Self {
        let terminal = Term::stderr();
        match terminal.is_term() && !console::is_dumb() {
            true => Screen::Terminal(Arc::new(Mutex::new(Terminal::new(terminal)))),
            false => Screen::lines(io::stderr()),
        }
    }

    pub(super) fn lines(out: impl Write + Send + 'static) -> Self {
        Screen::Lines(Arc::new(Mutex::new(out)))
    }

    /// Prints `text`, and a line feed after it, in one write.
    pub(super) fn print(&self, text: &str) -> io::Result<()> {
        match self {
            Screen::Terminal(terminal) => lock(terminal).print(text),
            Screen::Lines(out) => lock(out).write_all(format!("{text}\n").as_bytes()),
        }
    }

    /// Shows `line` as the bar `index` of a terminal, or takes that bar away.
    pub(super) fn show(&self, index: usize, line: Option<Line>) {
        if let Screen::Terminal(terminal) = self {
            // Nobody needs to know whether that worked.
            let _ = lock(terminal).show(index, line);
        }
    }
}

/// Takes the lock, also after a panic: every drawing is of the whole.
fn lock<T: ?Sized>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
