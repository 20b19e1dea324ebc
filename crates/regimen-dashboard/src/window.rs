//! The thread that shows a run of this process.

use std::fmt;
use std::io;
use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{Event, KeyEvent};
use regimen::state::PauseHandle;

use crate::draw::draw;
use crate::look::Look;
use crate::model::{Condition, Model, SavedStep};
use crate::saved::SavedSteps;
use crate::screen::{self, MOMENT, Screen};
use crate::view::{Action, View};

/// The thread that has the terminal, and draws a model which the run updates.
///
/// The lock of the model is held for a change or a picture in memory, never for a file or the terminal. So the run waits
/// neither for a terminal that does not read nor for its user.
pub(crate) struct Window {
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    model: Model,
    /// Since the newest picture.
    has_changed: bool,
    is_closed: bool,
}

/// The time between two looks at the model. A key wakes the thread too.
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
        let shared = Arc::new(Mutex::new(Shared { model, has_changed: true, is_closed: false }));
        let mut shown = Showing {
            shared: shared.clone(),
            view: View::default(),
            run,
            saved: checkpoints.map(SavedSteps::in_dir),
            checkpoints: Vec::new(),
            interrupted: None,
        };
        let show = move || {
            // A terminal that fails is as one that was left.
            let _ = shown.show(screen);
        };
        let thread = thread::Builder::new().name("regimen-dashboard".to_owned()).spawn(show)?;
        Ok(Window { shared, thread: Some(thread) })
    }

    /// Changes the model.
    pub(crate) fn update(&self, update: impl FnOnce(&mut Model)) {
        let mut shared = lock(&self.shared);
        update(&mut shared.model);
        shared.has_changed = true;
    }

    /// Whether it no longer has the terminal: the user has left it, or it failed.
    pub(crate) fn was_left(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Gives the terminal back. Returns false if the terminal does not read, and so would make a writer wait: the thread is
    /// left alone then, and gives back the rest when the terminal reads again.
    pub(crate) fn close(&mut self) -> bool {
        lock(&self.shared).is_closed = true;
        let Some(thread) = self.thread.take() else { return true };
        let began = Instant::now();
        while !thread.is_finished() {
            if screen::PATIENCE <= began.elapsed() {
                return screen::close();
            }
            thread::sleep(MOMENT);
        }
        // A panic of the thread was printed by its hook.
        let _ = thread.join();
        true
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window").field("was_left", &self.was_left()).finish_non_exhaustive()
    }
}

/// The content of the thread.
struct Showing {
    shared: Arc<Mutex<Shared>>,
    view: View,
    run: PauseHandle,
    saved: Option<SavedSteps>,
    checkpoints: Vec<SavedStep>,
    /// The time of the newest Ctrl-C.
    interrupted: Option<Instant>,
}

impl Showing {
    /// Draws until the window is closed or the user leaves.
    fn show(&mut self, mut screen: Screen) -> io::Result<()> {
        let look = Look::of_environment();
        let mut drawn: Option<Instant> = None;
        while !lock(&self.shared).is_closed {
            let is_due = drawn.is_none_or(|drawn| REFRESH <= drawn.elapsed());
            if is_due && mem::take(&mut lock(&self.shared).has_changed) {
                self.look_at_checkpoints();
                let (shared, view) = (&self.shared, &self.view);
                if !screen.draw(|frame| draw(&lock(shared).model, view, look, frame))? {
                    return Ok(());
                }
                drawn = Some(Instant::now());
            }
            match screen.event(LOOK)? {
                Some(Event::Key(key)) => match self.press(key) {
                    None => {}
                    Some(Action::Quit) => return Ok(()),
                    Some(Action::Redraw) => screen.clear()?,
                    Some(Action::Pause) => self.pause("the key p in the dashboard"),
                    Some(Action::Interrupt) => self.interrupt(),
                },
                Some(Event::Resize(..)) => {}
                _ => continue,
            }
            // It is answered at once.
            drawn = None;
            lock(&self.shared).has_changed = true;
        }
        Ok(())
    }

    fn look_at_checkpoints(&mut self) {
        let Some(saved) = &mut self.saved else { return };
        let looked = saved.look(&mut self.checkpoints);
        let mut shared = lock(&self.shared);
        shared.model.checkpoints.clone_from(&self.checkpoints);
        if let Err(error) = looked {
            shared.model.notices.push("", &error);
            self.saved = None;
        }
    }

    fn press(&mut self, key: KeyEvent) -> Option<Action> {
        let shared = lock(&self.shared);
        self.view.press(key, &shared.model.metrics, shared.model.can_pause())
    }

    fn pause(&mut self, reason: &'static str) {
        self.run.pause(reason);
        lock(&self.shared).model.condition = Condition::Pausing;
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

/// The model is whole after a panic too: of a change, only the last part may be missing.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
