//! The memory of rank 0 in a save and a restore of a sharded optimizer, in a program of its own: it counts allocations.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use regimen::callback::Event;
use regimen::checkpoint::Checkpointer;
use regimen::peers::Peers;
use regimen::run::Train;
use regimen::{AutoUnit, BoxError, Loss, Run, Step, Task};
use regimen_test::peers::{Threads, on_ranks};
use regimen_test::toy::{ToyArray, ToyEngine, ToyLinear, ToyOptimizer, ToyVars, manual_seed};

/// The system's allocator, with a count of the bytes each thread holds, and their maximum.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn grow(bytes: isize) {
    HELD.set(HELD.get() + bytes);
    PEAK.set(PEAK.get().max(HELD.get()));
}

// SAFETY: every call is handed on to the system's allocator as it came; the counting beside it
// touches only cells of this thread that need neither allocation nor destruction.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        grow(-(layout.size() as isize));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    // Growing is counted as by the default: old and new exist at once.
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The bytes that this thread holds; the peak begins there.
fn begin() -> isize {
    PEAK.set(HELD.get());
    HELD.get()
}

const RANKS: u64 = 4;
const LAYERS: usize = 64;
const FEATURES: usize = 48;
/// Bytes of all weights, and of the two moments of each.
const WEIGHTS: usize = LAYERS * (FEATURES * FEATURES + FEATURES) * 8;
const MOMENTS: usize = 2 * WEIGHTS;
const SHARE: usize = MOMENTS / RANKS as usize;
/// Buffers, names, progress: nothing that grows with the weights.
const OTHER: usize = 400_000;

struct Net(Vec<ToyLinear>);

struct Regression;

impl Task<ToyEngine<Net>> for Regression {
    type Batch = ToyArray;
    type Output = ();

    fn compute_loss(&mut self, _: &Step, net: &Net, x: &ToyArray) -> Result<(Loss<ToyArray>, ()), BoxError> {
        let y = net.0.iter().fold(x.clone(), |x, layer| layer.forward(&x));
        Ok((Loss::mean(y.mean_squared_error(x), 1.0), ()))
    }
}

fn engine() -> ToyEngine<Net> {
    manual_seed(7);
    let mut vars = ToyVars::new();
    let layer = |n| ToyLinear::new(&mut vars, &format!("layer-{n}"), FEATURES, FEATURES);
    let net = Net((0..LAYERS).map(layer).collect());
    ToyEngine::new(vars, net, ToyOptimizer::adam_w(0.01))
}

/// The most bytes that rank 0 holds in addition while it saves, and while it restores.
fn peaks(dir: &Path, every_rank_writes: bool) -> (usize, usize) {
    let saver = || {
        // On the loop's thread, which is counted.
        let saver = Checkpointer::new(dir).in_foreground().allow_not_finite();
        if every_rank_writes { saver.every_rank_writes() } else { saver }
    };
    let of_save = Arc::new(AtomicUsize::new(0));
    let peaks = on_ranks(Threads::of(RANKS, Duration::from_secs(600)), |peers| {
        let is_first = peers.rank().is_first();
        let before = Arc::new(Mutex::new(0));
        let (at_end, of_save) = (Arc::clone(&before), Arc::clone(&of_save));
        let saver_of_first = saver().on_saved(move |_| {
            of_save.store((PEAK.get() - *before.lock().unwrap()) as usize, Ordering::Relaxed);
        });
        let mut unit = AutoUnit::new(engine(), Regression).learning_rate(1e-3).shard_optimizer(true);
        let mut run = Run::new(&mut unit).peers(peers.clone()).saver(saver_of_first);
        let data = vec![ToyArray::new(&[1, FEATURES], &[0.1; FEATURES]); 2];
        run = run.on(Event::TrainStepEnd, move |_, _: &mut _| *at_end.lock().unwrap() = begin());
        run.train(&data[..], Train::steps(2)).unwrap();
        drop(run);

        let mut unit = AutoUnit::new(engine(), Regression).shard_optimizer(true);
        let mut run = Run::new(&mut unit).peers(peers).saver(saver());
        let before = begin();
        run.restore_latest().unwrap().unwrap();
        is_first.then_some((PEAK.get() - before) as usize)
    });
    (of_save.load(Ordering::Relaxed), peaks.into_iter().find_map(|peak| peak.unwrap()).unwrap())
}

#[test]
fn rank_0_holds_no_share_of_another_rank() {
    let dir = tempfile::tempdir().unwrap();
    let (save, restore) = peaks(&dir.path().join("pieces"), true);
    let (gathering_save, restore_of_all) = peaks(&dir.path().join("whole"), false);
    assert!(save < WEIGHTS + SHARE + OTHER, "{save} bytes for weights of {WEIGHTS} and a share of {SHARE}");
    assert!(gathering_save > WEIGHTS + MOMENTS, "{gathering_save}");
    assert!(restore + MOMENTS - SHARE < restore_of_all, "{restore} and {restore_of_all}");
}
