//! What no module owns: the generator, and whether operations record their graph.
//!
//! In libtorch the generator belongs to the process. Here each thread has its own, so that tests
//! that run side by side in one program do not disturb each other.

use std::cell::{Cell, RefCell};

use regimen_core::Random;

thread_local! {
    static GENERATOR: RefCell<Random> = const { RefCell::new(Random::new(0)) };
    static RECORDING: Cell<bool> = const { Cell::new(true) };
}

/// Seeds this thread's generator, from which initial weights and dropout are drawn.
pub fn manual_seed(seed: u64) {
    GENERATOR.set(Random::new(seed));
}

/// Runs `f` without recording a graph: what it computes has no gradient.
pub fn without_gradients<R>(f: impl FnOnce() -> R) -> R {
    /// Puts the old setting back, after a panic in `f` too.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            RECORDING.set(self.0);
        }
    }
    let _restore = Restore(RECORDING.replace(false));
    f()
}

pub(super) fn is_recording() -> bool {
    RECORDING.get()
}

/// The next number in `[0, 1)` of this thread's generator.
pub(super) fn uniform() -> f64 {
    GENERATOR.with_borrow_mut(Random::uniform)
}
