//! Reports of parameters that no backward pass reaches.

#![allow(clippy::unwrap_used)]

use regimen_core::engine::{Engine, Mode};
use regimen_torch::tch::nn::Init;
use regimen_torch::tch::{Device, Kind, Tensor};
use regimen_torch::{Sgd, Torch, initialize};

/// Three weights: the first is used twice, the second has no gradient although the loss uses it, and the loss
/// does not use the third.
struct Parts([Tensor; 3]);

#[test]
fn a_part_that_is_detached_is_unreached_and_one_that_is_used_twice_is_not() {
    let (vars, parts) = initialize(1, Device::Cpu, |root| {
        Parts(["used_twice", "cut", "unused"].map(|name| root.var(name, &[2], Init::Const(0.5))))
    });
    let mut engine = Torch::new(vars, parts, Sgd::new()).unwrap();
    assert_eq!(engine.unreached().unwrap(), ["cut", "unused", "used_twice"]);
    for anomalies in [false, true] {
        engine.detect_anomaly(anomalies);
        let loss = engine.with_module(Mode::Train, |Parts([twice, cut, _])| {
            (twice * twice + cut.detach()).sum(Kind::Float)
        });
        engine.backward(&loss, None).unwrap();
        assert_eq!(engine.unreached().unwrap(), ["cut", "unused"]);
        engine.step(&[0.1]).unwrap();
    }
}
