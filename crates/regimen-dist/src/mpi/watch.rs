//! The watchdog: ends a call, or the process, if a call waits too long.

use std::fmt;
use std::io::{self, Write};
use std::process;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use regimen_core::BoxError;
use regimen_core::error::Place;

use super::call::Call;

/// The exit status of a process that has waited too long.
const STATUS: i32 = 86;

type LastWords = Box<dyn FnOnce(&str) + Send>;

/// Watches the calls of one rank, on a thread that ends with this value.
pub(super) struct Watch(Arc<Mutex<Watched>>);

struct Watched {
    rank: u64,
    /// The number of the last call.
    number: u64,
    waits: Waits,
    place: Option<Place>,
    patience: Duration,
    last_words: Option<LastWords>,
}

/// How this rank waits for the others.
#[derive(Clone, Copy)]
enum Waits {
    No,
    /// It asks again and again whether they are here, and whether it is too late.
    Asking(Call),
    /// Inside a call that returns when they are here.
    Blocked(Call),
    /// It is too late: the call returns, and the process is to end.
    Gone(Call),
}

impl Watch {
    pub(super) fn start(rank: u64, patience: Duration) -> Result<Self, BoxError> {
        let watched = Watched { rank, number: 0, waits: Waits::No, place: None, patience, last_words: None };
        let watched = Arc::new(Mutex::new(watched));
        let weak = Arc::downgrade(&watched);
        thread::Builder::new().name("regimen-watch".into()).spawn(move || watch(&weak))?;
        Ok(Watch(watched))
    }

    /// This rank begins `call`, and [asks](Waiting::is_too_long) whether it is too late.
    pub(super) fn begin(&self, call: Call) -> Waiting<'_> {
        let mut watched = lock(&self.0);
        watched.number += 1;
        watched.waits = Waits::Asking(call);
        Waiting(self)
    }

    pub(super) fn set_place(&self, place: Place) {
        lock(&self.0).place = Some(place);
    }

    pub(super) fn set_rank(&self, rank: u64) {
        lock(&self.0).rank = rank;
    }

    pub(super) fn set_patience(&self, patience: Duration) {
        // A call that has just begun has not waited.
        lock(&self.0).patience = patience.max(Duration::from_millis(1));
    }

    pub(super) fn set_last_words(&self, last_words: LastWords) {
        lock(&self.0).last_words = Some(last_words);
    }

    /// Ends the process if a call was too late.
    pub(super) fn end_if_gone(&self, text: &str) {
        let watched = lock(&self.0);
        if matches!(watched.waits, Waits::Gone(_)) {
            end(watched, text);
        }
    }
}

/// A call under way. Once it is too late, it stays so when this is dropped.
pub(super) struct Waiting<'w>(&'w Watch);

impl Waiting<'_> {
    pub(super) fn is_too_long(&self) -> bool {
        matches!(lock(&self.0.0).waits, Waits::Gone(_))
    }

    /// From here on it cannot ask: all ranks are here, even if it was too late a moment ago.
    pub(super) fn blocks(&self) {
        let mut watched = lock(&self.0.0);
        if let Waits::Asking(call) | Waits::Gone(call) = watched.waits {
            watched.waits = Waits::Blocked(call);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut watched = lock(&self.0.0);
        if !matches!(watched.waits, Waits::Gone(_)) {
            watched.waits = Waits::No;
        }
    }
}

/// The message about a call that is too late.
impl fmt::Display for Waiting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&lock(&self.0.0).message())
    }
}

impl Watched {
    fn message(&self) -> String {
        let call = match self.waits {
            Waits::No => return String::new(),
            Waits::Asking(call) | Waits::Blocked(call) | Waits::Gone(call) => call,
        };
        let (number, waited) = (self.number, self.patience.as_secs_f64());
        format!("{call} number {number} has waited {waited} s: a rank hangs or is gone")
    }
}

fn watch(watched: &Weak<Mutex<Watched>>) {
    let (mut number, mut waited) = (0, Duration::ZERO);
    let mut tick = Duration::ZERO;
    loop {
        thread::sleep(tick);
        let Some(watched) = watched.upgrade() else { return };
        let mut watched = lock(&watched);
        if matches!(watched.waits, Waits::No) || watched.number != number {
            (number, waited) = (watched.number, Duration::ZERO);
        } else {
            // Not by the clock, which also runs while this process is stopped and waits for nobody.
            waited += tick;
        }
        tick = (watched.patience / 20).clamp(Duration::from_millis(1), Duration::from_secs(1));
        if waited < watched.patience {
            continue;
        }
        match watched.waits {
            Waits::No => {}
            Waits::Asking(call) => (watched.waits, waited) = (Waits::Gone(call), Duration::ZERO),
            Waits::Blocked(_) | Waits::Gone(_) => {
                let place = watched.place.map_or_else(String::new, |place| format!(" in {place}"));
                let text = watched.message() + &place;
                end(watched, &text);
            }
        }
    }
}

/// The one place where this crate prints and ends the process: the others wait for a rank that never answers, or
/// this thread is not the one that would return an error.
fn end(mut watched: MutexGuard<'_, Watched>, text: &str) -> ! {
    // A second thread that comes here would cut the last words short.
    watched.waits = Waits::No;
    let (rank, grace, last_words) = (watched.rank, watched.patience / 4, watched.last_words.take());
    let text = format!("rank {rank}: {text}");
    // The closure may set the next one.
    drop(watched);
    // Standard error may be closed.
    let _ = writeln!(io::stderr(), "{text}");
    if let Some(last_words) = last_words {
        // Its end, or its panic, ends the channel.
        if let Ok(done) = on_thread(move || last_words(&text)) {
            let _ = done.recv_timeout(grace);
        }
    }
    if rank != 0 {
        // The launcher ends the others as soon as one has ended, and rank 0 may be saving the post-mortem.
        thread::sleep(grace);
    }
    process::exit(STATUS)
}

fn on_thread(work: impl FnOnce() + Send + 'static) -> io::Result<Receiver<()>> {
    let (sender, receiver) = channel();
    thread::Builder::new().spawn(move || {
        let _until_the_end = sender;
        work();
    })?;
    Ok(receiver)
}

fn lock(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}
