//! Worker thread: makes items in order and sends them through a bounded queue.
//!
//! Dropping a [`Worker`] ends its thread, after the item in hand, and joins it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use regimen_core::BoxError;

/// A thread at work.
#[derive(Debug)]
pub(crate) struct Worker<T> {
    signals: Arc<Signals>,
    /// Taken before the thread is waited for: a thread that stands at a full queue wakes then.
    queue: Option<Receiver<T>>,
    thread: Option<JoinHandle<()>>,
}

/// The state that a worker shares with its owner.
// Aligned so that two workers, which write to theirs at every sample, share no cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Signals {
    stop: AtomicBool,
    sample: AtomicU64,
}

impl Signals {
    /// Whether the worker is to end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Publishes the index of the sample in hand.
    pub(crate) fn set_sample(&self, sample: usize) {
        self.sample.store(sample as u64, Ordering::Relaxed);
    }
}

/// The sending end of a worker's queue.
#[derive(Debug)]
pub(crate) struct Outlet<T> {
    queue: SyncSender<T>,
    signals: Arc<Signals>,
}

impl<T> Outlet<T> {
    /// Sends `thing`, waiting while the queue is full. Returns `false` if the receiver is gone.
    pub(crate) fn put(&self, thing: T) -> bool {
        self.queue.send(thing).is_ok()
    }

    pub(crate) fn signals(&self) -> &Signals {
        &self.signals
    }
}

/// Why nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Not within the given time; `sample` is the one in work.
    Late { sample: u64 },
    /// The worker has ended.
    Ended,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts a thread called `name` that runs `work`, with room for `queued` finished things.
    pub(crate) fn spawn(
        name: String,
        queued: usize,
        work: impl FnOnce(&Outlet<T>) + Send + 'static,
    ) -> Result<Self, BoxError> {
        let (sender, receiver) = sync_channel(queued);
        let signals = Arc::new(Signals::default());
        let outlet = Outlet { queue: sender, signals: signals.clone() };
        let thread = Builder::new()
            .name(name.clone())
            .spawn(move || work(&outlet))
            .map_err(|error| format!("cannot start the thread `{name}`: {error}"))?;
        Ok(Worker { signals, queue: Some(receiver), thread: Some(thread) })
    }

    /// The next thing, waiting for it.
    pub(crate) fn receive(&self) -> Result<T, Missing> {
        self.queue.as_ref().and_then(|queue| queue.recv().ok()).ok_or(Missing::Ended)
    }

    /// The next thing, waiting no longer than `bound`.
    pub(crate) fn receive_within(&self, bound: Duration) -> Result<T, Missing> {
        let Some(queue) = &self.queue else { return Err(Missing::Ended) };
        queue.recv_timeout(bound).map_err(|error| match error {
            RecvTimeoutError::Timeout => {
                Missing::Late { sample: self.signals.sample.load(Ordering::Relaxed) }
            }
            RecvTimeoutError::Disconnected => Missing::Ended,
        })
    }
}

impl<T> Worker<T> {
    /// Tells the thread to end, without waiting for it.
    pub(crate) fn stop(&mut self) {
        self.signals.stop.store(true, Ordering::Relaxed);
        self.queue = None;
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by the end of its queue.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_worker_ends_even_at_a_full_queue() {
        let alive = Arc::new(());
        let held = alive.clone();
        let worker = Worker::spawn("test".into(), 1, move |outlet: &Outlet<u32>| {
            let _held = held;
            let mut count = 0;
            while outlet.put(count) {
                count += 1;
            }
        });
        let worker = worker.unwrap();
        assert_eq!((worker.receive(), worker.receive()), (Ok(0), Ok(1)));
        drop(worker);
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn a_worker_that_panics_is_told_by_the_end_of_its_queue() {
        let worker = Worker::spawn("test".into(), 0, |outlet: &Outlet<u32>| {
            outlet.put(7);
            panic!("as the test wants it");
        });
        let worker = worker.unwrap();
        assert_eq!((worker.receive(), worker.receive()), (Ok(7), Err(Missing::Ended)));
    }
}
