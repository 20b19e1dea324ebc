//! Memory of a forward and a backward pass, counted by the allocator of the process. One test, because
//! concurrent ones would be counted too.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use regimen_burn::burn::nn::{Linear, LinearConfig};
use regimen_burn::burn::tensor::activation::tanh;
use regimen_burn::burn::tensor::{Device, Tensor};
use regimen_burn::{checkpoint_activations, initialize};
use regimen_core::BoxError;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all requests go to the system's allocator as they are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
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

const BATCH: usize = 2048;
const WIDTH: usize = 64;
const LAYERS: usize = 8;

/// The bytes of one layer's output.
const ACTIVATION: usize = BATCH * WIDTH * 4;

type Block = Vec<Linear>;

fn forward(block: &Block, x: Tensor<2>) -> Tensor<2> {
    block.iter().fold(x, |x, layer| tanh(layer.forward(x)))
}

/// In activations: memory held after a forward pass, and the peak until the end of the backward pass.
fn held(blocks: &[Block], device: &Device, call: fn(&Block, Tensor<2>) -> Tensor<2>) -> (usize, usize) {
    let x = Tensor::<2>::ones([BATCH, WIDTH], device);
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let loss = blocks.iter().fold(x, |x, block| call(block, x)).mean();
    let after = LIVE.load(Relaxed) - before;
    let gradients = loss.backward();
    assert!(blocks[0][0].weight.grad(&gradients).is_some());
    let in_activations = |bytes: usize| (bytes as f64 / ACTIVATION as f64).round() as usize;
    (in_activations(after), in_activations(PEAK.load(Relaxed) - before))
}

fn again(block: &Block, x: Tensor<2>) -> Tensor<2> {
    checkpoint_activations(block, x, forward).unwrap()
}

#[test]
fn activations_within_blocks_are_not_kept() -> Result<(), BoxError> {
    let device = regimen_burn::device("cpu")?.autodiff();
    let layer = |device: &Device| LinearConfig::new(WIDTH, WIDTH).init(device);
    let blocks = |of: usize| -> Result<Vec<Block>, BoxError> {
        initialize(7, &device, |device| {
            (0..LAYERS / of).map(|_| (0..of).map(|_| layer(device)).collect()).collect()
        })
    };
    for of in [2, 4] {
        let blocks = blocks(of)?;
        // What Burn makes once in a process is not counted.
        held(&blocks, &device, again);
        let (kept, kept_peak) = held(&blocks, &device, forward);
        let (again, again_peak) = held(&blocks, &device, again);
        println!("blocks of {of}: {kept}, at most {kept_peak}; again {again}, at most {again_peak}");
        assert!(kept >= LAYERS);
        assert!(again < LAYERS / of);
        assert!(4 * again_peak < 3 * kept_peak);
    }

    // Nothing stays after a step.
    let blocks = blocks(4)?;
    let mut live = Vec::new();
    for _ in 0..5 {
        held(&blocks, &device, again);
        live.push(LIVE.load(Relaxed));
    }
    assert_eq!(live[4], live[1], "{live:?}");
    Ok(())
}
