//! Handlers that wake a thread, and the thread that asks the run to pause.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use regimen_core::StopHandle;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::{signal_name, unregister};
use signal_hook::{SigId, flag};

const SIGNALS: [i32; 3] = [SIGTERM, SIGINT, SIGUSR1];
/// What shells report of a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Registered handlers and the thread they wake.
#[derive(Debug)]
pub(super) struct Watch {
    /// Tells the thread to end.
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    second_interrupt: Vec<SigId>,
    _seat: Seat,
}

impl Watch {
    pub(super) fn start(run: StopHandle) -> io::Result<Self> {
        let seat = Seat::take()?;
        let mut signals = Signals::new(SIGNALS)?;
        let handle = signals.handle();
        let watch = move || {
            for signal in signals.forever() {
                run.stop(signal_name(signal).unwrap_or("signal"));
            }
        };
        let thread = thread::Builder::new().name("regimen-signals".to_owned()).spawn(watch)?;
        let mut watch = Watch { handle, thread: Some(thread), second_interrupt: Vec::new(), _seat: seat };
        // Handlers are called in the order of their registration, so the first SIGINT finds the
        // flag down and raises it. It works even while the run or the thread hangs.
        let interrupted = Arc::new(AtomicBool::new(false));
        let end = flag::register_conditional_shutdown(SIGINT, INTERRUPTED, Arc::clone(&interrupted))?;
        watch.second_interrupt.push(end);
        watch.second_interrupt.push(flag::register(SIGINT, interrupted)?);
        Ok(watch)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for id in self.second_interrupt.drain(..) {
            unregister(id);
        }
        self.handle.close();
        // A panic of the thread has nothing to say: all it does is set a flag.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// One watch among those alive. While there is none, the signals do what they do by default:
/// an unregistered handler alone would leave them without any effect.
#[derive(Debug)]
struct Seat;

struct Seats {
    taken: usize,
    registered: bool,
}

static SEATS: Mutex<Seats> = Mutex::new(Seats { taken: 0, registered: false });
static IDLE: AtomicBool = AtomicBool::new(true);

impl Seat {
    fn take() -> io::Result<Self> {
        let mut seats = SEATS.lock().unwrap_or_else(PoisonError::into_inner);
        if !seats.registered {
            for signal in SIGNALS {
                flag::register_conditional_default(signal, &IDLE)?;
            }
            seats.registered = true;
        }
        seats.taken += 1;
        IDLE.store(false, Ordering::SeqCst);
        Ok(Seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = SEATS.lock().unwrap_or_else(PoisonError::into_inner);
        seats.taken -= 1;
        IDLE.store(seats.taken == 0, Ordering::SeqCst);
    }
}
