//! The gradients in memory while they are exchanged in the backward pass.
//!
//! One test in a separate process: it measures the memory of the process.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::time::Duration;
use std::{fs, thread};

use regimen_core::engine::{Bucket, Engine, Mode, Part};
use regimen_torch::tch::nn::Init;
use regimen_torch::tch::{Device, Kind, Tensor};
use regimen_torch::{Sgd, Torch, initialize};

/// Of a weight, which is 36 MB: glibc maps and unmaps blocks of that size directly.
const SIZE: i64 = 9 * 1024 * 1024;
const BYTES: usize = SIZE as usize * 4;
const WEIGHTS: usize = 8;

/// In weights: a line of the system's record of this process.
fn memory(name: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0 / BYTES as f64
}

/// Each weight is an operation of its own, which needs no memory.
fn loss(engine: &mut Torch<Vec<Tensor>>) -> Tensor {
    engine.with_module(Mode::Train, |weights| {
        weights.iter().map(|weight| weight.sum(Kind::Float)).reduce(|sum, next| sum + next).unwrap()
    })
}

/// The peak of a backward pass over the exchange, on a link that is slower than the pass. Afterwards those kept are held.
fn peak(engine: &mut Torch<Vec<Tensor>>, keep: Option<&dyn Fn(&str) -> bool>) -> f64 {
    engine.discard_gradients();
    let loss = loss(engine);
    // Resets the highest mark.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory("VmRSS:");
    let slow = &mut |_: Bucket<'_>| {
        thread::sleep(Duration::from_millis(50));
        Ok(())
    };
    engine.backward_and_exchange(Some(&loss), None, None, BYTES, keep, slow).unwrap();
    memory("VmHWM:") - before
}

#[test]
fn gradients_are_in_memory_once() {
    let (vars, weights) = initialize(1, Device::Cpu, |root| {
        (0..WEIGHTS).map(|n| root.var(&n.to_string(), &[SIZE], Init::Const(0.5))).collect()
    });
    let mut engine = Torch::new(vars, weights, Sgd::new()).unwrap();
    // What the first pass of all brings into memory for good.
    peak(&mut engine, None);
    let all = peak(&mut engine, None);
    assert_eq!(engine.state(Part::Gradients).unwrap().len(), WEIGHTS);
    let share = peak(&mut engine, Some(&|name| ["2", "6"].contains(&name)));
    let held = engine.state(Part::Gradients).unwrap();
    assert_eq!(held.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["2", "6"]);
    // With one that is copied into its bucket; and, beside a share of 2, with those of three buckets.
    let figures = format!("all take {all:.2}, and a share {share:.2}");
    assert!((8.0..9.5).contains(&all) && (2.0..5.5).contains(&share), "{figures}");
}
