//! The terminal while the dashboard has it.

use std::cell::Cell;
use std::io::{self, IsTerminal, Stdout, Write, stdout};
use std::mem;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError, TryLockError};
use std::thread::sleep;
use std::time::{Duration, Instant};

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
///
/// A thread that writes to a terminal that does not read waits, and holds the lock of `OPEN`. No other thread waits for
/// it longer than [`PATIENCE`].
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    /// Whether the newest wait had an event: crossterm may have read more than one, and the system has no more then.
    had_event: bool,
}

/// The longest wait for a thread that writes to the terminal.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
/// The time between two looks at such a thread.
pub(crate) const MOMENT: Duration = Duration::from_millis(5);

/// Whether a screen is open. There is one terminal in a process, and so at most one screen.
static OPEN: Mutex<bool> = Mutex::new(false);
/// Whether the thread that holds the lock must close the screen when its write returns.
static MUST_CLOSE: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

// Whether this thread draws, and so holds the lock of `OPEN`.
thread_local!(static DRAWS: Cell<bool> = const { Cell::new(false) });

impl Screen {
    /// Whether standard output and standard input are a terminal, of which this process is in the foreground.
    pub(crate) fn is_there() -> bool {
        stdout().is_terminal() && io::stdin().is_terminal() && is_in_foreground()
    }

    /// Takes the terminal. An error if there is none, or if it is taken.
    pub(crate) fn open() -> io::Result<Self> {
        if !Screen::is_there() {
            let why = "standard input and output are not a terminal with this process in the foreground";
            return Err(io::Error::other(why));
        }
        let open = lock_within(PATIENCE);
        let mut open = open.ok_or_else(|| io::Error::other("the terminal does not read"))?;
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
        MUST_CLOSE.store(false, Ordering::SeqCst);
        let entered = execute!(stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        drop(open);
        // A terminal that was half taken is given back.
        Ok(Screen { terminal: entered.inspect_err(|_| _ = close())?, had_event: false })
    }

    /// Draws a picture. Returns false if a panic has closed the screen.
    pub(crate) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<bool> {
        let mut open = lock();
        if *open {
            DRAWS.set(true);
            let drawn = self.terminal.draw(draw);
            DRAWS.set(false);
            drawn?;
        }
        if MUST_CLOSE.swap(false, Ordering::SeqCst) && mem::take(&mut *open) {
            restore();
        }
        Ok(*open)
    }

    /// Waits up to `most` for a key or another size. An error if the terminal was closed.
    pub(crate) fn event(&mut self, most: Duration) -> io::Result<Option<Event>> {
        wait(if self.had_event { Duration::ZERO } else { most })?;
        self.had_event = event::poll(Duration::ZERO)?;
        if self.had_event { event::read().map(Some) } else { Ok(None) }
    }

    /// Forgets what is on the screen, so that all of it is drawn next.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        let open = lock();
        if *open { self.terminal.clear() } else { Ok(()) }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        close();
    }
}

/// Restores the terminal, if a screen is open. If it does not read, only its modes are restored, and the rest when
/// it reads again; returns false then.
pub(crate) fn close() -> bool {
    // A panic of a thread that draws holds the lock itself.
    if DRAWS.replace(false) {
        restore();
        return true;
    }
    let Some(mut open) = lock_within(PATIENCE) else {
        MUST_CLOSE.store(true, Ordering::SeqCst);
        let _ = disable_raw_mode();
        return false;
    };
    if mem::take(&mut *open) {
        restore();
    }
    true
}

/// A process in the background that changes the terminal is stopped, and the training with it.
#[cfg(unix)]
fn is_in_foreground() -> bool {
    use rustix::process::getpgrp;
    use rustix::termios::tcgetpgrp;

    // A terminal that does not control this process, or whose foreground is in another container, stops nobody.
    tcgetpgrp(io::stdin()).map_or(true, |foreground| foreground == getpgrp())
}

#[cfg(not(unix))]
fn is_in_foreground() -> bool {
    true
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

/// `None` if another thread has the lock for so long.
fn lock_within(most: Duration) -> Option<MutexGuard<'static, bool>> {
    let began = Instant::now();
    loop {
        match OPEN.try_lock() {
            Ok(open) => return Some(open),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if most <= began.elapsed() => return None,
            Err(TryLockError::WouldBlock) => sleep(MOMENT),
        }
    }
}

fn lock() -> MutexGuard<'static, bool> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}
