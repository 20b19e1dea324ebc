//! Handlers that wake a thread, and the thread that asks for a pause.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::{exit, signal_name};

const SIGNALS: [i32; 3] = [SIGTERM, SIGINT, SIGUSR1];
/// The exit status that shells report for a process ended by SIGINT.
const INTERRUPTED: i32 = 130;
/// A signal that comes again within this time is the same one, delivered twice.
const ECHO: Duration = Duration::from_millis(500);

/// Registered handlers and the thread they wake.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Tells the thread to end.
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    _alive: Alive,
}

impl Watch {
    /// Calls `pause` with the name of a signal that asks for a pause.
    pub(crate) fn start(mut pause: impl FnMut(&'static str) + Send + 'static) -> io::Result<Self> {
        let alive = Alive::register()?;
        let mut signals = Signals::new(SIGNALS)?;
        let handle = signals.handle();
        let watch = move || {
            let mut heard = Heard::default();
            for signal in signals.forever() {
                match heard.action(signal, Instant::now()) {
                    Action::Pause => pause(signal_name(signal).unwrap_or("signal")),
                    Action::Nothing => {}
                    // This thread waits for nothing but signals, so it works while the run hangs.
                    Action::Exit => exit(INTERRUPTED),
                }
            }
        };
        let thread = thread::Builder::new().name("regimen-signals".to_owned()).spawn(watch)?;
        Ok(Watch { handle, thread: Some(thread), _alive: alive })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.handle.close();
        // A panic of the thread has nothing to say: all it does is set a flag.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// When each signal was heard last, its echoes left out.
#[derive(Debug, Default)]
struct Heard(BTreeMap<i32, Instant>);

/// The action of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Pause,
    Nothing,
    Exit,
}

impl Heard {
    fn action(&mut self, signal: i32, now: Instant) -> Action {
        let before = self.0.get(&signal).copied();
        if before.is_some_and(|before| now.saturating_duration_since(before) < ECHO) {
            return Action::Nothing;
        }
        self.0.insert(signal, now);
        if signal == SIGINT && before.is_some() { Action::Exit } else { Action::Pause }
    }
}

/// One watch among those alive. While there is none, the signals do what they do by default:
/// an unregistered handler alone would leave them without any effect.
#[derive(Debug)]
struct Alive;

struct Watches {
    alive: usize,
    registered: bool,
}

static WATCHES: Mutex<Watches> = Mutex::new(Watches { alive: 0, registered: false });
static IDLE: AtomicBool = AtomicBool::new(true);

impl Alive {
    fn register() -> io::Result<Self> {
        let mut watches = WATCHES.lock().unwrap_or_else(PoisonError::into_inner);
        if !watches.registered {
            for signal in SIGNALS {
                flag::register_conditional_default(signal, &IDLE)?;
            }
            watches.registered = true;
        }
        watches.alive += 1;
        IDLE.store(false, Ordering::SeqCst);
        Ok(Alive)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let mut watches = WATCHES.lock().unwrap_or_else(PoisonError::into_inner);
        watches.alive -= 1;
        IDLE.store(watches.alive == 0, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what is done at each of `signals`, which come at so many milliseconds.
    fn check(signals: &[(i32, u64, Action)]) {
        let (mut heard, start) = (Heard::default(), Instant::now());
        for &(signal, at, expected) in signals {
            let done = heard.action(signal, start + Duration::from_millis(at));
            assert_eq!(done, expected, "{signal} at {at} of {signals:?}");
        }
    }

    #[test]
    fn a_signal_within_half_a_second_is_an_echo_and_a_later_interrupt_is_the_second() {
        use Action::*;
        check(&[(SIGINT, 0, Pause), (SIGINT, 0, Nothing), (SIGINT, 499, Nothing), (SIGINT, 500, Exit)]);
        check(&[(SIGINT, 7, Pause), (SIGINT, 60_007, Exit)]);
        // What is held down is not put off for ever.
        check(&[(SIGINT, 0, Pause), (SIGINT, 300, Nothing), (SIGINT, 600, Exit)]);
        check(&[(SIGTERM, 0, Pause), (SIGTERM, 1, Nothing), (SIGTERM, 500, Pause), (SIGTERM, 999, Nothing)]);
        check(&[(SIGUSR1, 0, Pause), (SIGTERM, 1, Pause), (SIGINT, 2, Pause), (SIGUSR1, 3, Nothing)]);
    }
}
