//! The engine for Burn: a module with its optimizer.

use std::time::Instant;
use std::{fmt, mem};

use burn::lr_scheduler::module_lr_scheduler::{ModuleLearningRate, ModuleLrScheduler};
use burn::module::{Module, ParamGroup, ParamId};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, FloatDType, Tensor};
use regimen_core::BoxError;
use regimen_core::engine::{
    Bucket, Cost, Engine, Mode, Part, Precision, Role, Value, Variable, group_beside,
};
use regimen_core::saved::{AppState, Array, Parts, StateDict};

use crate::device::is_host;
use crate::gradients::{self, Gradients};
use crate::parameters::{Entry, Parameters};
use crate::reads::note_host_read;
use crate::unreached::Unreached;
use crate::values::Values;
use crate::{
    BurnDevice, BurnWeights, Momentum, buffers, exchange, freeze, module_state, optimizer_state, precision,
};

/// A Burn module with its optimizer on a device.
///
/// ```
/// use regimen_burn::burn::nn::LinearConfig;
/// use regimen_burn::burn::optim::AdamConfig;
/// use regimen_burn::{Burn, device, initialize};
///
/// let device = device("cpu")?;
/// let module = initialize(7, &device, |device| LinearConfig::new(4, 2).init(device))?;
/// let engine = Burn::new(module, AdamConfig::new().init(), &device)?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// Works with any optimizer of Burn's for a whole module, with parameter groups or without. Clip with
/// `AutoUnit`: the clipping of Burn's optimizers treats each parameter separately.
///
/// **Precision.** In `bf16` and `fp16` a copy of the module in that type computes, on batches whose floats
/// are cast to it. Parameters, their gradients and the optimizer stay in single precision. A loss is more
/// exact if logits are cast to single precision first: `logits.cast(FloatDType::F32)`. That changes nothing
/// without half precision. A batch norm is an error that names it.
///
/// **Measured costs** are the times of whole passes. Burn has no hooks from which the operations or the layers of
/// a module could be known. On a device that is not the CPU each pass is waited for. A backend that fuses
/// operations may then fuse others, which can change the last bits of the steps that are measured.
///
/// **If the optimizer panics** in the middle of a step, the module is as it was before the step, but the
/// optimizer's state may not be. Every later step is an error until a state of the optimizer is loaded.
pub struct Burn<M: Module> {
    module: M,
    parameters: Parameters,
    optimizer: ModuleOptimizer,
    /// Whether a step of the optimizer was interrupted.
    torn: bool,
    held: Gradients,
    unreached: Unreached,
    device: Device,
    groups: Vec<String>,
    /// Parameters of each group but the first, which has the rest.
    members: Vec<ParamGroup>,
    /// The buffers as remembered last.
    buffers: Values,
    /// The type in which the module computes, if it is half precision.
    half: Option<FloatDType>,
    /// The momentum of the optimizer, if it can be changed.
    momentum: Option<Momentum>,
    /// Whether losses stay on the device.
    reads_later: bool,
    /// The times of all passes so far, if they are measured.
    cost: Option<Cost>,
}

impl<M: Module> Burn<M> {
    /// Trains `module` with `optimizer` on `device`, to which the module is moved.
    ///
    /// All parameters are in one group, `default`; see [`group`](Burn::group). Parameters not drawn yet are
    /// drawn now; [`initialize`](crate::initialize) makes them repeatable. A parameter at two paths and a
    /// quantized one are errors that name it.
    pub fn new(mut module: M, optimizer: ModuleOptimizer, device: &Device) -> Result<Self, BoxError> {
        module_state::settle(&mut module)?;
        let module = module.train().fork(device);
        let parameters = Parameters::of(&module)?;
        Ok(Burn {
            unreached: Unreached::all(&parameters),
            parameters,
            module,
            optimizer,
            torn: false,
            held: Gradients::default(),
            device: device.clone().autodiff(),
            groups: vec!["default".to_owned()],
            members: Vec::new(),
            buffers: Values::default(),
            half: None,
            momentum: None,
            reads_later: !is_host(device),
            cost: None,
        })
    }

    /// Gives the parameters in `members` a separate learning rate, under `name`. If two groups share a
    /// parameter, the later one has it.
    ///
    /// A name already in use and a group without a trained parameter are errors.
    ///
    /// ```
    /// # use regimen_burn::burn::{module::ParamGroup, nn::LinearConfig, optim::SgdConfig};
    /// # use regimen_burn::{Burn, device, initialize};
    /// # let device = device("cpu")?;
    /// # let module = initialize(7, &device, |device| LinearConfig::new(4, 2).init(device))?;
    /// let engine = Burn::new(module, SgdConfig::new().init(), &device)?
    ///     .group("bias", ParamGroup::from_predicate("bias"))?;
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub fn group(mut self, name: impl Into<String>, members: ParamGroup) -> Result<Self, BoxError> {
        let name = name.into();
        if self.groups.contains(&name) {
            return Err(format!("two parameter groups are named `{name}`").into());
        }
        if !self.parameters.trained().any(|(path, entry)| members.matches(&entry.id, Some(path))) {
            let known: Vec<&str> = self.parameters.trained().map(|(path, _)| path).collect();
            let known = known.join(", ");
            return Err(format!("no trained parameter is in group `{name}`; there are: {known}").into());
        }
        self.groups.push(name);
        self.members.push(members);
        Ok(self)
    }

    /// Gives the momentum of which the optimizer was made, so that a schedule can change it: see [`Momentum`].
    pub fn momentum(self, momentum: Momentum) -> Self {
        Burn { momentum: Some(momentum), ..self }
    }

    /// Whether losses stay on the device until they are read. Default: on every device except the CPU, which
    /// has nothing to wait for.
    ///
    /// Burn's optimizers cannot leave out an update on the device. So the loss is read in each training step
    /// under [`NonFinite::Error`](regimen_core::auto_unit::NonFinite), the default. Only evaluation and
    /// `NonFinite::Ignore` read later. Clipping by norm reads the norm.
    pub fn reads_later(self, reads_later: bool) -> Self {
        Burn { reads_later, ..self }
    }

    /// The time at which the device has done all work up to here.
    fn now(&self) -> Instant {
        if !is_host(&self.device) {
            // A device that has failed fails in the step too.
            let _ = self.device.sync();
        }
        Instant::now()
    }

    /// The module, by value.
    pub fn into_module(self) -> M {
        self.module
    }

    /// The number of the group of a trained parameter.
    fn group_of(&self, id: ParamId, path: &str) -> usize {
        let own = self.members.iter().rposition(|members| members.matches(&id, Some(path)));
        own.map_or(0, |i| i + 1)
    }

    fn rates(&self, rates: &[f64]) -> Result<ModuleLearningRate, BoxError> {
        let (groups, given) = (self.groups.len(), rates.len());
        match rates {
            [default, others @ ..] if given == groups => Ok(match others {
                [] => (*default).into(),
                // Burn has rates per group only with a schedule; a number is a constant one.
                _ => (self.members.iter().zip(others))
                    .fold(ModuleLrScheduler::new(*default), |all, (members, rate)| {
                        all.with_group(members.clone(), *rate)
                    })
                    .step(),
            }),
            _ => Err(format!("{given} learning rates for {groups} parameter groups").into()),
        }
    }
}

impl<M: Module> fmt::Debug for Burn<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Burn")
            .field("module", &self.module)
            .field("device", &self.device)
            .field("groups", &self.groups)
            .finish_non_exhaustive()
    }
}

impl<M: Module> Engine for Burn<M> {
    type Module = M;
    type Scalar = Tensor<1>;
    type Device = BurnDevice;
    type Weights = BurnWeights<M>;

    fn module(&self) -> &M {
        &self.module
    }

    fn with_module<R>(&mut self, mode: Mode, f: impl FnOnce(&M) -> R) -> R {
        let view = match mode {
            Mode::Train => None,
            Mode::Eval | Mode::Predict => Some(self.module.valid()),
        };
        let module = view.as_ref().unwrap_or(&self.module);
        let is_measured = self.cost.is_some() && mode == Mode::Train;
        let begun = is_measured.then(|| self.now());
        let result = match self.half {
            None => f(module),
            Some(half) => f(&precision::cast(module, half)),
        };
        let time = begun.map(|begun| self.now() - begun);
        if let (Some(cost), Some(time)) = (&mut self.cost, time) {
            cost.forward.time += time;
        }
        result
    }

    fn device(&self, mode: Mode) -> BurnDevice {
        let device = self.device.clone();
        let device = if mode == Mode::Train { device } else { device.without_autodiff() };
        BurnDevice::new(device, self.half)
    }

    fn set_precision(&mut self, precision: Precision) -> Result<(), BoxError> {
        self.half = precision::half(&self.module, precision)?;
        Ok(())
    }

    fn seed(&mut self, seed: u64) {
        self.device.seed(seed);
    }

    fn release_memory(&mut self) -> Result<(), BoxError> {
        self.device.memory_cleanup();
        Ok(())
    }

    fn detach(&self, scalar: &Tensor<1>) -> Result<Value<Tensor<1>>, BoxError> {
        match scalar.dims() {
            [1] if self.reads_later => Ok(Value::Device(scalar.clone().without_autodiff())),
            _ => {
                note_host_read();
                Ok(Value::Host(scalar.clone().try_into_scalar::<f64>()?))
            }
        }
    }

    fn read(scalars: &[Tensor<1>]) -> Result<Vec<f64>, BoxError> {
        note_host_read();
        let alike = scalars.iter().all(|scalar| scalar.dtype() == scalars[0].dtype());
        if !alike {
            return scalars.iter().map(|scalar| Ok(scalar.clone().try_into_scalar::<f64>()?)).collect();
        }
        let read = Tensor::cat(scalars.to_vec(), 0).try_into_data_as::<f64>()?;
        Ok(read.as_slice::<f64>()?.to_vec())
    }

    fn weighted_sum(terms: &[(f64, &Tensor<1>)]) -> Result<Tensor<1>, BoxError> {
        let terms = terms.iter().map(|(weight, number)| (*number).clone().mul_scalar(*weight));
        terms.reduce(|sum, term| sum + term).ok_or_else(|| "a sum of no terms".into())
    }

    fn backward(&mut self, loss: &Tensor<1>, factor: Option<f64>) -> Result<(), BoxError> {
        if !loss.is_tracked() {
            return Err("the loss does not depend on a trained parameter".into());
        }
        // In half precision a scaled loss would overflow.
        let loss = if self.half.is_some() { loss.clone().cast(FloatDType::F32) } else { loss.clone() };
        let begun = self.cost.is_some().then(|| self.now());
        let gradients = match factor {
            None => loss.backward(),
            Some(factor) => loss.mul_scalar(factor).backward(),
        };
        let time = begun.map(|begun| self.now() - begun);
        if let (Some(cost), Some(time)) = (&mut self.cost, time) {
            cost.backward.time += time;
        }
        let gradients = GradientsParams::from_grads(gradients, &self.module);
        self.unreached.reach(&gradients, &self.module);
        self.held.add(gradients, &self.module);
        Ok(())
    }

    fn scale_gradients(&mut self, factor: f64) -> Result<(), BoxError> {
        self.held.scale(factor, &self.module);
        Ok(())
    }

    fn gradient_norm(&mut self) -> Result<f64, BoxError> {
        note_host_read();
        self.held.norm(&self.module)
    }

    fn clip_gradient_values(&mut self, limit: f64) -> Result<(), BoxError> {
        self.held.clamp(limit, &self.module);
        Ok(())
    }

    /// The units of a [`Linear`](burn::nn::Linear) are its columns, those of every other parameter the slices of its
    /// first dimension.
    fn clip_gradient_units(&mut self, factor: f64, floor: f64) -> Result<(), BoxError> {
        self.held.clip_units(factor, floor, &self.module);
        Ok(())
    }

    fn unreached(&self) -> Result<Vec<String>, BoxError> {
        Ok(self.unreached.paths(&self.module, &self.parameters))
    }

    fn discard_gradients(&mut self) {
        self.held = Gradients::default();
    }

    fn exchange_gradients(
        &mut self,
        bytes: usize,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        self.held = self.held.exchanged(&self.module, &self.parameters, bytes, exchange)?;
        Ok(())
    }

    fn retain_gradients(&mut self, keep: &dyn Fn(&str) -> bool) -> Result<(), BoxError> {
        let Burn { held, module, parameters, .. } = self;
        held.retain(module, |id| parameters.path(id).is_some_and(keep));
        Ok(())
    }

    fn exchange_parameters(
        &mut self,
        bytes: usize,
        is_own: &dyn Fn(&str) -> bool,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        exchange::exchange(&mut self.module, bytes, is_own, exchange)
    }

    /// Parameters frozen before the engine was made are exchanged too: Burn does not tell them from buffers.
    fn exchange_buffers(
        &mut self,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        buffers::exchange(&mut self.module, &self.parameters, exchange)
    }

    fn groups(&self) -> &[String] {
        &self.groups
    }

    fn freeze(&mut self, frozen: &[bool]) -> Result<(), BoxError> {
        if frozen.len() != self.groups.len() {
            let (given, groups) = (frozen.len(), self.groups.len());
            return Err(format!("{given} flags for {groups} parameter groups").into());
        }
        let trained = self.parameters.trained().map(|(path, entry)| (entry.id, path));
        let frozen = trained.map(|(id, path)| (id, frozen[self.group_of(id, path)])).collect();
        self.module = freeze::frozen(&self.module, &frozen);
        self.held.drop_frozen(&self.module);
        Ok(())
    }

    fn set_momentum(&mut self, momentum: f64) -> Result<(), BoxError> {
        let Some(own) = &self.momentum else {
            return Err("Burn's optimizers keep the momentum that they are made with; make this one of a \
                        `regimen_burn::Momentum`, and give it to `Burn::momentum`"
                .into());
        };
        own.set(momentum);
        Ok(())
    }

    fn step(&mut self, rates: &[f64]) -> Result<(), BoxError> {
        if self.torn {
            return Err("the optimizer panicked in an earlier step; load a checkpoint to go on".into());
        }
        let rates = self.rates(rates)?;
        self.torn = true;
        let gradients = mem::take(&mut self.held).into_inner();
        // Burn consumes the module; the copy shares its tensors, and remains after a panic.
        self.module = self.optimizer.step(rates, self.module.clone(), gradients);
        self.torn = false;
        Ok(())
    }

    fn keep_buffers(&mut self) -> Result<(), BoxError> {
        let Burn { module, parameters, .. } = self;
        if parameters.has_buffers() {
            self.buffers = Values::of(module, |id| !parameters.is_trained(id));
        }
        Ok(())
    }

    fn restore_buffers(&mut self, of: Option<&[bool]>) -> Result<(), BoxError> {
        if !self.parameters.has_buffers() {
            return Ok(());
        }
        let trained = || self.parameters.trained();
        let groups = || trained().map(|(path, entry)| (path, self.group_of(entry.id, path)));
        let mut module = self.module.clone();
        self.buffers.put_into(&mut module, |id| match (of, self.parameters.path(id)) {
            (Some(of), Some(path)) => of[group_beside(path, groups())],
            _ => true,
        });
        self.module = module;
        Ok(())
    }

    fn not_finite_parameter(&self) -> Result<Option<String>, BoxError> {
        let state = self.state(Part::Module)?;
        let finite = |path: &str| state.array(path).is_ok_and(Array::is_finite);
        let mut trained = self.parameters.trained().map(|(path, _)| path);
        Ok(trained.find(|path| !finite(path)).map(str::to_owned))
    }

    fn variables(&self) -> Result<Vec<Variable>, BoxError> {
        let now = Parameters::of(&self.module)?;
        let variable = |(path, entry): (&str, &Entry)| {
            let role = match (entry.trained, now.is_trained(entry.id)) {
                (true, true) => Role::Trained,
                (true, false) => Role::Frozen,
                (false, _) => Role::Buffer,
            };
            Variable { name: path.to_owned(), shape: entry.shape.clone(), dtype: entry.dtype, role }
        };
        Ok(self.parameters.iter().map(variable).collect())
    }

    fn measure(&mut self, on: bool) {
        self.cost = on.then(Cost::default);
    }

    fn costs(&self) -> Vec<Cost> {
        self.cost.clone().into_iter().collect()
    }

    fn weights(&self) -> Result<BurnWeights<M>, BoxError> {
        Ok(BurnWeights::of(&self.module))
    }

    fn blend(&self, weights: &mut BurnWeights<M>, share: f64, buffer_share: f64) -> Result<(), BoxError> {
        weights.blend(&self.module, &self.parameters, share, buffer_share);
        Ok(())
    }

    fn swap_weights(&mut self, weights: &mut BurnWeights<M>) {
        weights.swap(&mut self.module);
    }

    fn state(&self, part: Part) -> Result<StateDict, BoxError> {
        note_host_read();
        let Burn { module, optimizer, parameters, held, .. } = self;
        match part {
            Part::Module => module_state::state_dict(module),
            Part::Optimizer => optimizer_state::state_dict(optimizer, parameters),
            Part::Gradients => held.state_dict(module, parameters),
        }
    }

    fn check_state(&self, part: Part, dict: &StateDict) -> Result<(), BoxError> {
        let Burn { module, optimizer, parameters, .. } = self;
        match part {
            Part::Module => module_state::check(module, dict),
            Part::Optimizer => optimizer_state::loaded(optimizer, module, parameters, dict).map(drop),
            Part::Gradients => gradients::check(dict, parameters),
        }
    }

    fn load_state(&mut self, part: Part, dict: &StateDict) -> Result<(), BoxError> {
        let Burn { module, optimizer, parameters, .. } = self;
        match part {
            Part::Module => module_state::load(module, dict)?,
            Part::Optimizer => {
                *optimizer = optimizer_state::loaded(optimizer, module, parameters, dict)?;
                self.torn = false;
            }
            Part::Gradients => {
                self.held = Gradients::from_state_dict(dict, module, parameters)?;
                self.unreached.reach(self.held.inner(), module);
            }
        }
        Ok(())
    }
}

/// The parts `module` (the weights) and `optimizer`; held gradients are not saved. In a struct that derives
/// `AppState`, mark the field `#[app_state(nested)]`.
impl<M: Module> AppState for Burn<M> {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        parts.part("module", &mut self.part(Part::Module))?;
        parts.part("optimizer", &mut self.part(Part::Optimizer))
    }
}
