//! A flight recorder allocates nothing in a step. This is the file's only test, as the counter is global.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use regimen::callback::FlightRecorder;
use regimen::metric::Key;
use regimen::run::Train;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};

/// The system's allocator, with a count of its calls.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is handed on to the system's allocator as it came, and the counter needs no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Logs two numbers.
struct Logs;

impl TrainUnit for Logs {
    type Batch = u64;

    fn train_step(&mut self, state: &mut State, batch: u64) -> Result<(), BoxError> {
        state.log(Key::mean("train/loss"), batch as f64, 1.0);
        state.log(Key::last("train/last"), batch as f64, 1.0);
        Ok(())
    }
}

/// The allocations of a run of so many steps.
fn allocated(steps: u64) -> u64 {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let (mut unit, data) = (Logs, vec![7; 10_000]);
    let recorder = FlightRecorder::new("not/written.json").last(16);
    Run::new(&mut unit).callback(recorder).train(&data, Train::steps(steps)).unwrap();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

#[test]
fn steps_after_the_first_that_fill_the_ring_allocate_nothing() {
    // The least of several: the program that runs the test allocates too.
    let least = |steps| (0..5).map(|_| allocated(steps)).min().unwrap();
    let short = least(40);
    assert!(short > 16, "{short} allocations, and each step of a ring of 16 has its own numbers");
    assert_eq!(least(4_000), short);
}
