//! Updates left out on the device, and norms clipped there: each compared with an engine that does not read
//! later.

#![allow(clippy::unwrap_used)]

use std::sync::{Mutex, PoisonError};

use regimen_core::engine::{Engine, Part, Value};
use regimen_core::saved::StateDict;
use regimen_torch::tch::nn::{self, Linear, Module};
use regimen_torch::tch::{Device, Kind, Tensor};
use regimen_torch::{Adam, Algorithm, RmsProp, Sgd, Torch, initialize};

/// The weights are drawn from the generator of the whole process.
static GENERATOR: Mutex<()> = Mutex::new(());

fn engine(algorithm: Algorithm) -> Torch<Linear> {
    let _alone = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let (vars, linear) = initialize(1, Device::Cpu, |root| nn::linear(root, 3, 2, Default::default()));
    Torch::new(vars, linear, algorithm).unwrap()
}

/// Holds the gradients of a loss whose size is `scale`.
fn backward(engine: &mut Torch<Linear>, scale: f64) {
    let x = Tensor::from_slice(&[0.5_f32, -1.0, 2.0]).reshape([1, 3]) * scale;
    engine.backward(&engine.module().forward(&x).square().mean(Kind::Float), None).unwrap();
}

fn states(engine: &Torch<Linear>) -> [StateDict; 2] {
    [Part::Module, Part::Optimizer].map(|part| engine.state(part).unwrap())
}

#[test]
fn a_step_that_is_left_out_changes_nothing_and_counts_for_nothing() {
    let algorithms: [Algorithm; 6] = [
        Adam::new().into(),
        Adam::with_decoupled_decay().amsgrad(true).into(),
        Sgd::new().into(),
        Sgd::new().momentum(0.9).into(),
        RmsProp::new().into(),
        RmsProp::new().momentum(0.9).centered(true).into(),
    ];
    for algorithm in algorithms {
        let (mut engine, mut twin) = (engine(algorithm), engine(algorithm));
        for step in 0..4 {
            backward(&mut engine, 1.0);
            backward(&mut twin, 1.0);
            // One that is finite changes nothing.
            assert!(engine.skip_unless_finite(&Tensor::from(1.0_f32)).unwrap());
            engine.step(&[0.1]).unwrap();
            twin.step(&[0.1]).unwrap();
            assert_eq!(states(&engine), states(&twin), "{algorithm:?} {step}");
            backward(&mut engine, f64::NAN);
            for number in [1.0_f32, f32::NAN, 2.0] {
                engine.skip_unless_finite(&Tensor::from(number)).unwrap();
            }
            engine.step(&[0.1]).unwrap();
            assert_eq!(states(&engine), states(&twin), "{algorithm:?} {step}, left out");
        }
    }
}

#[test]
fn a_norm_that_is_clipped_on_the_device_gives_the_same_bits() {
    for scale in [0.01, 1.0, 30.0, f64::INFINITY, f64::NAN] {
        for limit in [0.1, 1.0, 7.3] {
            let [mut now, mut later] =
                [false, true].map(|later| engine(Sgd::new().into()).reads_later(later));
            let norms = [&mut now, &mut later].map(|engine| {
                backward(engine, scale);
                match engine.clip_gradient_norm(limit).unwrap() {
                    Value::Host(norm) => norm,
                    Value::Device(norm) => Torch::<Linear>::read(&[norm]).unwrap()[0],
                }
            });
            assert_eq!(norms[0].to_bits(), norms[1].to_bits(), "{scale} {limit}");
            let bytes = |engine: &Torch<Linear>| {
                let held = engine.state(Part::Gradients).unwrap();
                held.iter().map(|(name, array)| (name.to_owned(), array.bytes().to_vec())).collect::<Vec<_>>()
            };
            assert_eq!(bytes(&now), bytes(&later), "{scale} {limit}");
        }
    }
}
