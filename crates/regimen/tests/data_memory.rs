//! The memory of loading, counted by the allocator.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use regimen::data::{At, Data, Epoch, Loader, Samples, indices};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Bytes that this thread has ever allocated.
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all requests go to the system's allocator as they are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get() + layout.size());
        PEAK.fetch_max(LIVE.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const MEBIBYTE: usize = 1 << 20;

/// The most memory that a pass over `batches` batches of a mebibyte takes, in bytes.
fn peak_of_pass(batches: usize, workers: usize, prefetch: usize) -> usize {
    let loader = Loader::collate_into(
        indices(batches * 4),
        |samples| Vec::with_capacity(samples * MEBIBYTE / 4),
        |batch, _, _| {
            batch.resize(batch.len() + MEBIBYTE / 4, 7_u8);
            Ok(())
        },
    );
    let loader = loader.batch_size(4).shuffle().workers(workers).prefetch(prefetch);
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let mut epoch = loader.epoch(At::epoch(0, 42)).unwrap();
    let mut bytes = 0;
    while let Some(fetched) = epoch.next() {
        bytes += fetched.unwrap().batch.len();
    }
    assert_eq!(bytes, batches * MEBIBYTE);
    PEAK.load(Relaxed) - before
}

#[test]
fn a_pass_takes_the_batches_of_the_workers_and_those_prefetched_besides_the_one_in_use() {
    let check = |batches, workers, prefetch| {
        let peak = peak_of_pass(batches, workers, prefetch);
        // A quarter for threads, queues and the other tests of this file.
        let bound = (workers + prefetch + 1) * MEBIBYTE + MEBIBYTE / 4;
        assert!(peak < bound, "{workers} workers, {prefetch} prefetched: {peak} bytes");
    };
    check(10 * 1024, 2, 4);
    check(100, 0, 4);
    check(100, 1, 0);
    check(100, 8, 0);
    check(100, 2, 1);
    check(100, 8, 5);
}

#[test]
fn batch_a_thousand_million_of_a_shuffled_epoch_is_had_without_the_ones_before() {
    let samples = 100_000_000_000;
    let loader = Loader::new(indices(samples)).batch_size(64).shuffle();
    let before = ALLOCATED.get();
    let mut epoch = loader.epoch(At::epoch(7, 42).skip(1_000_000_000)).unwrap();
    let batch = epoch.next().unwrap().unwrap().batch;
    assert!(batch.len() == 64 && batch.iter().all(|&index| index < samples));
    let allocated = ALLOCATED.get() - before;
    assert!(allocated < 4096, "{allocated} bytes");
}

#[test]
fn a_batch_is_one_allocation_of_its_size() {
    let samples = indices(64_000).transform(|index, _| [index as f32; 100]);
    let loader = Loader::new(samples).batch_size(64).shuffle();
    let mut epoch = loader.epoch(At::epoch(0, 42)).unwrap();
    epoch.next().unwrap().unwrap();
    let before = ALLOCATED.get();
    epoch.next().unwrap().unwrap();
    assert_eq!(ALLOCATED.get() - before, 64 * 100 * size_of::<f32>());
}
