//! Activation checkpointing, against keeping the activations.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use regimen_burn::burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use regimen_burn::burn::nn::{
    BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig, LinearLayout,
};
use regimen_burn::burn::tensor::activation::tanh;
use regimen_burn::burn::tensor::{DType, Device, Distribution, Gradients, Tensor};
use regimen_burn::{burn, checkpoint_activations, initialize};
use regimen_core::BoxError;

type Outcome = Result<(), BoxError>;

/// Burn's CPU generator is one for the whole process, and each call seeds it.
static GENERATOR: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    GENERATOR.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn device() -> Device {
    regimen_burn::device("cpu").unwrap().autodiff()
}

/// Two layers, of which one is kept transposed in memory.
#[derive(Module, Debug)]
struct Block {
    first: Linear,
    second: Linear,
}

impl Block {
    fn new(device: &Device) -> Self {
        Block {
            first: LinearConfig::new(6, 10).init(device),
            second: LinearConfig::new(10, 6).with_layout(LinearLayout::Col).init(device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        tanh(self.second.forward(tanh(self.first.forward(x))))
    }
}

fn blocks(n: usize) -> Vec<Block> {
    initialize(7, &device(), |device| (0..n).map(|_| Block::new(device)).collect()).unwrap()
}

fn batch(device: &Device) -> Tensor<2> {
    Tensor::random([5, 6], Distribution::Uniform(-1.0, 1.0), device)
}

/// The call of a block: direct, or by this crate.
#[derive(Clone, Copy)]
enum Call {
    Kept,
    Again,
}

impl Call {
    fn on<M: Module + 'static>(
        self,
        module: &M,
        x: Tensor<2>,
        f: impl Fn(&M, Tensor<2>) -> Tensor<2> + Send + 'static,
    ) -> Tensor<2> {
        match self {
            Call::Kept => f(module, x),
            Call::Again => checkpoint_activations(module, x, f).unwrap(),
        }
    }

    fn block(self, block: &Block, x: Tensor<2>) -> Tensor<2> {
        self.on(block, x, Block::forward)
    }
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec_as().unwrap()
}

/// The gradients of all parameters in their order; `None` without one.
struct Of<'a>(&'a Gradients, Vec<Option<Vec<f32>>>);

impl ModuleVisitor for Of<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.1.push(param.base().grad(self.0).map(numbers));
    }
}

fn of<M: Module>(module: &M, gradients: &Gradients) -> Vec<Option<Vec<f32>>> {
    let mut of = Of(gradients, Vec::new());
    module.visit(&mut of);
    of.1
}

/// Checks that `forward` gives `x` and the parameters of `module` the same gradients to the bit
/// with either call, for an `x` with a gradient and one without.
fn check<M: Module>(module: &M, device: &Device, forward: impl Fn(Call, &M, Tensor<2>) -> Tensor<2>) {
    let x = batch(device);
    for x in [x.clone(), x.require_grad()] {
        let [kept, again] = [Call::Kept, Call::Again].map(|call| {
            let y = forward(call, module, x.clone());
            let gradients = (y.clone() * y.clone()).mean().backward();
            (numbers(y), of(module, &gradients), x.grad(&gradients).map(numbers))
        });
        assert_eq!(kept.2.is_some(), x.is_require_grad());
        assert!(kept.1.iter().any(Option::is_some));
        assert_eq!(kept, again);
    }
}

#[test]
fn blocks_in_a_row_get_the_same_gradients() {
    let _alone = alone();
    check(&blocks(3), &device(), |call, blocks, x| blocks.iter().fold(x, |x, block| call.block(block, x)));
}

#[test]
fn residual_blocks_get_the_same_gradients() {
    let _alone = alone();
    check(&blocks(2), &device(), |call, blocks, x| {
        blocks.iter().fold(x, |x, block| x.clone() + call.block(block, x))
    });
}

#[test]
fn a_block_that_is_used_twice_gets_the_sum() {
    let _alone = alone();
    check(&blocks(1), &device(), |call, blocks, x| call.block(&blocks[0], call.block(&blocks[0], x)));
    // Inside and outside; the order of two terms does not matter.
    check(&blocks(1), &device(), |call, blocks, x| blocks[0].forward(call.block(&blocks[0], x)));
    check(&blocks(1), &device(), |call, blocks, x| call.block(&blocks[0], blocks[0].forward(x)));
}

#[test]
fn a_block_within_a_block_gets_the_same_gradients() {
    let _alone = alone();
    check(&blocks(3), &device(), |call, blocks, x| {
        call.on(blocks, x, move |blocks, x| {
            blocks.iter().fold(x, |x, block| x.clone() + call.block(block, x))
        })
    });
}

#[test]
fn burns_own_checkpointing_may_be_on_as_well() {
    let _alone = alone();
    let device = device().gradient_checkpointing();
    let blocks: Vec<Block> =
        initialize(7, &device, |device| (0..2).map(|_| Block::new(device)).collect()).unwrap();
    check(&blocks, &device, |call, blocks, x| {
        blocks.iter().fold(x, |x, block| x.clone() + call.block(block, x.mul_scalar(2.0)).exp())
    });
}

#[test]
fn a_frozen_or_unused_parameter_gets_no_gradient() {
    let _alone = alone();
    let mut blocks = blocks(2);
    blocks[0].first = blocks[0].first.clone().no_grad();
    check(&blocks, &device(), |call, blocks, x| {
        let x = call.block(&blocks[0], x);
        call.on(&blocks[1], x, |block, x| tanh(block.first.forward(x)))
    });
}

/// Casts the parameters; gradients are passed on to the originals.
struct ToHalf;

impl ModuleMapper for ToHalf {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(DType::BF16))
    }
}

#[test]
fn gradients_go_through_a_low_precision_view_to_the_masters() {
    let _alone = alone();
    check(&blocks(2), &device(), |call, blocks, x| {
        let low = blocks.clone().map(&mut ToHalf);
        low.iter().fold(x.cast(DType::BF16), |x, block| call.block(block, x)).cast(DType::F32)
    });
}

#[test]
fn a_cast_parameter_that_is_not_used_gives_its_master_zeros() -> Outcome {
    let _alone = alone();
    let blocks = blocks(1);
    let low = blocks.clone().map(&mut ToHalf);
    let x = batch(&device()).cast(DType::BF16);
    let y = checkpoint_activations(&low[0], x, |block, x| block.first.forward(x))?;
    let gradients = y.sum().backward();
    let second = blocks[0].second.weight.grad(&gradients).map(numbers);
    assert_eq!(second, Some(vec![0.0; 60]));
    assert_ne!(blocks[0].first.weight.grad(&gradients).map(numbers), Some(vec![0.0; 60]));
    Ok(())
}

#[test]
fn the_result_is_computed_twice_with_autodiff_and_once_without() -> Outcome {
    let _alone = alone();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = || {
        let calls = calls.clone();
        move |block: &Block, x| {
            calls.fetch_add(1, Ordering::Relaxed);
            block.forward(x)
        }
    };
    let block = &blocks(1)[0];
    let y = checkpoint_activations(block, batch(&device()), counted())?;
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    y.mean().backward();
    assert_eq!(calls.load(Ordering::Relaxed), 2);

    let x = batch(&device().without_autodiff());
    let block = block.valid();
    let y = checkpoint_activations(&block, x.clone(), counted())?;
    assert!(!y.is_autodiff());
    assert_eq!(numbers(y), numbers(block.forward(x)));
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    Ok(())
}

#[test]
fn nothing_is_drawn_in_evaluation() -> Outcome {
    let _alone = alone();
    let device = device().without_autodiff();
    let block = blocks(1)[0].valid();
    let draw = || numbers(batch(&device));
    device.seed(3);
    let expected = (draw(), draw()).1;
    device.seed(3);
    checkpoint_activations(&block, batch(&device), Block::forward)?;
    assert_eq!(draw(), expected);
    Ok(())
}

#[test]
fn a_tensor_with_a_gradient_that_comes_another_way_is_an_error() {
    let _alone = alone();
    let blocks = blocks(2);
    let other = blocks[1].clone();
    let error =
        checkpoint_activations(&blocks[0], batch(&device()), move |block, x| other.forward(block.forward(x)));
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "the result depends on a tensor with a gradient beside `x` and the parameters");

    // One without is a constant.
    check(&blocks, &device(), |call, blocks, x| {
        let mask = x.clone().detach().set_require_grad(false).greater_elem(0.0).float();
        call.on(blocks, x, move |blocks, x| blocks[0].forward(x) * mask.clone())
    });
}

/// Of ones, with a weight of one, a result is the mask and so are the gradients.
#[derive(Module, Debug)]
struct Drop {
    weight: Param<Tensor<1>>,
    dropout: Dropout,
}

impl Drop {
    fn new() -> Self {
        let weight = Param::from_data([1.0; 64], &device());
        Drop { weight, dropout: DropoutConfig::new(0.5).init() }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.dropout.forward(x * self.weight.val().unsqueeze())
    }
}

/// The masks and the gradient of the first input of `masks` layers one after the other.
fn masks(layers: &[Drop]) -> Vec<Vec<f32>> {
    let mut masks = Vec::new();
    for layer in layers {
        let x = Tensor::<2>::ones([1, 64], &device()).require_grad();
        let y = checkpoint_activations(layer, x.clone(), Drop::forward).unwrap();
        let gradients = y.clone().sum().backward();
        let mask = numbers(y);
        assert_eq!(x.grad(&gradients).map(numbers).as_ref(), Some(&mask));
        assert_eq!(layer.weight.grad(&gradients).map(numbers).as_ref(), Some(&mask));
        masks.push(mask);
    }
    masks
}

#[test]
fn dropout_has_the_same_mask_in_both_calls() {
    let _alone = alone();
    let layers = [Drop::new(), Drop::new(), Drop::new()];
    let drawn = |seed| {
        device().seed(seed);
        masks(&layers)
    };
    let first = drawn(5);
    assert!(first.iter().all(|mask| mask.contains(&0.0) && mask.contains(&2.0)));
    // Nor does one repeat what another drew, though each backward pass was between them.
    assert!(first[0] != first[1] && first[1] != first[2] && first[0] != first[2]);
    assert_eq!(first, drawn(5));
    assert_ne!(first, drawn(6));
}

#[test]
fn blocks_of_one_forward_pass_have_masks_of_their_own() -> Outcome {
    let _alone = alone();
    let layers = [Drop::new(), Drop::new()];
    let x = Tensor::<2>::ones([1, 64], &device()).require_grad();
    let pass = || -> Result<Vec<Vec<f32>>, BoxError> {
        let ys = [
            checkpoint_activations(&layers[0], x.clone(), Drop::forward)?,
            checkpoint_activations(&layers[1], x.clone(), Drop::forward)?,
        ];
        let gradients = (ys[0].clone() + ys[1].clone()).sum().backward();
        let masks: Vec<_> = ys.into_iter().map(numbers).collect();
        for (layer, mask) in layers.iter().zip(&masks) {
            assert_eq!(layer.weight.grad(&gradients).map(numbers).as_ref(), Some(mask));
        }
        Ok(masks)
    };
    device().seed(5);
    // Two passes of one step, as when gradients are accumulated.
    let all = [pass()?, pass()?].concat();
    for (i, mask) in all.iter().enumerate() {
        assert!(!all[..i].contains(mask), "mask {i} was there before");
    }
    Ok(())
}

#[test]
fn dropout_within_a_block_within_a_block_has_one_mask() -> Outcome {
    let _alone = alone();
    let layers = vec![Drop::new(), Drop::new()];
    let x = Tensor::<2>::ones([1, 64], &device()).require_grad();
    let y = checkpoint_activations(&layers, x.clone(), |layers, x| {
        layers[1].forward(Call::Again.on(&layers[0], x, Drop::forward))
    })?;
    let gradients = y.clone().sum().backward();
    let mask = numbers(y);
    assert!(mask.contains(&0.0) && mask.contains(&4.0));
    assert_eq!(x.grad(&gradients).map(numbers), Some(mask));
    Ok(())
}

#[derive(Module, Debug)]
struct Normed {
    linear: Linear,
    norm: BatchNorm,
}

#[test]
fn running_statistics_are_updated_once() -> Outcome {
    let _alone = alone();
    let device = device();
    let after = |call: Call| -> Result<_, BoxError> {
        let module = initialize(7, &device, |device| Normed {
            linear: LinearConfig::new(6, 6).init(device),
            norm: BatchNormConfig::new(6).init(device),
        })?;
        let mut gradients = Vec::new();
        for step in 0..3 {
            device.seed(step);
            let x = batch(&device);
            let y = call.on(&module, x, |module, x| module.norm.forward(module.linear.forward(x)));
            gradients.push(of(&module, &y.powi_scalar(3).mean().backward()));
        }
        let norm = module.valid().norm;
        Ok((numbers(norm.running_mean.value()), numbers(norm.running_var.value()), gradients))
    };
    let (kept, again) = (after(Call::Kept)?, after(Call::Again)?);
    assert_ne!(kept.0, vec![0.0; 6]);
    assert_eq!(kept, again);
    Ok(())
}
