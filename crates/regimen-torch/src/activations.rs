//! Activation checkpointing: activations are recomputed in the backward pass.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use regimen_core::BoxError;
use tch::Tensor;

use crate::shim;

/// Computes `f(x)`. Keeps `x` for the backward pass, not the activations inside `f`.
///
/// The backward pass calls `f` once more when it first needs one of them: less memory for one more forward
/// pass. `f` returns one tensor or several, as always. It owns the tensors that it computes with; for layers,
/// which are not `Clone`, see [`Recomputed`].
///
/// ```
/// use regimen_torch::checkpoint_activations;
/// use regimen_torch::tch::{Device, Kind, Tensor};
///
/// let weight = Tensor::ones([8, 8], (Kind::Float, Device::Cpu)).set_requires_grad(true);
/// let own = weight.shallow_clone();
/// let x = Tensor::ones([3, 8], (Kind::Float, Device::Cpu));
/// let y = checkpoint_activations(&x, move |x| x.matmul(&own).tanh().matmul(&own).tanh())?;
/// y.sum(Kind::Float).backward();
/// assert_eq!(weight.grad().size(), [8, 8]);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// The graph is that of `f(x)` alone, so every gradient is the same to the bit. Nested calls, gradients of
/// some inputs only, second derivatives and a retained graph work as without this call, and as in
/// `torch.utils.checkpoint` with `use_reentrant=False`.
///
/// `f` draws the same numbers in both calls, so dropout has one mask. The generators of the CPU and of `x`'s
/// device continue as after one call. The types under autocast are the same. The running statistics of a
/// batch norm are updated once, or twice if neither its input nor its weights need a gradient. Other buffers
/// that `f` changes, such as a script's count of batches, are updated twice. If nothing is recorded, as in
/// evaluation, this is `f(x)`.
///
/// The tensors that `f` uses must be the same in the backward pass. A parameter, `x` or a needed tensor that
/// was changed in place is an error there, and so is an `f` that keeps other tensors than before. A changed
/// bias is not noticed. Tensors that `f` owns are kept, so pass a needed activation as `x`. A backward pass
/// within `f` that needs one of its activations is an error.
///
/// # Panics
///
/// If `f` panics. A panic in its second call is an error of the backward pass, with the same text.
pub fn checkpoint_activations<R>(
    x: &Tensor,
    f: impl Fn(&Tensor) -> R + Send + 'static,
) -> Result<R, BoxError> {
    if shim::activations::is_recording() { shim::activations::region(x, f) } else { Ok(f(x)) }
}

/// A block of layers shared by a forward and a backward pass, so that [`checkpoint_activations`] can
/// recompute it.
///
/// ```
/// use regimen_torch::tch::nn::{Module, self};
/// use regimen_torch::tch::{Device, Kind, Tensor};
/// use regimen_torch::{Recomputed, initialize};
///
/// let (vars, blocks) = initialize(7, Device::Cpu, |root| {
///     let linear = |name| nn::linear(root / name, 8, 8, Default::default());
///     ["a", "b", "c"].map(|name| Recomputed::new(linear(name)))
/// });
/// let mut x = Tensor::ones([3, 8], (Kind::Float, Device::Cpu));
/// for block in &blocks {
///     x = block.forward(&x, |linear, x| linear.forward(x).gelu("none"))?;
/// }
/// x.sum(Kind::Float).backward();
/// assert!(vars.trainable_variables().iter().all(|parameter| parameter.grad().defined()));
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// A clone is the same block. One thread at a time computes with it.
#[derive(Debug)]
pub struct Recomputed<B>(Arc<Mutex<B>>);

impl<B: Send + 'static> Recomputed<B> {
    /// A block whose parameters are already in a store.
    pub fn new(block: B) -> Self {
        Recomputed(Arc::new(Mutex::new(block)))
    }

    /// Computes `f(block, x)` as [`checkpoint_activations`] does. `f` may use this block only through its
    /// argument: the block is locked.
    pub fn forward<R>(
        &self,
        x: &Tensor,
        f: impl Fn(&B, &Tensor) -> R + Send + 'static,
    ) -> Result<R, BoxError> {
        let own = self.clone();
        checkpoint_activations(x, move |x| f(&own.lock(), x))
    }

    /// The block itself, until the guard is dropped.
    pub fn lock(&self) -> MutexGuard<'_, B> {
        // A panic in a forward pass leaves the layers as they were.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Clone for Recomputed<B> {
    fn clone(&self) -> Self {
        Recomputed(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::shim::Autocast;

    fn ones() -> Tensor {
        Tensor::ones([4, 4], (Kind::Float, Device::Cpu))
    }

    fn autocast(kind: Kind) -> Autocast {
        Autocast::enter(Device::Cpu, kind).unwrap()
    }

    /// The present type of products.
    fn kind() -> Kind {
        ones().matmul(&ones()).kind()
    }

    /// The gradient if the forward pass is under autocast and the backward pass may be under another.
    fn gradient(keeps: bool, backward: Option<Kind>) -> Vec<f32> {
        let weight = (ones() / 3.0).set_requires_grad(true);
        let own = weight.shallow_clone();
        let f = move |x: &Tensor| x.matmul(&own).tanh().matmul(&own).exp();
        let scope = autocast(Kind::BFloat16);
        let y = if keeps { f(&ones()) } else { checkpoint_activations(&ones(), f).unwrap() };
        assert_eq!(y.kind(), Kind::BFloat16);
        drop(scope);
        assert_eq!(kind(), Kind::Float);
        let scope = backward.map(autocast);
        y.sum(Kind::Float).f_backward().unwrap();
        assert_eq!(kind(), backward.unwrap_or(Kind::Float));
        drop(scope);
        assert_eq!(kind(), Kind::Float);
        weight.grad().flatten(0, -1).try_into().unwrap()
    }

    #[test]
    fn what_is_computed_again_is_in_the_types_of_the_forward_pass() {
        for backward in [None, Some(Kind::BFloat16), Some(Kind::Half)] {
            assert_eq!(gradient(false, backward), gradient(true, backward), "{backward:?}");
        }
    }

    #[test]
    fn an_error_in_the_backward_pass_leaves_autocast_as_it_was() {
        let calls = std::cell::Cell::new(0);
        let own = ones().set_requires_grad(true);
        let scope = autocast(Kind::BFloat16);
        let y = checkpoint_activations(&ones(), move |x| {
            assert!(calls.replace(1) == 0, "in {:?}", kind());
            x.matmul(&own).tanh()
        });
        drop(scope);
        let error = y.unwrap().sum(Kind::Float).f_backward().unwrap_err();
        assert_eq!((crate::failure(error).to_string(), kind()), ("in BFloat16".to_owned(), Kind::Float));
    }
}
