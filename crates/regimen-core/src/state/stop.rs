//! Requests to stop a run, from inside and from outside.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A request to end, with the reason of the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A pause, of [`State::pause`](crate::State::pause) or a [`PauseHandle`]. A restarted run, or the
    /// next call, continues as if it had not been.
    Pause(Cow<'static, str>),
    /// A rule decided it, such as early stopping: [`State::finish`](crate::State::finish). It is saved.
    /// Training that is called again, or restarted, ends at once with the same reason until
    /// [`Run::go_on`](crate::Run::go_on). Evaluation and prediction are still possible.
    Finish(Cow<'static, str>),
}

impl Stop {
    /// The reason.
    pub fn reason(&self) -> &str {
        match self {
            Stop::Pause(reason) | Stop::Finish(reason) => reason,
        }
    }

    /// Whether it is [`Finish`](Stop::Finish).
    pub fn is_final(&self) -> bool {
        matches!(self, Stop::Finish(_))
    }
}

/// Pauses a run from another thread. Clones ask the same run.
///
/// The step under way is finished; the run then ends as after [`State::pause`](crate::State::pause).
/// A request made between two calls is seen by the next one before its first step.
#[derive(Clone, Debug, Default)]
pub struct PauseHandle(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Whether `reason` is set; the loop reads it without the lock.
    asked: AtomicBool,
    reason: Mutex<Option<Cow<'static, str>>>,
}

impl PauseHandle {
    /// Asks the run to pause. The first reason wins.
    ///
    /// It takes a lock, so do not call it in a signal handler: let the handler set a flag or wake a
    /// thread that calls this.
    pub fn pause(&self, reason: impl Into<Cow<'static, str>>) {
        let mut asked = self.0.reason.lock().unwrap_or_else(PoisonError::into_inner);
        asked.get_or_insert(reason.into());
        self.0.asked.store(true, Ordering::Release);
    }

    /// Whether a request is waiting.
    pub fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::Acquire)
    }

    /// Takes the request, so that the next call runs again.
    pub(crate) fn take_request(&self) -> Option<Cow<'static, str>> {
        if !self.is_asked() {
            return None;
        }
        // Both change under the lock, so that a request made meanwhile is not lost.
        let mut asked = self.0.reason.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.asked.store(false, Ordering::Release);
        asked.take()
    }
}
