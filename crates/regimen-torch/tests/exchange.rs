//! Gradients and buffers that ranks exchange.

#![allow(clippy::unwrap_used)]

use regimen_core::engine::{Bucket, Engine, Mode, Part};
use regimen_torch::tch::nn::{self, Init, ModuleT};
use regimen_torch::tch::{Device, Kind, Tensor};
use regimen_torch::{Adam, Sgd, Torch, initialize};

/// Two weights, of which the loss uses the first.
fn two_weights(algorithm: Adam) -> Torch<Tensor> {
    let (vars, weight) = initialize(1, Device::Cpu, |root| {
        let _ = root.var("unused", &[3], Init::Const(2.0));
        root.var("used", &[5], Init::Const(0.5))
    });
    Torch::new(vars, weight, algorithm).unwrap()
}

fn backward(engine: &mut Torch<Tensor>) {
    let loss = engine.with_module(Mode::Train, |weight| (weight * weight).sum(Kind::Float));
    engine.backward(&loss, None).unwrap();
}

#[test]
fn weight_decay_leaves_a_parameter_whose_gradient_no_rank_holds() {
    let mut engine = two_weights(Adam::with_decoupled_decay().weight_decay(0.1));
    let mut lengths = Vec::new();
    for _ in 0..2 {
        backward(&mut engine);
        let mut record = |bucket: Bucket<'_>| {
            let Bucket::F32(flat) = bucket else { panic!("single precision") };
            lengths.push(flat.len());
            Ok(())
        };
        engine.exchange_gradients(usize::MAX, &mut record).unwrap();
        engine.step(&[0.1]).unwrap();
    }
    assert_eq!(lengths, [2, 5, 2, 5]);
    let module = engine.state(Part::Module).unwrap();
    assert_eq!(module.array("unused").unwrap().to_vec::<f32>().unwrap(), [2.0; 3]);
    assert_ne!(module.array("used").unwrap().to_vec::<f32>().unwrap(), [0.5; 5]);
}

#[test]
fn gradients_of_one_bucket_are_changed_each_for_itself() {
    let [mut engine, mut twin] = [(); 2].map(|()| two_weights(Adam::new()));
    // Another rank holds zeros for the unused weight.
    let mut calls = 0;
    backward(&mut engine);
    engine
        .exchange_gradients(usize::MAX, &mut |bucket| {
            let Bucket::F32(flat) = bucket else { panic!("single precision") };
            calls += 1;
            if calls == 1 {
                flat.fill(1.0);
            }
            Ok(())
        })
        .unwrap();
    backward(&mut twin);
    let mut zeros = twin.state(Part::Gradients).unwrap();
    zeros.insert("unused", regimen_core::saved::Array::from_slice(&[0.0_f32; 3])).unwrap();
    twin.load_state(Part::Gradients, &zeros).unwrap();
    for engine in [&mut engine, &mut twin] {
        backward(engine);
        engine.scale_gradients(0.3).unwrap();
        engine.clip_gradient_units(0.2, 1e-3).unwrap();
        engine.clip_gradient_values(0.4).unwrap();
        engine.clip_gradient_norm(0.1).unwrap();
    }
    let states = |engine: &Torch<Tensor>| {
        [Part::Gradients, Part::Module, Part::Optimizer].map(|part| engine.state(part).unwrap())
    };
    assert_eq!(states(&engine), states(&twin));
    engine.step(&[0.1]).unwrap();
    twin.step(&[0.1]).unwrap();
    assert_eq!(states(&engine), states(&twin));
}

#[test]
fn parameters_of_several_types_are_in_buckets_of_theirs() {
    let (vars, ()) = initialize(1, Device::Cpu, |root| {
        for (name, kind) in [("a", Kind::Float), ("b", Kind::Half), ("c", Kind::Double), ("d", Kind::Float)] {
            let _ = root.add(name, Tensor::full([2], 0.5, (kind, Device::Cpu)), true);
        }
    });
    let all: Vec<Tensor> = ["a", "b", "c", "d"].map(|name| vars.variables()[name].shallow_clone()).into();
    let mut engine = Torch::new(vars, all, Sgd::new()).unwrap();
    let sum = |all: &Vec<Tensor>| all.iter().map(|tensor| tensor.sum(Kind::Double)).sum::<Tensor>();
    let loss = engine.with_module(Mode::Train, sum);
    engine.backward(&loss, None).unwrap();
    let before = engine.state(Part::Gradients).unwrap();
    let mut seen = Vec::new();
    engine
        .exchange_gradients(usize::MAX, &mut |bucket| {
            seen.push(format!("{bucket:?}"));
            Ok(())
        })
        .unwrap();
    assert_eq!(
        seen,
        ["F32([1.0, 1.0, 1.0, 1.0])", "F32([1.0, 1.0, 1.0, 1.0])", "F64([1.0, 1.0])", "F32([1.0, 1.0])"]
    );
    assert_eq!(engine.state(Part::Gradients).unwrap(), before);
}

#[test]
fn gradients_on_a_gpu_stay_there_for_peers_that_take_them() {
    for name in regimen_torch::devices() {
        let on = regimen_torch::device(&name).unwrap();
        let (vars, weight) = initialize(1, on, |root| root.var("weight", &[5], Init::Const(0.5)));
        let mut engine = Torch::new(vars, weight, Sgd::new()).unwrap();
        backward(&mut engine);
        let before = engine.state(Part::Gradients).unwrap();
        let mut seen = Vec::new();
        let mut record = |bucket: Bucket<'_>| {
            seen.push(match bucket {
                Bucket::Device(bucket) => {
                    bucket.downcast_ref::<regimen_cuda::CudaBuffer>().unwrap().to_string()
                }
                bucket => format!("{bucket:?}"),
            });
            Ok(())
        };
        engine.exchange_gradients_on_device(usize::MAX, &mut record).unwrap();
        let bucket = if on.is_cuda() { "5 f32" } else { "F32([1.0, 1.0, 1.0, 1.0, 1.0])" };
        assert_eq!(seen, ["F32([1.0])", bucket], "{name}");
        assert_eq!(engine.state(Part::Gradients).unwrap(), before, "{name}");
    }
}

#[test]
fn buffers_are_exchanged_between_a_forward_and_its_backward_pass() {
    let (vars, norm) = initialize(1, Device::Cpu, |root| {
        // As in PyTorch.
        let _ = root.add("num_batches_tracked", Tensor::from_slice(&[41_i64]), false);
        nn::batch_norm1d(root, 2, Default::default())
    });
    let mut engine = Torch::new(vars, norm, Sgd::new()).unwrap();
    let x = Tensor::from_slice(&[0.5_f32, -1.0, 2.0, 3.0]).reshape([2, 2]);
    let loss = engine.with_module(Mode::Train, |norm| norm.forward_t(&x, true).square().sum(Kind::Float));
    let mut seen = Vec::new();
    engine
        .exchange_buffers(&mut |bucket| {
            let Bucket::F64(flat) = bucket else { panic!("double precision") };
            seen.extend_from_slice(flat);
            flat.iter_mut().for_each(|element| *element += 0.75);
            Ok(())
        })
        .unwrap();
    engine.backward(&loss, None).unwrap();
    // num_batches_tracked, running_mean, running_var.
    let expected = [41.0, 0.125, 0.1, 1.0125, 1.7];
    assert!(seen.iter().zip(expected).all(|(seen, expected)| (seen - expected).abs() < 1e-6), "{seen:?}");
    let module = engine.state(Part::Module).unwrap();
    assert_eq!(module.array("num_batches_tracked").unwrap().to_vec::<i64>().unwrap(), [42]);
    let mean = module.array("running_mean").unwrap().to_vec::<f32>().unwrap();
    assert!((mean[0] - 0.875).abs() < 1e-6, "{mean:?}");
}
