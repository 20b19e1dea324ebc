//! Counting allocator: measures peak memory, and refuses requests beyond a limit.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Memory limit per case. An allocation beyond it fails, which ends the process instead of
/// exhausting the machine.
const MOST: usize = 2 << 30;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system allocator with a count of allocated bytes.
#[derive(Debug)]
pub(crate) struct Counting;

/// Runs `call` and returns its result with the peak of bytes allocated, relative to the start.
pub(super) fn peak<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    let value = call();
    (value, PEAK.load(Relaxed).saturating_sub(before))
}

/// Counts `bytes` as allocated, or returns `false` if they exceed the limit.
fn take(bytes: usize) -> bool {
    let held = HELD.fetch_add(bytes, Relaxed) + bytes;
    if MOST < held {
        HELD.fetch_sub(bytes, Relaxed);
        return false;
    }
    PEAK.fetch_max(held, Relaxed);
    true
}

// SAFETY: every call is forwarded to `System` unchanged or answered with null, which means that
// memory is exhausted. Counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return null_mut();
        }
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return null_mut();
        }
        // SAFETY: as above. Zeroed pages from the system cost nothing until they are written.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above; `block` came from `System`, because every call is forwarded to it.
        unsafe { System.dealloc(block, layout) }
    }

    // `realloc` uses the default implementation: the old and the new block count at the same time.
}
