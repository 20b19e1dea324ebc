//! The terminal while the dashboard has it.

use std::cell::Cell;
use std::io::{self, IsTerminal, Stdout, Write, stdout};
use std::panic;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::{Frame, Terminal};

/// The terminal of the process, from [`open`](Screen::open) to the drop: the alternate screen, without echo.
///
/// A panic of any thread restores the terminal before its message is printed, and so does the drop. The screen is
/// closed from then on and draws no more.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

/// Whether a screen is open. There is one terminal in a process, and so at most one screen.
static OPEN: Mutex<bool> = Mutex::new(false);
static HOOK: Once = Once::new();

// Whether this thread draws, and so holds the lock of `OPEN`.
thread_local!(static DRAWS: Cell<bool> = const { Cell::new(false) });

impl Screen {
    /// Whether standard output and standard input are a terminal.
    pub(crate) fn is_there() -> bool {
        stdout().is_terminal() && io::stdin().is_terminal()
    }

    /// Takes the terminal. An error if there is none, or if it is taken.
    pub(crate) fn open() -> io::Result<Self> {
        if !Screen::is_there() {
            return Err(io::Error::other("standard input and output are not a terminal"));
        }
        let mut open = lock();
        if *open {
            return Err(io::Error::other("another dashboard has the terminal"));
        }
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |panicked| {
                close();
                before(panicked);
            }));
        });
        enable_raw_mode()?;
        *open = true;
        let entered = execute!(stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        drop(open);
        // A terminal that was half taken is given back.
        Ok(Screen { terminal: entered.inspect_err(|_| close())? })
    }

    /// Draws a picture. Returns false if a panic has closed the screen.
    pub(crate) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<bool> {
        let open = lock();
        if *open {
            DRAWS.set(true);
            let drawn = self.terminal.draw(draw);
            DRAWS.set(false);
            drawn?;
        }
        Ok(*open)
    }

    /// Waits up to `most` for a key or another size. An error if the terminal was closed.
    pub(crate) fn event(&self, most: Duration) -> io::Result<Option<Event>> {
        wait(most)?;
        if event::poll(Duration::ZERO)? { event::read().map(Some) } else { Ok(None) }
    }

    /// Forgets what is on the screen, so that all of it is drawn next.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.terminal.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        close();
    }
}

/// Restores the terminal, if a screen is open.
pub(crate) fn close() {
    // A panic of a thread that draws holds the lock itself.
    if DRAWS.replace(false) || std::mem::take(&mut *lock()) {
        restore();
    }
}

/// Waits for a key. crossterm does not return from reading a terminal that was closed, so this asks first.
#[cfg(unix)]
fn wait(most: Duration) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let (keyboard, closed) = (io::stdin(), PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
    let mut keys = [PollFd::new(&keyboard, PollFlags::IN)];
    let most = Timespec::try_from(most).map_err(io::Error::other)?;
    match poll(&mut keys, Some(&most)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    match keys.iter().any(|keys| keys.revents().intersects(closed)) {
        true => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the terminal was closed")),
        false => Ok(()),
    }
}

#[cfg(not(unix))]
fn wait(most: Duration) -> io::Result<()> {
    event::poll(most).map(drop)
}

/// A failure has no one to hear of it.
fn restore() {
    let _ = disable_raw_mode();
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    let _ = stdout().flush();
}

fn lock() -> MutexGuard<'static, bool> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}
