//! The engine around module and optimizer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::support::{
    Net, Outcome, Weights, backward, by_hand, device, engine, hold, holding, message, step,
};
use regimen_burn::burn::module::{Module, ParamGroup};
use regimen_burn::burn::nn::LinearConfig;
use regimen_burn::burn::optim::{AdamConfig, AdamWConfig, ModuleOptimizer, Optimizer, SgdConfig};
use regimen_burn::burn::tensor::{Device, Tensor};
use regimen_burn::{Burn, named};
use regimen_core::engine::{Engine, Mode, Part, any_of};
use regimen_core::saved::{Array, StateDict};

#[test]
fn steps_are_those_of_a_loop_by_hand() -> Outcome {
    let net = Net::new(&device().autodiff());
    let mut engine = engine(AdamConfig::new().init());
    let mut reference = Burn::new(net, AdamConfig::new().init(), &device())?;
    engine.load_state(Part::Module, &reference.state(Part::Module)?)?;
    let mut optimizer = AdamConfig::new().init();
    let mut net = reference.module().clone();
    for salt in 0..5 {
        step(&mut engine, salt);
        net = by_hand(net, &mut optimizer, salt);
    }
    reference = Burn::new(net, optimizer, &device())?;
    assert_eq!(engine.state(Part::Module)?, reference.state(Part::Module)?);
    Ok(())
}

#[test]
fn each_group_has_its_own_rate_and_the_later_group_wins() -> Outcome {
    let layer = LinearConfig::new(2, 2).init(&device());
    let mut engine = Burn::new(layer, SgdConfig::new().init(), &device())?
        .group("all", ParamGroup::all())?
        .group("bias", ParamGroup::from_path("bias"))?;
    assert_eq!(engine.groups(), ["default", "all", "bias"]);
    let before = engine.state(Part::Module)?;
    let images = Tensor::<2>::ones([1, 2], engine.device(Mode::Train).device());
    let loss = engine.with_module(Mode::Train, |layer| layer.forward(images).sum());
    engine.backward(&loss, None)?;
    engine.step(&[100.0, 1.0, 0.25])?;
    let after = engine.state(Part::Module)?;
    for (name, rate) in [("weight", 1.0), ("bias", 0.25)] {
        let (before, after) = (before.array(name)?.to_vec::<f32>()?, after.array(name)?.to_vec::<f32>()?);
        for (before, after) in before.iter().zip(after) {
            // Every gradient is 1.
            assert!((before - after - rate).abs() < 1e-6, "{name}: {before} to {after}");
        }
    }
    Ok(())
}

#[test]
fn parameters_are_chosen_by_their_names_for_groups_and_optimizers() -> Outcome {
    let network = Net::new(&device());
    let plain = named(&network, any_of(["*.bias", "norm.*"]))?;
    // A rate of 1 and a decay of 1/4 take a quarter off a parameter whose gradient is zero.
    let decay = |decay| AdamWConfig::new().with_weight_decay(decay);
    let optimizer = decay(0.25).init().with_group(plain.clone(), decay(0.0).build(), None);
    let mut engine = Burn::new(network, optimizer, &device())?.group("plain", plain)?;
    let before = engine.state(Part::Module)?;
    step_with(&mut engine, 0.0, 1.0)?;
    for (name, array) in engine.state(Part::Module)?.iter().filter(|(name, _)| !name.contains("running")) {
        let decays = !name.ends_with("bias") && !name.starts_with("norm");
        let (before, after) = (before.array(name)?.to_vec::<f32>()?, array.to_vec::<f32>()?);
        for (before, after) in before.iter().zip(after) {
            let expected = if decays { before * 0.75 } else { *before };
            assert!((after - expected).abs() < 1e-6, "{name}: {before} to {after}");
        }
    }
    let refused = message(named(engine.module(), any_of(["head"])));
    assert!(refused.ends_with("head.bias, head.weight, norm.beta, norm.gamma"), "{refused}");
    Ok(())
}

/// A step whose gradients are all `gradient`, at the same rate for all groups.
fn step_with(engine: &mut Burn<Net>, gradient: f32, rate: f64) -> Outcome {
    backward(engine, 0);
    let mut gradients = StateDict::new();
    for (name, array) in engine.state(Part::Gradients)?.iter() {
        let count = array.shape().iter().product::<usize>();
        let bytes = gradient.to_le_bytes().repeat(count);
        gradients.insert(name, Array::new(array.dtype(), array.shape().to_vec(), bytes)?)?;
    }
    engine.load_state(Part::Gradients, &gradients)?;
    engine.step(&vec![rate; engine.groups().len()])
}

#[test]
fn wrong_groups_and_rates_are_refused() -> Outcome {
    let new = || Burn::new(Weights::new(&[1.0], &device()), SgdConfig::new().init(), &device()).unwrap();
    let refused = message(new().group("head", ParamGroup::from_predicate("head")));
    assert_eq!(refused, "no trained parameter is in group `head`; there are: weights");
    let refused = message(new().group("default", ParamGroup::all()));
    assert_eq!(refused, "two parameter groups are named `default`");
    let mut engine = holding(&[1.0], &[1.0], SgdConfig::new().init());
    assert_eq!(message(engine.step(&[0.1, 0.2])), "2 learning rates for 1 parameter groups");
    assert_eq!(message(engine.step(&[])), "0 learning rates for 1 parameter groups");
    engine.step(&[0.5])?;
    assert_eq!(engine.module().values(), [0.5]);
    Ok(())
}

#[derive(Module, Debug)]
struct Tied {
    a: Weights,
    b: Weights,
}

#[test]
fn tied_parameters_are_refused_by_name() {
    let a = Weights::new(&[1.0], &device());
    let refused = message(Burn::new(Tied { b: a.clone(), a }, SgdConfig::new().init(), &device()));
    assert!(refused.starts_with("`a.weights` and `b.weights` are one parameter"), "{refused}");
}

/// Three weights. The loss uses `used_twice` twice; no gradient passes to `cut`.
#[derive(Module, Debug)]
struct Parts {
    used_twice: Weights,
    cut: Weights,
    unused: Weights,
}

#[test]
fn a_part_that_is_detached_is_unreached_and_one_that_is_used_twice_is_not() -> Outcome {
    let weights = || Weights::new(&[1.0, 2.0], &device());
    let parts = Parts { used_twice: weights(), cut: weights(), unused: weights() };
    let mut engine = Burn::new(parts, SgdConfig::new().init(), &device())?;
    assert_eq!(engine.unreached()?, ["cut.weights", "unused.weights", "used_twice.weights"]);
    for _ in 0..2 {
        let loss = engine.with_module(Mode::Train, |parts| {
            let [twice, cut] = [&parts.used_twice, &parts.cut].map(|part| part.weights.val());
            (twice.clone() * twice + cut.detach()).sum()
        });
        engine.backward(&loss, None)?;
        assert_eq!(engine.unreached()?, ["cut.weights", "unused.weights"]);
        engine.step(&[0.1])?;
    }
    Ok(())
}

#[test]
fn a_loss_without_a_graph_is_an_error() -> Outcome {
    let mut engine = holding(&[1.0], &[1.0], SgdConfig::new().init());
    let loss = engine.with_module(Mode::Eval, |module| module.weights.val());
    assert_eq!(message(engine.backward(&loss, None)), "the loss does not depend on a trained parameter");
    Ok(())
}

#[test]
fn a_scalar_of_several_numbers_is_an_error() -> Outcome {
    let engine = holding(&[1.0, 2.0], &[1.0, 1.0], SgdConfig::new().init());
    message(engine.value(&engine.module().weights.val()));
    assert_eq!(engine.value(&engine.module().weights.val().sum())?, 3.0);
    Ok(())
}

#[test]
fn batches_for_training_are_on_autodiff_and_others_are_not() {
    let engine = engine(SgdConfig::new().init());
    assert!(engine.device(Mode::Train).device().is_autodiff());
    assert!(!engine.device(Mode::Eval).device().is_autodiff());
    assert!(!engine.device(Mode::Predict).device().is_autodiff());
}

#[test]
fn a_module_built_without_autodiff_or_evaluated_before_is_trained() -> Outcome {
    for net in [Net::new(&device()), Net::new(&device().autodiff()), Net::new(&device()).valid()] {
        let mut engine = Burn::new(net, SgdConfig::new().init(), &device())?;
        let before = engine.state(Part::Module)?;
        step(&mut engine, 1);
        assert_eq!(engine.state(Part::Gradients)?.len(), 0);
        for name in ["conv.weight", "norm.gamma", "norm.running_mean", "head.weight"] {
            assert_ne!(engine.state(Part::Module)?.array(name)?, before.array(name)?, "{name}");
        }
    }
    Ok(())
}

/// Plain gradient descent that fails at a gradient of 9.
#[derive(Clone)]
struct Failing;

impl Optimizer for Failing {
    type State<const D: usize> = ();

    fn step<const D: usize>(
        &self,
        rate: f64,
        tensor: Tensor<D>,
        gradient: Tensor<D>,
        _state: Option<()>,
    ) -> (Tensor<D>, Option<()>) {
        assert!(gradient.clone().max().into_scalar::<f32>() != 9.0, "a gradient of 9");
        (tensor - gradient * rate, Some(()))
    }

    fn to_device<const D: usize>(_state: (), _device: &Device) {}
}

#[test]
fn a_panic_of_the_optimizer_leaves_the_module_and_is_an_error_until_a_state_is_loaded() -> Outcome {
    let mut engine = holding(&[1.0], &[1.0], ModuleOptimizer::from(Failing));
    engine.step(&[0.5])?;
    let mut with = |gradient: f32| -> Outcome {
        hold(&mut engine, &[gradient])?;
        let step = catch_unwind(AssertUnwindSafe(|| engine.step(&[0.5])));
        assert_eq!(engine.module().values(), [0.5]);
        step.unwrap_or_else(|_| Err("panicked".into()))
    };
    assert_eq!(message(with(9.0)), "panicked");
    assert_eq!(message(with(1.0)), "the optimizer panicked in an earlier step; load a checkpoint to go on");
    engine.load_state(Part::Optimizer, &StateDict::new())?;
    hold(&mut engine, &[1.0])?;
    engine.step(&[0.5])?;
    assert_eq!(engine.module().values(), [0.0]);
    Ok(())
}

#[test]
fn quantized_parameters_are_refused_by_name() {
    use regimen_burn::burn::module::Quantizer;
    use regimen_burn::burn::tensor::quantization::Calibration;
    let scheme = device().settings().quantization.scheme;
    let net = LinearConfig::new(32, 32)
        .init(&device())
        .quantize_weights(&mut Quantizer::new(Calibration::MinMax, scheme));
    let refused = message(Burn::new(net, SgdConfig::new().init(), &device()));
    assert!(refused.contains("quantized tensors cannot be saved"), "{refused}");
}
