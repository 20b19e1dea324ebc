//! A momentum that can be changed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use burn::optim::{LearningRate, Optimizer};
use burn::tensor::{Device, Tensor};

/// A momentum of Burn's optimizers that can be changed, for
/// [`AutoUnit::momentum`](regimen_core::AutoUnit::momentum). Clones are one momentum.
///
/// An optimizer of Burn's keeps the momentum that it was made with. So [`optimizer`](Momentum::optimizer) takes a
/// closure, which makes one for each step. The state is the optimizer's own, under the same names.
///
/// ```
/// use regimen_burn::burn::nn::LinearConfig;
/// use regimen_burn::burn::optim::{SgdConfig, momentum::MomentumConfig};
/// use regimen_burn::{Burn, Momentum, device, initialize};
///
/// let momentum = Momentum::new(0.9);
/// let sgd = momentum.optimizer(|momentum| {
///     let momentum = MomentumConfig::new().with_momentum(momentum).with_dampening(0.0);
///     SgdConfig::new().with_momentum(Some(momentum)).build()
/// });
/// let device = device("cpu")?;
/// let module = initialize(7, &device, |device| LinearConfig::new(4, 2).init(device))?;
/// let engine = Burn::new(module, sgd.into(), &device)?.momentum(momentum);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Momentum(Arc<AtomicU64>);

impl Momentum {
    /// The momentum until it is changed.
    pub fn new(momentum: f64) -> Self {
        Momentum(Arc::new(momentum.to_bits().into()))
    }

    /// An optimizer with this momentum: `make` makes it of the present number. That of Adam is its first beta. It is
    /// for a whole module, by `into`, or for a group of its parameters, by `ModuleOptimizer::with_group`.
    pub fn optimizer<O: Optimizer>(
        &self,
        make: impl Fn(f64) -> O + Send + Sync + 'static,
    ) -> MomentumOptimizer<O> {
        MomentumOptimizer { momentum: self.clone(), make: Arc::new(make) }
    }

    /// Changes it, for the next steps of all optimizers made of it.
    pub fn set(&self, momentum: f64) {
        self.0.store(momentum.to_bits(), Relaxed);
    }

    /// The present number.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

/// An optimizer of Burn's whose momentum can be changed: see [`Momentum::optimizer`].
pub struct MomentumOptimizer<O> {
    momentum: Momentum,
    make: Arc<dyn Fn(f64) -> O + Send + Sync>,
}

impl<O: Optimizer> Optimizer for MomentumOptimizer<O> {
    type State<const D: usize> = O::State<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        tensor: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<O::State<D>>,
    ) -> (Tensor<D>, Option<O::State<D>>) {
        (self.make)(self.momentum.get()).step(rate, tensor, gradient, state)
    }

    fn to_device<const D: usize>(state: O::State<D>, device: &Device) -> O::State<D> {
        O::to_device(state, device)
    }
}

impl<O> Clone for MomentumOptimizer<O> {
    fn clone(&self) -> Self {
        MomentumOptimizer { momentum: self.momentum.clone(), make: self.make.clone() }
    }
}

impl<O> fmt::Debug for MomentumOptimizer<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MomentumOptimizer").field("momentum", &self.momentum.get()).finish_non_exhaustive()
    }
}
