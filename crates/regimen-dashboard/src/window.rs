//! The thread that shows a run of this process.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::Event;
use regimen::state::PauseHandle;

use crate::draw::draw;
use crate::look::Look;
use crate::model::{Condition, Model};
use crate::saved::SavedSteps;
use crate::screen::{self, Screen};
use crate::view::{Action, View};

/// The thread that has the terminal, and draws a model which the run updates.
///
/// Updates wait in a queue, so the run waits neither for the terminal nor for its user.
pub(crate) struct Window {
    updates: Option<Sender<Update>>,
    thread: Option<JoinHandle<()>>,
    /// It no longer has the terminal: the user has left it, or it failed.
    was_left: Arc<AtomicBool>,
}

type Update = Box<dyn FnOnce(&mut Model) + Send>;

/// The time between two looks at the queue. A key wakes the thread too.
const LOOK: Duration = Duration::from_millis(50);
/// The least time between two pictures.
const REFRESH: Duration = Duration::from_millis(100);
/// The time in which a second Ctrl-C is the first one, held down.
const ECHO: Duration = Duration::from_millis(500);
/// The exit status that shells report for a process ended by SIGINT.
const INTERRUPTED: i32 = 130;

impl Window {
    /// Takes the terminal.
    pub(crate) fn open(model: Model, run: PauseHandle, checkpoints: Option<&Path>) -> io::Result<Self> {
        let screen = Screen::open()?;
        let (updates, received) = channel();
        let was_left = Arc::new(AtomicBool::new(false));
        let saved = checkpoints.map(SavedSteps::in_dir);
        let mut shown = Showing { model, view: View::default(), run, saved, interrupted: None };
        let left = Left(was_left.clone());
        let show = move || {
            let _left = left;
            // A terminal that fails is as one that was left.
            let _ = shown.show(screen, &received);
        };
        let thread = thread::Builder::new().name("regimen-dashboard".to_owned()).spawn(show)?;
        Ok(Window { updates: Some(updates), thread: Some(thread), was_left })
    }

    /// Changes the model some time later.
    pub(crate) fn update(&self, update: impl FnOnce(&mut Model) + Send + 'static) {
        if let Some(updates) = &self.updates {
            // A window that was left takes no updates.
            let _ = updates.send(Box::new(update));
        }
    }

    pub(crate) fn was_left(&self) -> bool {
        self.was_left.load(Ordering::Relaxed)
    }

    /// Gives the terminal back.
    pub(crate) fn close(&mut self) {
        self.updates = None;
        // A panic of the thread was printed by its hook.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window").field("was_left", &self.was_left).finish_non_exhaustive()
    }
}

/// Tells that the thread has ended, however it did.
struct Left(Arc<AtomicBool>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The content of the thread.
struct Showing {
    model: Model,
    view: View,
    run: PauseHandle,
    saved: Option<SavedSteps>,
    /// The time of the newest Ctrl-C.
    interrupted: Option<Instant>,
}

impl Showing {
    /// Draws until the queue is closed or the user leaves.
    fn show(&mut self, mut screen: Screen, updates: &Receiver<Update>) -> io::Result<()> {
        let look = Look::of_environment();
        let (mut drawn, mut has_changed): (Option<Instant>, _) = (None, true);
        loop {
            loop {
                match updates.try_recv() {
                    Ok(update) => {
                        update(&mut self.model);
                        has_changed = true;
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            if has_changed && drawn.is_none_or(|drawn| REFRESH <= drawn.elapsed()) {
                if let Some(saved) = &mut self.saved
                    && let Err(error) = saved.look(&mut self.model.checkpoints)
                {
                    self.model.notices.push("", error);
                    self.saved = None;
                }
                if !screen.draw(|frame| draw(&self.model, &self.view, look, frame))? {
                    return Ok(());
                }
                (drawn, has_changed) = (Some(Instant::now()), false);
            }
            match screen.event(LOOK)? {
                Some(Event::Key(key)) => {
                    match self.view.press(key, &self.model.metrics, self.model.can_pause()) {
                        None => {}
                        Some(Action::Quit) => return Ok(()),
                        Some(Action::Redraw) => screen.clear()?,
                        Some(Action::Pause) => self.pause("the key p in the dashboard"),
                        Some(Action::Interrupt) => self.interrupt(),
                    }
                    // A key is answered at once.
                    (drawn, has_changed) = (None, true);
                }
                Some(Event::Resize(..)) => (drawn, has_changed) = (None, true),
                _ => {}
            }
        }
    }

    fn pause(&mut self, reason: &'static str) {
        self.run.pause(reason);
        self.model.condition = Condition::Pausing;
    }

    /// Ctrl-C: the terminal makes no signal of it while it is read key by key.
    fn interrupt(&mut self) {
        let before = self.interrupted.replace(Instant::now());
        match before {
            None => self.pause("Ctrl-C"),
            Some(before) if before.elapsed() < ECHO => self.interrupted = Some(before),
            Some(_) => {
                screen::close();
                std::process::exit(INTERRUPTED);
            }
        }
    }
}
