//! Sums of threads allocate only at the first call of their kind and length. A program of its own, for its allocator.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use regimen_core::engine::Bucket;
use regimen_core::peers::Peers;
use regimen_test::peers::{Threads, on_ranks};

struct Counting;

/// Allocations of the threads that are ranks.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_RANK: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: all requests go to the system's allocator as they are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(IS_RANK.get().into(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn sums_of_threads_allocate_at_the_first_call_of_their_kind_and_length_alone() {
    let counts = on_ranks(Threads::of(2, Duration::from_secs(300)), |peers| {
        IS_RANK.set(true);
        let (mut single, mut double) = (vec![1.0_f32; 1_000], vec![1.0_f64; 500]);
        // The number of allocations of all ranks so far.
        let mut sums = |calls| {
            for _ in 0..calls {
                peers.sum(Bucket::F32(&mut single)).unwrap();
                peers.sum(Bucket::F64(&mut double)).unwrap();
                peers.sum(Bucket::F64(&mut double[..3])).unwrap();
            }
            peers.commit().unwrap();
            let allocations = ALLOCATIONS.load(Relaxed);
            peers.commit().unwrap();
            allocations
        };
        [0, 1, 100].map(&mut sums)
    });
    for count in counts {
        let [before, first, later] = count.unwrap();
        assert!(before < first, "the first sums allocate, so a count of 0 means a broken counter");
        assert_eq!(first, later);
    }
}
