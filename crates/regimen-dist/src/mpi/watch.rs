//! The watchdog: ends the process if a call waits too long.

use std::io::{self, Write};
use std::process;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use regimen_core::BoxError;

use super::call::Call;

/// The exit status of a process that has waited too long.
const STATUS: i32 = 86;

type LastWords = Box<dyn FnOnce(&str) + Send>;

/// Watches the calls of one rank, on a thread that ends with this value.
pub(super) struct Watch(Arc<Mutex<Watched>>);

struct Watched {
    rank: u64,
    /// The call under way.
    call: Option<Call>,
    /// Its number, or that of the last one.
    number: u64,
    patience: Duration,
    last_words: Option<LastWords>,
}

impl Watch {
    pub(super) fn start(rank: u64, patience: Duration) -> Result<Self, BoxError> {
        let watched = Watched { rank, call: None, number: 0, patience, last_words: None };
        let watched = Arc::new(Mutex::new(watched));
        let weak = Arc::downgrade(&watched);
        thread::Builder::new().name("regimen-watch".into()).spawn(move || watch(&weak))?;
        Ok(Watch(watched))
    }

    /// The call is under way until the value returned is dropped.
    pub(super) fn begin(&self, call: Call) -> Waiting<'_> {
        let mut watched = lock(&self.0);
        watched.number += 1;
        watched.call = Some(call);
        Waiting(self)
    }

    pub(super) fn set_patience(&self, patience: Duration) {
        // A call that has just begun has not waited.
        lock(&self.0).patience = patience.max(Duration::from_millis(1));
    }

    pub(super) fn set_last_words(&self, last_words: LastWords) {
        lock(&self.0).last_words = Some(last_words);
    }
}

/// A call under way.
pub(super) struct Waiting<'w>(&'w Watch);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.0.0).call = None;
    }
}

fn watch(watched: &Weak<Mutex<Watched>>) {
    let (mut number, mut waited) = (0, Duration::ZERO);
    let mut tick = Duration::ZERO;
    loop {
        thread::sleep(tick);
        let Some(watched) = watched.upgrade() else { return };
        let mut watched = lock(&watched);
        if watched.call.is_none() || watched.number != number {
            (number, waited) = (watched.number, Duration::ZERO);
        } else {
            // Not by the clock, which also runs while this process is stopped and waits for nobody.
            waited += tick;
        }
        let patience = watched.patience;
        match watched.call {
            Some(call) if waited >= patience => {
                let (rank, last_words) = (watched.rank, watched.last_words.take());
                // The closure may set the next one.
                drop(watched);
                let waited = patience.as_secs_f64();
                let text = format!(
                    "rank {rank}: {call} number {number} has waited {waited} s: a rank hangs or is gone"
                );
                end(text, last_words, patience);
            }
            _ => tick = (patience / 20).clamp(Duration::from_millis(1), Duration::from_secs(1)),
        }
    }
}

/// The one place where this crate prints and ends the process: the thread that would return an error is inside a
/// call of MPI that never returns.
fn end(text: String, last_words: Option<LastWords>, patience: Duration) -> ! {
    // Standard error may be closed.
    let _ = writeln!(io::stderr(), "{text}");
    if let Some(last_words) = last_words {
        // Its end, or its panic, ends the channel.
        if let Ok(done) = on_thread(move || last_words(&text)) {
            let _ = done.recv_timeout(patience);
        }
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
