//! A terminal whose last lines are drawn again and again.

use std::fmt::Write;
use std::io;

use console::Term;

use super::line::Line;

/// The bars at the bottom of a terminal, below all that is printed.
///
/// The cursor rests at the start of the first bar. A terminal that gets narrower may wrap the bars, so
/// their number of rows is unknown; everything from the cursor on belongs to them.
pub(super) struct Terminal {
    device: Box<dyn Device>,
    bars: [Option<Line>; 3],
    /// The number of holders that keep the bars off the screen.
    suspended: usize,
}

/// The required operations of a terminal.
pub(super) trait Device: Send {
    /// Its width in columns.
    fn columns(&self) -> usize;

    /// Writes text and control sequences at once.
    fn write(&mut self, text: &str) -> io::Result<()>;
}

impl Terminal {
    pub(super) fn new(device: impl Device + 'static) -> Self {
        Terminal { device: Box::new(device), bars: Default::default(), suspended: 0 }
    }

    /// Shows `line` in the place of bar `index`, or no longer shows that bar.
    pub(super) fn show(&mut self, index: usize, line: Option<Line>) -> io::Result<()> {
        self.bars[index] = line;
        self.draw("")
    }

    /// Prints `text` above the bars, and a line feed after it.
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        self.draw(&format!("{text}\n"))
    }

    /// Takes the bars off the screen until [`resume`](Terminal::resume).
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        self.suspended += 1;
        self.device.write(CLEAR)
    }

    pub(super) fn resume(&mut self) -> io::Result<()> {
        self.suspended = self.suspended.saturating_sub(1);
        self.draw("")
    }

    /// Replaces the bars, after the text `above`.
    fn draw(&mut self, above: &str) -> io::Result<()> {
        if 0 < self.suspended {
            return self.device.write(above);
        }
        // The last column stays free: some terminals begin a new line once it is taken.
        let columns = self.device.columns().saturating_sub(1);
        let bars: Vec<_> = self.bars.iter().flatten().map(|line| line.fit(columns)).collect();
        let mut text = if above.is_empty() { "\r".to_owned() } else { format!("{CLEAR}{above}") };
        text += NO_WRAP;
        for (i, bar) in bars.iter().enumerate() {
            _ = write!(text, "{}{CLEAR_ROW}{bar}", if i == 0 { "" } else { "\n" });
        }
        text += if bars.is_empty() { CLEAR } else { CLEAR_BELOW };
        if let up @ 1.. = bars.len().saturating_sub(1) {
            _ = write!(text, "\u{1b}[{up}A");
        }
        self.device.write(&(text + "\r" + WRAP))
    }
}

/// Switches wrapping off, so that a row that does not fit is cut. A terminal may report its old width
/// after it became narrower, and a bar must not take a second row.
const NO_WRAP: &str = "\u{1b}[?7l";
/// Switches wrapping on again.
const WRAP: &str = "\u{1b}[?7h";
/// Clears a whole row, and the terminal's record of how the row was wrapped.
const CLEAR_ROW: &str = "\u{1b}[2K";
/// Clears the rest of a line and all below it. At the start of the screen some terminals keep the
/// cleared text as history, so it follows the drawn text.
const CLEAR_BELOW: &str = "\u{1b}[J";
/// The same without drawn text.
const CLEAR: &str = "\r \u{1b}[J\u{1b}[2K\r";

impl Device for Term {
    fn columns(&self) -> usize {
        self.size().1.into()
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        io::Write::write_all(self, text.as_bytes())
    }
}
