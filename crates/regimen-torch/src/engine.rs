//! The engine for libtorch: a model of tch with its optimizer.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use regimen_core::BoxError;
use regimen_core::engine::{
    Bucket, Cost, Engine, Mode, Part, Precision, Role, Value, Variable, exchange_after_backward,
};
use regimen_core::saved::{AppState, Parts, StateDict, Stateful};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use crate::array::{dtype, shape};
use crate::buffers::Buffers;
use crate::costs::Costs;
use crate::failure::{failure, recording};
use crate::seed::set_seed;
use crate::shim::Autocast;
use crate::unreached::Unreached;
use crate::{Algorithm, Optim, TorchDevice, TorchWeights, gradients, module_state, overlap, shim};

/// A model of tch with its optimizer, on the device of its [`VarStore`].
///
/// ```
/// use regimen_torch::tch::nn;
/// use regimen_torch::{Adam, Torch, device, initialize};
///
/// let (vars, module) = initialize(7, device("cpu")?, |root| {
///     nn::linear(root / "layer", 4, 2, Default::default())
/// });
/// let engine = Torch::new(vars, module, Adam::new())?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// `M` computes with the variables: a layer, a struct of layers, a closure. All its parameters and buffers
/// must be in the store, and have the names there.
///
/// **Precision.** `bf16` and `fp16` are libtorch's autocast, on the CPU and on CUDA. Operations that are
/// accurate enough compute in half precision, the others, such as losses, in single. `tf32` and `fp32` on
/// CUDA set libtorch's switches for TensorFloat-32, which apply to the whole process. Without either they
/// have PyTorch's defaults: on for convolutions, off for matrix products.
///
/// **If a kernel fails in the middle of an optimizer's step** (out of memory, say), some parameters have
/// moved and others have not. Load a checkpoint to continue exactly.
pub struct Torch<M> {
    module: M,
    optim: Optim,
    buffers: Buffers,
    vars: VarStore,
    unreached: Unreached,
    /// The type of autocast, if it is on.
    autocast: Option<Kind>,
    detects_anomaly: bool,
    /// The costs so far, if they are measured.
    costs: Option<Costs>,
    /// Whether losses and norms stay on the device.
    reads_later: bool,
    /// On the device: 1 if the next step must be left out, else 0.
    skip: Option<Tensor>,
}

impl<M> Torch<M> {
    /// Trains the variables in `vars` that require a gradient now, with `algorithm`. Variables frozen
    /// beforehand (`tensor.set_requires_grad(false)`) are saved with the rest and not trained.
    ///
    /// All parameters are in one group, `default`; see [`group`](Torch::group). Invalid settings, a parameter
    /// under two names and one that is a view with gaps are errors.
    pub fn new(vars: VarStore, module: M, algorithm: impl Into<Algorithm>) -> Result<Self, BoxError> {
        let optim = Optim::new(&vars, algorithm)?;
        let buffers = Buffers::of(optim.parameters(), |i| optim.group_of(i))?;
        let unreached = Unreached::all(optim.parameters());
        let reads_later = vars.device() != Device::Cpu;
        Ok(Torch {
            module,
            optim,
            buffers,
            vars,
            unreached,
            autocast: None,
            detects_anomaly: false,
            costs: None,
            reads_later,
            skip: None,
        })
    }

    /// Gives the parameters whose name `members` accepts separate settings and a separate learning rate: see
    /// [`Optim::group`].
    ///
    /// ```
    /// # use regimen_torch::{Adam, Torch, device, initialize, tch::nn};
    /// # let (vars, module) = initialize(7, device("cpu")?, |root| {
    /// #     nn::linear(root / "layer", 4, 2, Default::default())
    /// # });
    /// let decay = Adam::with_decoupled_decay();
    /// let engine = Torch::new(vars, module, decay)?
    ///     .group("no_decay", |name| name.ends_with("bias"), decay.weight_decay(0.0))?;
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub fn group(
        self,
        name: impl Into<String>,
        members: impl Fn(&str) -> bool,
        algorithm: impl Into<Algorithm>,
    ) -> Result<Self, BoxError> {
        let optim = self.optim.group(name, members, algorithm)?;
        let buffers = Buffers::of(optim.parameters(), |i| optim.group_of(i))?;
        Ok(Torch { optim, buffers, ..self })
    }

    /// Whether losses and gradient norms stay on the device until they are read, so that a step does not wait
    /// for it. They wait on the device of the model; a loss on another device is moved there. Default: on every
    /// device except the CPU, which has nothing to wait for.
    pub fn reads_later(self, reads_later: bool) -> Self {
        Torch { reads_later, ..self }
    }

    /// The store of the model's variables.
    pub fn vars(&self) -> &VarStore {
        &self.vars
    }

    /// The store and the module, by value.
    pub fn into_parts(self) -> (VarStore, M) {
        (self.vars, self.module)
    }

    fn trained(&self) -> &[Tensor] {
        self.optim.parameters().trained()
    }
}

impl<M> fmt::Debug for Torch<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Torch").field("vars", &self.vars).field("optim", &self.optim).finish_non_exhaustive()
    }
}

/// Number of reads of several numbers in one piece, in all threads.
static READS: AtomicU64 = AtomicU64::new(0);

/// Number of reads from the device since the first call, in all threads: libtorch's profiler event
/// `aten::_local_scalar_dense`, and reads of several numbers in one piece. The step counts that the fused
/// Adam of the CPU reads are not included. For tests.
#[doc(hidden)]
pub fn host_reads() -> u64 {
    shim::scalar_reads() + READS.load(Relaxed)
}

/// `loss` times `factor`. It is an error if it has no gradient.
fn scaled(loss: &Tensor, factor: Option<f64>) -> Result<Tensor, BoxError> {
    if !loss.requires_grad() {
        return Err("the loss does not depend on a trained parameter".into());
    }
    factor.map_or_else(|| Ok(loss.shallow_clone()), |factor| loss.f_mul_scalar(factor)).map_err(failure)
}

impl<M> Engine for Torch<M> {
    type Module = M;
    type Scalar = Tensor;
    type Device = TorchDevice;
    type Weights = TorchWeights;

    fn module(&self) -> &M {
        &self.module
    }

    fn with_module<R>(&mut self, mode: Mode, f: impl FnOnce(&M) -> R) -> R {
        recording(mode == Mode::Train, || {
            // It was entered once to check that it is supported.
            let _scope = self.autocast.and_then(|kind| Autocast::enter(self.vars.device(), kind).ok());
            match &mut self.costs {
                Some(costs) if mode == Mode::Train => {
                    costs.forward(self.optim.parameters(), || f(&self.module))
                }
                _ => f(&self.module),
            }
        })
    }

    fn set_precision(&mut self, precision: Precision) -> Result<(), BoxError> {
        let device = self.vars.device();
        let autocast = match precision {
            Precision::TF32 if !device.is_cuda() => {
                return Err(format!("tf32 is of CUDA devices, and the model is on {device:?}").into());
            }
            Precision::F32 | Precision::TF32 => None,
            Precision::BF16 => Some(Kind::BFloat16),
            Precision::F16 => Some(Kind::Half),
        };
        if let Some(kind) = autocast {
            drop(Autocast::enter(device, kind)?);
        } else if device.is_cuda() {
            shim::allow_tf32(precision == Precision::TF32)?;
        }
        self.autocast = autocast;
        Ok(())
    }

    fn detect_anomaly(&mut self, on: bool) {
        self.detects_anomaly = on;
    }

    fn device(&self, _: Mode) -> TorchDevice {
        TorchDevice(self.vars.device())
    }

    fn seed(&mut self, seed: u64) {
        set_seed(seed);
    }

    /// Empties the caching allocator of CUDA, and trims the heap of the process where glibc manages it.
    fn release_memory(&mut self) -> Result<(), BoxError> {
        shim::release_memory(self.vars.device().is_cuda())
    }

    fn detach(&self, scalar: &Tensor) -> Result<Value<Tensor>, BoxError> {
        if !self.reads_later {
            return scalar.f_double_value(&[]).map(Value::Host).map_err(failure);
        }
        match scalar.numel() {
            // All numbers that wait are on one device, to be read in one piece.
            1 => {
                let here = scalar.f_detach().and_then(|scalar| scalar.f_to_device(self.vars.device()));
                here.map(Value::Device).map_err(failure)
            }
            _ => Err(format!("a loss of shape {:?} is not a single number", scalar.size()).into()),
        }
    }

    fn read(scalars: &[Tensor]) -> Result<Vec<f64>, BoxError> {
        READS.fetch_add(1, Relaxed);
        let flat = scalars.iter().map(|scalar| scalar.f_reshape([1])).collect::<Result<Vec<_>, _>>();
        // In one piece, and widened only on the host: not every device has doubles.
        let read = Tensor::f_cat(&flat.map_err(failure)?, 0)
            .and_then(|all| all.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double));
        Vec::try_from(read.map_err(failure)?).map_err(failure)
    }

    fn weighted_sum(terms: &[(f64, &Tensor)]) -> Result<Tensor, BoxError> {
        let mut terms = terms.iter().map(|(weight, number)| number.f_mul_scalar(*weight));
        let first = terms.next().ok_or("a sum of no terms")?;
        terms.try_fold(first.map_err(failure)?, |sum, term| sum.f_add(&term?)).map_err(failure)
    }

    fn backward(&mut self, loss: &Tensor, factor: Option<f64>) -> Result<(), BoxError> {
        let loss = &scaled(loss, factor)?;
        let backward = || match self.detects_anomaly {
            true => shim::detecting_backward(loss),
            false => loss.f_backward().map_err(failure),
        };
        match &mut self.costs {
            Some(costs) => costs.backward(self.optim.parameters(), backward)?,
            None => backward()?,
        }
        self.unreached.reach(self.optim.parameters());
        Ok(())
    }

    fn scale_gradients(&mut self, factor: f64) -> Result<(), BoxError> {
        shim::scale_gradients(self.trained(), factor)
    }

    fn gradient_norm(&mut self) -> Result<f64, BoxError> {
        shim::gradient_norm(self.trained())
    }

    fn clip_gradient_norm(&mut self, limit: f64) -> Result<Value<Tensor>, BoxError> {
        if self.reads_later {
            // Without gradients nothing is on the device.
            let norm = shim::clip_gradient_norm(self.trained(), limit)?;
            return norm.f_to_device(self.vars.device()).map(Value::Device).map_err(failure);
        }
        let norm = self.gradient_norm()?;
        if limit < norm && norm.is_finite() {
            self.scale_gradients(limit / norm)?;
        }
        Ok(Value::Host(norm))
    }

    fn skip_unless_finite(&mut self, scalar: &Tensor) -> Result<bool, BoxError> {
        let here = self.vars.device();
        let finite = || scalar.f_isfinite()?.f_reshape([0_i64; 0])?.f_to_device(here);
        let finite = finite().map_err(failure)?;
        self.buffers.restore_unless(&finite)?;
        let skip = finite.f_logical_not().and_then(|skip| skip.f_to_kind(Kind::Float)).map_err(failure)?;
        self.skip = Some(match &self.skip {
            None => skip,
            Some(before) => before.f_maximum(&skip).map_err(failure)?,
        });
        Ok(true)
    }

    fn clip_gradient_values(&mut self, limit: f64) -> Result<(), BoxError> {
        shim::clamp_gradients(self.trained(), limit)
    }

    /// The units of a parameter are the slices of its first dimension.
    fn clip_gradient_units(&mut self, factor: f64, floor: f64) -> Result<(), BoxError> {
        shim::clip_gradient_units(self.trained(), factor, floor)
    }

    fn unreached(&self) -> Result<Vec<String>, BoxError> {
        Ok(self.unreached.names(self.optim.parameters()))
    }

    fn discard_gradients(&mut self) {
        // It fails only for an undefined tensor.
        let _ = self.optim.clear_gradients();
        self.skip = None;
    }

    fn exchange_gradients(
        &mut self,
        bytes: usize,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        gradients::exchange(self.optim.parameters(), bytes, false, exchange)
    }

    /// A bucket of gradients on a GPU is a `CudaBuffer` of the crate `regimen-cuda`. Its stream is the current one.
    fn exchange_gradients_on_device(
        &mut self,
        bytes: usize,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        gradients::exchange(self.optim.parameters(), bytes, true, exchange)
    }

    /// On CPUs a second thread exchanges each bucket as soon as the backward pass has all of its gradients, and drops those
    /// that are not kept. The buckets are in the order in which the parameters were created, from the last to the first, and
    /// the flags follow them.
    fn backward_and_exchange(
        &mut self,
        loss: Option<&Tensor>,
        factor: Option<f64>,
        mean: Option<f64>,
        bytes: usize,
        keep: Option<&dyn Fn(&str) -> bool>,
        exchange: &mut (dyn FnMut(Bucket<'_>) -> Result<(), BoxError> + Send),
    ) -> Result<(), BoxError> {
        // Gradients on a GPU are complete only when its queue is.
        if self.detects_anomaly || self.vars.device() != Device::Cpu {
            return exchange_after_backward(self, loss, factor, mean, bytes, keep, exchange);
        }
        let loss = loss.map(|loss| scaled(loss, factor)).transpose()?;
        let Torch { optim, costs, unreached, .. } = self;
        let parameters = optim.parameters();
        overlap::exchange(parameters, unreached, mean, bytes, keep, exchange, |trained, complete| {
            let Some(loss) = &loss else { return Ok(()) };
            let mut backward = || shim::telling_backward(loss, trained, complete);
            match costs {
                Some(costs) => costs.backward(parameters, backward),
                None => backward(),
            }
        })
    }

    fn retain_gradients(&mut self, keep: &dyn Fn(&str) -> bool) -> Result<(), BoxError> {
        gradients::retain(self.optim.parameters(), keep)
    }

    fn exchange_parameters(
        &mut self,
        bytes: usize,
        is_own: &dyn Fn(&str) -> bool,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        self.optim.parameters().exchange(bytes, false, is_own, exchange)
    }

    /// A bucket on a GPU is that of [`exchange_gradients_on_device`](Engine::exchange_gradients_on_device).
    fn exchange_parameters_on_device(
        &mut self,
        bytes: usize,
        is_own: &dyn Fn(&str) -> bool,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        self.optim.parameters().exchange(bytes, true, is_own, exchange)
    }

    fn exchange_buffers(
        &mut self,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        self.buffers.exchange(exchange)
    }

    fn groups(&self) -> &[String] {
        self.optim.groups()
    }

    fn freeze(&mut self, frozen: &[bool]) -> Result<(), BoxError> {
        self.optim.freeze(frozen)
    }

    /// The momentum of SGD and of RMSprop, and the first beta of Adam; see [`Optim::set_momentum`].
    fn set_momentum(&mut self, momentum: f64) -> Result<(), BoxError> {
        self.optim.set_momentum(momentum)
    }

    fn step(&mut self, rates: &[f64]) -> Result<(), BoxError> {
        self.optim.step_unless(rates, self.skip.as_ref())?;
        self.skip = None;
        Ok(())
    }

    fn settings(&self) -> Vec<(String, String)> {
        self.optim.settings()
    }

    fn keep_buffers(&mut self) -> Result<(), BoxError> {
        self.buffers.keep()
    }

    fn restore_buffers(&mut self, of: Option<&[bool]>) -> Result<(), BoxError> {
        self.buffers.restore(of)
    }

    fn not_finite_parameter(&self) -> Result<Option<String>, BoxError> {
        for (name, tensor) in self.optim.parameters().by_name() {
            let all = tensor.f_isfinite().and_then(|finite| finite.f_all()).map_err(failure)?;
            if all.f_int64_value(&[]).map_err(failure)? == 0 {
                return Ok(Some(name.to_owned()));
            }
        }
        Ok(None)
    }

    fn variables(&self) -> Result<Vec<Variable>, BoxError> {
        let parameters = self.optim.parameters();
        let variable = |(name, tensor): (&String, &Tensor)| -> Result<Variable, BoxError> {
            let role = match (parameters.is_buffer(name), tensor.requires_grad()) {
                (true, _) => Role::Buffer,
                (false, true) => Role::Trained,
                (false, false) => Role::Frozen,
            };
            let dtype = dtype(tensor.kind()).map_err(|cause| format!("`{name}`: {cause}"))?;
            Ok(Variable { name: name.clone(), shape: shape(tensor), dtype, role })
        };
        parameters.all().iter().map(variable).collect()
    }

    fn measure(&mut self, on: bool) {
        self.costs = on.then(Costs::default);
    }

    fn costs(&self) -> Vec<Cost> {
        self.costs.as_ref().map(Costs::all).unwrap_or_default()
    }

    fn weights(&self) -> Result<TorchWeights, BoxError> {
        TorchWeights::of(self.optim.parameters())
    }

    fn blend(&self, weights: &mut TorchWeights, share: f64, buffer_share: f64) -> Result<(), BoxError> {
        weights.blend(self.optim.parameters(), share, buffer_share)
    }

    fn swap_weights(&mut self, weights: &mut TorchWeights) {
        weights.swap(self.optim.parameters());
    }

    fn state(&self, part: Part) -> Result<StateDict, BoxError> {
        match part {
            Part::Module => module_state::state_dict(self.optim.parameters()),
            Part::Optimizer => self.optim.state_dict(),
            Part::Gradients => gradients::state_dict(self.optim.parameters()),
        }
    }

    fn check_state(&self, part: Part, dict: &StateDict) -> Result<(), BoxError> {
        match part {
            Part::Module => module_state::check(self.optim.parameters(), dict),
            Part::Optimizer => self.optim.check_state_dict(dict),
            Part::Gradients => self.optim.parameters().check_gradients(dict),
        }
    }

    fn load_state(&mut self, part: Part, dict: &StateDict) -> Result<(), BoxError> {
        match part {
            Part::Module => module_state::load(self.optim.parameters(), dict)?,
            Part::Optimizer => self.optim.load_state_dict(dict)?,
            Part::Gradients => {
                gradients::load(self.optim.parameters(), dict)?;
                self.unreached.reach(self.optim.parameters());
            }
        }
        Ok(())
    }
}

/// The parts `module` (the weights) and `optimizer`; held gradients are not saved. In a struct that derives
/// `AppState`, mark the field `#[app_state(nested)]`.
impl<M> AppState for Torch<M> {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        parts.part("module", &mut self.part(Part::Module))?;
        parts.part("optimizer", &mut self.part(Part::Optimizer))
    }
}
