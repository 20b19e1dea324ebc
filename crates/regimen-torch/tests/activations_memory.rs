//! Recomputed activations are not in memory between the passes.
//!
//! One test in a separate process: it measures the memory of the process.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs;

use regimen_torch::tch::nn::{self, Module};
use regimen_torch::tch::{Device, Kind, Tensor};
use regimen_torch::{Recomputed, initialize};

/// Of an activation, which is 36 MB: glibc maps and unmaps blocks of that size directly.
const ROWS: i64 = 576 * 1024;
const WIDTH: i64 = 16;
const BYTES: f64 = (ROWS * WIDTH * 4) as f64;

/// In activations: a line of the system's record of this process.
fn memory(name: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0 / BYTES
}

fn layer(linear: &nn::Linear, x: &Tensor) -> Tensor {
    linear.forward(x).square().abs().relu()
}

/// Memory held between forward and backward pass, and the peak.
fn kept(keeps: bool, rows: i64) -> (f64, f64) {
    let (_vars, layers) = initialize(1, Device::Cpu, |root| {
        let new = |i| nn::linear(root / i, WIDTH, WIDTH, Default::default());
        [0, 1, 2, 3, 4, 5, 6, 7].map(|i| Recomputed::new(new(i)))
    });
    // Resets the highest mark.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory("VmRSS:");
    let mut x = Tensor::ones([rows, WIDTH], (Kind::Float, Device::Cpu));
    for linear in &layers {
        x = if keeps { layer(&linear.lock(), &x) } else { linear.forward(&x, layer).unwrap() };
    }
    let kept = memory("VmRSS:") - before;
    x.mean(Kind::Float).backward();
    (kept, memory("VmHWM:") - before)
}

#[test]
fn eight_layers_keep_their_inputs_alone() {
    // What the first pass of all brings into memory for good.
    kept(false, 64);
    let (all, most) = kept(true, ROWS);
    let (inputs, most_again) = kept(false, ROWS);
    let figures = format!("kept {all:.2} and {inputs:.2}, at most {most:.2} and {most_again:.2}");
    // Three of each layer, and the input. Of those computed again, the input of each and the output.
    assert!((24.5..25.5).contains(&all) && (8.5..9.5).contains(&inputs), "{figures}");
    // In the backward pass, those of one layer at a time.
    assert!(most > 26.0 && most_again < 15.0, "{figures}");
}
