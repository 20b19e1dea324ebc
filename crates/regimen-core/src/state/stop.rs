//! How a run is asked to stop, from inside and from outside.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Why and how a run was asked to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The reason given with the first request.
    pub reason: Cow<'static, str>,
    /// Whether a rule decided it (early stopping): such a stop is saved, and training that is
    /// called again, or restarted, ends at once with the same reason until
    /// [`Run::go_on`](crate::Run::go_on). Evaluation and prediction are possible all the same. Any
    /// other stop only pauses the run.
    pub is_final: bool,
}

/// Pauses a run from another thread. Clones ask the same run.
///
/// The step under way is finished; the run then ends as after [`State::stop`](crate::State::stop).
/// A request made between two calls is seen by the next one before its first step.
#[derive(Clone, Debug, Default)]
pub struct StopHandle(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Whether `reason` is there; what the loop looks at, without the lock.
    asked: AtomicBool,
    reason: Mutex<Option<Cow<'static, str>>>,
}

impl StopHandle {
    /// Asks the run to pause. The first reason wins.
    ///
    /// It takes a lock, so it is not for the body of a signal handler: have the handler set a
    /// flag or wake a thread that calls this.
    pub fn stop(&self, reason: impl Into<Cow<'static, str>>) {
        let mut asked = self.0.reason.lock().unwrap_or_else(PoisonError::into_inner);
        asked.get_or_insert(reason.into());
        self.0.asked.store(true, Ordering::Release);
    }

    /// Whether a request is waiting.
    pub fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::Acquire)
    }

    /// Takes the request, so that the next call runs again.
    pub(crate) fn take(&self) -> Option<Cow<'static, str>> {
        if !self.is_asked() {
            return None;
        }
        // Both change under the lock, so that a request made meanwhile is not lost.
        let mut asked = self.0.reason.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.asked.store(false, Ordering::Release);
        asked.take()
    }
}
