//! Global state: the generator, and whether operations record their graph.
//!
//! In libtorch the generator belongs to the process. Here each thread has a separate one, so that concurrent
//! tests in one program do not disturb each other.

use std::cell::{Cell, RefCell};

use regimen_core::engine::Precision;
use regimen_core::random::Random;

use super::round::round;

thread_local! {
    static GENERATOR: RefCell<Random> = const { RefCell::new(Random::new(0)) };
    static RECORDING: Cell<bool> = const { Cell::new(true) };
    static HOST_READS: Cell<u64> = const { Cell::new(0) };
    static PRECISION: Cell<Precision> = const { Cell::new(Precision::F32) };
}

/// Seeds this thread's generator, from which initial weights and dropout are drawn.
pub fn manual_seed(seed: u64) {
    GENERATOR.set(Random::new(seed));
}

/// Number of reads from the device by engines on this thread, of one number or many at once: losses, norms
/// and copies of state.
pub fn host_reads() -> u64 {
    HOST_READS.get()
}

pub(super) fn note_host_read() {
    HOST_READS.set(HOST_READS.get() + 1);
}

/// Runs `f` without recording a graph: its results have no gradient.
pub fn without_gradients<R>(f: impl FnOnce() -> R) -> R {
    /// Restores the old setting if `f` panics too.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            RECORDING.set(self.0);
        }
    }
    let _restore = Restore(RECORDING.replace(false));
    f()
}

/// Runs `f` with the results of operations, and their gradients, rounded to `precision`. With
/// [`Precision::F32`] they stay in `f64`.
pub(super) fn in_precision<R>(precision: Precision, f: impl FnOnce() -> R) -> R {
    /// Restores the old one if `f` panics too.
    struct Restore(Precision);
    impl Drop for Restore {
        fn drop(&mut self) {
            PRECISION.set(self.0);
        }
    }
    let _restore = Restore(PRECISION.replace(precision));
    f()
}

/// The present precision of the results of operations.
pub(super) fn rounding() -> impl Fn(&mut Vec<f64>) + Send + Sync + Copy {
    let precision = PRECISION.get();
    move |values| values.iter_mut().for_each(|value| *value = round(*value, precision))
}

pub(super) fn is_recording() -> bool {
    RECORDING.get()
}

/// The next number in `[0, 1)` of this thread's generator.
pub(super) fn uniform() -> f64 {
    GENERATOR.with_borrow_mut(Random::uniform)
}
