//! An allocator that counts what is held, and refuses what no file can be worth.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// More than any case may take. A call for more fails, which ends the process and not the machine.
const MOST: usize = 2 << 30;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, with a count of what is held.
#[derive(Debug)]
pub(crate) struct Counting;

/// The most bytes that were held at a time while `call` ran, beyond those held before.
pub(super) fn peak<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    let value = call();
    (value, PEAK.load(Relaxed).saturating_sub(before))
}

/// Counts `bytes` as held, unless they are too many.
fn take(bytes: usize) -> bool {
    let held = HELD.fetch_add(bytes, Relaxed) + bytes;
    if MOST < held {
        HELD.fetch_sub(bytes, Relaxed);
        return false;
    }
    PEAK.fetch_max(held, Relaxed);
    true
}

// SAFETY: every call goes on to `System` as it came, or is answered with the null that says that
// there is no memory; counting neither allocates nor panics.
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
        // SAFETY: as above. Asked for as such, zeroed pages cost nothing before they are written.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above; `block` came from `System`, because every call goes on to it.
        unsafe { System.dealloc(block, layout) }
    }

    // Growing is counted as the default does it: old and new are there at once.
}
