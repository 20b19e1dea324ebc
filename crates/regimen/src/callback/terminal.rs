//! A terminal whose last lines are drawn again and again.

use std::io::{self, Write};

use console::Term;

use super::line::Line;

/// The bars at the bottom of a terminal, below all that is printed.
///
/// The cursor rests at the start of the first bar. When a terminal gets narrower it may wrap what it
/// shows, so nobody knows how many rows the bars take; but all from the cursor on is theirs, and is
/// cleared before they are drawn anew.
pub(super) struct Terminal {
    device: Box<dyn Device>,
    bars: [Option<Line>; 3],
    /// How many want the bars off the screen at the moment.
    suspended: usize,
}

/// What is needed of a terminal.
pub(super) trait Device: Send {
    /// How wide it is now.
    fn columns(&self) -> usize;

    /// Clears the cursor's line and all below it, writes `text` there, and puts the cursor at the start
    /// of the line `up` above the last.
    fn redraw(&mut self, text: &str, up: usize) -> io::Result<()>;
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
        self.device.redraw("", 0)
    }

    pub(super) fn resume(&mut self) -> io::Result<()> {
        self.suspended = self.suspended.saturating_sub(1);
        self.draw("")
    }

    /// Draws the bars, and before them what is to stay above.
    fn draw(&mut self, above: &str) -> io::Result<()> {
        if 0 < self.suspended {
            return if above.is_empty() { Ok(()) } else { self.device.redraw(above, 0) };
        }
        // The last column stays free: some terminals begin a new line once it is taken.
        let columns = self.device.columns().saturating_sub(1);
        let bars: Vec<_> = self.bars.iter().flatten().map(|line| line.fit(columns)).collect();
        self.device.redraw(&format!("{above}{}", bars.join("\n")), bars.len().saturating_sub(1))
    }
}

impl Device for Term {
    fn columns(&self) -> usize {
        self.size().1.into()
    }

    fn redraw(&mut self, text: &str, up: usize) -> io::Result<()> {
        self.write_all(b"\r")?;
        self.clear_to_end_of_screen()?;
        self.write_all(text.as_bytes())?;
        self.move_cursor_up(up)?;
        self.write_all(b"\r")?;
        Write::flush(self)
    }
}
