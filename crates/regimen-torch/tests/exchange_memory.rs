//! The gradients in memory while they are exchanged, after the backward pass and during it.
//!
//! One test in a separate process: it measures the memory of the process.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::time::Duration;
use std::{fs, thread};

use regimen_core::BoxError;
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

/// The peak of `pass`, which is given a loss. Afterwards its gradients are held.
fn peak(
    engine: &mut Torch<Vec<Tensor>>,
    pass: impl FnOnce(&mut Torch<Vec<Tensor>>, &Tensor) -> Result<(), BoxError>,
) -> f64 {
    engine.discard_gradients();
    let loss = loss(engine);
    // Resets the highest mark.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory("VmRSS:");
    pass(engine, &loss).unwrap();
    memory("VmHWM:") - before
}

#[test]
fn gradients_are_in_memory_once() {
    let (vars, weights) = initialize(1, Device::Cpu, |root| {
        (0..WEIGHTS).map(|n| root.var(&n.to_string(), &[SIZE], Init::Const(0.5))).collect()
    });
    let mut engine = Torch::new(vars, weights, Sgd::new()).unwrap();
    let after = |engine: &mut Torch<_>, loss: &Tensor| {
        engine.backward(loss, None)?;
        engine.exchange_gradients(BYTES, &mut |_| Ok(()))
    };
    // What the first pass of all brings into memory for good.
    peak(&mut engine, after);
    let after = peak(&mut engine, after);
    let during = |engine: &mut Torch<_>, loss: &Tensor, keep: Option<&dyn Fn(&str) -> bool>| {
        // The backward pass is over long before the first bucket is, unless it waits for it.
        let mut calls = 0;
        let exchange = &mut |_: Bucket<'_>| {
            calls += 1;
            thread::sleep(Duration::from_secs(if calls == 1 { 1 } else { 0 }));
            Ok(())
        };
        engine.backward_and_exchange(Some(loss), None, Some(0.5), BYTES, keep, exchange)
    };
    let all = peak(&mut engine, |engine, loss| during(engine, loss, None));
    assert_eq!(engine.state(Part::Gradients).unwrap().len(), WEIGHTS);
    let keep = |name: &str| ["2", "6"].contains(&name);
    let share = peak(&mut engine, |engine, loss| during(engine, loss, Some(&keep)));
    let held = engine.state(Part::Gradients).unwrap();
    assert_eq!(held.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["2", "6"]);
    // With one that is copied into its bucket; and, beside a share of 2, with those of three buckets.
    let figures =
        format!("exchanged after the pass {after:.2}, during it {all:.2}, of them a share {share:.2}");
    let once = 8.0..9.5;
    assert!(once.contains(&after) && once.contains(&all) && (2.0..5.5).contains(&share), "{figures}");
}
