//! The engine of the toy library.

use std::collections::BTreeSet;
use std::time::Duration;

use regimen_core::BoxError;
use regimen_core::engine::{Bucket, Cost, Engine, Mode, Part, Precision, Role, Value, Variable};
use regimen_core::saved::{AppState, Dtype, Parts, StateDict};

use super::global::{in_precision, note_host_read};
use super::vars::stored;
use super::{ToyArray, ToyDevice, ToyOptimizer, ToyVars, ToyWeights, manual_seed, without_gradients};

/// A module of toy arrays with its optimizer.
///
/// The held gradients are the slots of the parameters, as in libtorch. All parameters are in the group
/// `default`, except those of a [`group`](ToyEngine::group). Where costs are measured, each forward pass is said to
/// take 1 ms, and each backward pass 2 ms.
#[derive(Debug)]
pub struct ToyEngine<M> {
    vars: ToyVars,
    module: M,
    optimizer: ToyOptimizer,
    groups: Vec<String>,
    /// The place in `groups` of each parameter, in the order of their names.
    group_of: Vec<usize>,
    /// The place in `groups` of each buffer, and its remembered value.
    buffers: Vec<(usize, Vec<f64>)>,
    precision: Precision,
    /// The names of the parameters that no backward pass has reached.
    unreached: BTreeSet<String>,
    /// Whether losses and norms stay on the device.
    reads_later: bool,
    /// Whether the next step is left out.
    skips: bool,
    /// The cost of all passes so far, if it is measured.
    cost: Option<Cost>,
    releases: u64,
}

impl<M> ToyEngine<M> {
    /// `module`, whose parameters are in `vars`, with `optimizer`.
    pub fn new(vars: ToyVars, module: M, optimizer: ToyOptimizer) -> Self {
        let group_of = vec![0; vars.parameters().len()];
        let buffers = vars.buffers().values().map(|buffer| (0, buffer.values())).collect();
        let (groups, precision) = (vec!["default".to_owned()], Precision::F32);
        let unreached = vars.parameters().keys().cloned().collect();
        let (reads_later, skips) = (false, false);
        ToyEngine {
            vars,
            module,
            optimizer,
            groups,
            group_of,
            buffers,
            precision,
            unreached,
            reads_later,
            skips,
            cost: None,
            releases: 0,
        }
    }

    /// Leaves losses and norms on the device until they are read, as the engine of an asynchronous device
    /// does. [`host_reads`](super::host_reads) counts the reads all the same.
    pub fn reads_later(self) -> Self {
        ToyEngine { reads_later: true, ..self }
    }

    /// Makes a group of the parameters and buffers whose names `belongs` accepts.
    pub fn group(mut self, name: &str, belongs: impl Fn(&str) -> bool) -> Self {
        for (parameter, group) in self.vars.parameters().keys().zip(&mut self.group_of) {
            if belongs(parameter) {
                *group = self.groups.len();
            }
        }
        for (buffer, (group, _)) in self.vars.buffers().keys().zip(&mut self.buffers) {
            if belongs(buffer) {
                *group = self.groups.len();
            }
        }
        self.groups.push(name.to_owned());
        self
    }

    /// The parameters, buffers and train flag of the module.
    pub fn vars(&self) -> &ToyVars {
        &self.vars
    }

    /// Number of calls of [`release_memory`](Engine::release_memory).
    pub fn memory_releases(&self) -> u64 {
        self.releases
    }

    /// Removes those that hold a gradient.
    fn note_reached(&mut self) {
        let parameters = self.vars.parameters();
        self.unreached.retain(|name| parameters[name].gradient().is_none());
    }

    fn norm(&self) -> f64 {
        let gradients = self.vars.parameters().values().filter_map(ToyArray::gradient);
        gradients.flatten().map(|element| element * element).sum::<f64>().sqrt()
    }

    fn change_gradients(&mut self, mut change: impl FnMut(&mut f64)) {
        for parameter in self.vars.parameters().values() {
            let mut gradient = parameter.gradient();
            gradient.iter_mut().flatten().for_each(&mut change);
            parameter.set_gradient(gradient);
        }
    }

    fn exchange_as(
        &mut self,
        bucket_of: fn(&mut Vec<f64>) -> Bucket<'_>,
        bytes: usize,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        let parameters = self.vars.parameters().values();
        let flag = |parameter: &ToyArray| if parameter.gradient().is_some() { 1.0 } else { 0.0 };
        let mut flags: Vec<f32> = parameters.clone().map(flag).collect();
        exchange(Bucket::F32(&mut flags))?;
        let held_somewhere: Vec<&ToyArray> =
            parameters.clone().zip(&flags).filter(|(_, flag)| **flag != 0.0).map(|(own, _)| own).collect();
        let mut exchanged = Vec::new();
        for bucket in buckets(&held_somewhere, bytes) {
            let zeros = |parameter: &ToyArray| vec![0.0; parameter.values().len()];
            let held = |parameter: &&ToyArray| parameter.gradient().unwrap_or_else(|| zeros(parameter));
            let mut flat: Vec<f64> = bucket.iter().flat_map(held).collect();
            exchange(bucket_of(&mut flat))?;
            exchanged.extend(flat);
        }
        // Held only if all of it succeeded.
        parameters.for_each(|parameter| parameter.set_gradient(None));
        let mut rest = exchanged.into_iter();
        for parameter in held_somewhere {
            let gradient = rest.by_ref().take(parameter.values().len()).collect();
            parameter.set_gradient(parameter.is_tracked().then_some(gradient));
        }
        Ok(())
    }
}

/// `parameters` cut into runs of at most `bytes`.
fn buckets<'p>(parameters: &'p [&'p ToyArray], bytes: usize) -> impl Iterator<Item = &'p [&'p ToyArray]> {
    let mut filled = 0;
    parameters.chunk_by(move |before, next| {
        filled += 8 * before.values().len();
        let fits = filled + 8 * next.values().len() <= bytes;
        if !fits {
            filled = 0;
        }
        fits
    })
}

impl<M> Engine for ToyEngine<M> {
    type Module = M;
    type Scalar = ToyArray;
    type Device = ToyDevice;
    type Weights = ToyWeights;

    fn module(&self) -> &M {
        &self.module
    }

    fn with_module<R>(&mut self, mode: Mode, f: impl FnOnce(&M) -> R) -> R {
        /// Restores the train flag if `f` panics too.
        struct Restore<'a>(&'a ToyVars, bool);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.set_training(self.1);
            }
        }
        let training = mode == Mode::Train;
        if let Some(cost) = self.cost.as_mut().filter(|_| training) {
            cost.forward.time += Duration::from_millis(1);
        }
        let _restore = Restore(&self.vars, self.vars.set_training(training));
        in_precision(self.precision, || match training {
            true => f(&self.module),
            false => without_gradients(|| f(&self.module)),
        })
    }

    fn device(&self, _mode: Mode) -> ToyDevice {
        self.vars.device()
    }

    fn set_precision(&mut self, precision: Precision) -> Result<(), BoxError> {
        self.precision = precision;
        Ok(())
    }

    fn seed(&mut self, seed: u64) {
        manual_seed(seed);
    }

    fn release_memory(&mut self) -> Result<(), BoxError> {
        self.releases += 1;
        Ok(())
    }

    fn detach(&self, scalar: &ToyArray) -> Result<Value<ToyArray>, BoxError> {
        match &*scalar.values() {
            [_] if self.reads_later => Ok(Value::Device(scalar.detached())),
            [value] => {
                note_host_read();
                Ok(Value::Host(*value))
            }
            _ => Err(format!("a loss of shape {:?} is not a single number", scalar.shape()).into()),
        }
    }

    fn read(scalars: &[ToyArray]) -> Result<Vec<f64>, BoxError> {
        note_host_read();
        Ok(scalars.iter().flat_map(ToyArray::values).collect())
    }

    fn weighted_sum(terms: &[(f64, &ToyArray)]) -> Result<ToyArray, BoxError> {
        let terms = terms.iter().map(|(weight, number)| number.scale(*weight));
        terms.reduce(|sum, term| sum.add(&term)).ok_or_else(|| "a sum of no terms".into())
    }

    fn backward(&mut self, loss: &ToyArray, factor: Option<f64>) -> Result<(), BoxError> {
        loss.backward(factor.unwrap_or(1.0))?;
        if let Some(cost) = &mut self.cost {
            cost.backward.time += Duration::from_millis(2);
        }
        self.note_reached();
        Ok(())
    }

    fn scale_gradients(&mut self, factor: f64) -> Result<(), BoxError> {
        self.change_gradients(|element| *element *= factor);
        Ok(())
    }

    fn gradient_norm(&mut self) -> Result<f64, BoxError> {
        note_host_read();
        Ok(self.norm())
    }

    fn clip_gradient_norm(&mut self, limit: f64) -> Result<Value<ToyArray>, BoxError> {
        let norm = if self.reads_later { self.norm() } else { self.gradient_norm()? };
        if limit < norm && norm.is_finite() {
            self.scale_gradients(limit / norm)?;
        }
        Ok(if self.reads_later { Value::Device(ToyArray::new(&[], &[norm])) } else { Value::Host(norm) })
    }

    fn skip_unless_finite(&mut self, scalar: &ToyArray) -> Result<bool, BoxError> {
        if scalar.values().iter().any(|value| !value.is_finite()) {
            self.skips = true;
            self.restore_buffers(None)?;
        }
        Ok(true)
    }

    fn clip_gradient_values(&mut self, limit: f64) -> Result<(), BoxError> {
        // `clamp` keeps NaN, and panics on an invalid limit.
        if limit.is_nan() || limit < 0.0 {
            return Err(format!("a limit of {limit} cannot clip gradients; give 0 or more").into());
        }
        self.change_gradients(|element| *element = element.clamp(-limit, limit));
        Ok(())
    }

    fn clip_gradient_units(&mut self, factor: f64, floor: f64) -> Result<(), BoxError> {
        for parameter in self.vars.parameters().values() {
            let Some(mut gradient) = parameter.gradient() else { continue };
            // A layer has its outputs in the last dimension.
            let units = match parameter.shape() {
                [] | [_] => 1,
                [.., outputs] => *outputs,
            };
            let norm = |elements: &[f64], unit| {
                let own = elements.iter().skip(unit).step_by(units);
                own.map(|element| element * element).sum::<f64>().sqrt()
            };
            let weights = parameter.values();
            for unit in 0..units {
                let (limit, found) = (factor * norm(&weights, unit).max(floor), norm(&gradient, unit));
                if limit < found && found.is_finite() {
                    let own = gradient.iter_mut().skip(unit).step_by(units);
                    own.for_each(|element| *element *= limit / found);
                }
            }
            parameter.set_gradient(Some(gradient));
        }
        Ok(())
    }

    fn unreached(&self) -> Result<Vec<String>, BoxError> {
        let is_trained = |name: &&String| self.vars.parameters()[*name].is_tracked();
        Ok(self.unreached.iter().filter(is_trained).cloned().collect())
    }

    fn discard_gradients(&mut self) {
        self.vars.parameters().values().for_each(|parameter| parameter.set_gradient(None));
        self.skips = false;
    }

    fn exchange_gradients(
        &mut self,
        bytes: usize,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        self.exchange_as(|flat| Bucket::F64(flat), bytes, exchange)
    }

    /// A bucket on the toy device is a `Vec<f64>`.
    fn exchange_gradients_on_device(
        &mut self,
        bytes: usize,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        self.exchange_as(|flat| Bucket::Device(flat), bytes, exchange)
    }

    fn exchange_buffers(
        &mut self,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        let buffers = self.vars.buffers();
        if buffers.is_empty() {
            return Ok(());
        }
        let mut flat: Vec<f64> = buffers.values().flat_map(ToyArray::values).collect();
        exchange(Bucket::F64(&mut flat))?;
        let mut rest = flat.into_iter();
        for (name, buffer) in buffers {
            let whole = self.vars.dtype(name) == Dtype::I64;
            let new = rest.by_ref().map(|value| if whole { value.round() } else { value });
            buffer.update(|values| values.iter_mut().zip(new).for_each(|(value, new)| *value = new));
        }
        Ok(())
    }

    fn groups(&self) -> &[String] {
        &self.groups
    }

    fn freeze(&mut self, frozen: &[bool]) -> Result<(), BoxError> {
        if frozen.len() != self.groups.len() {
            return Err(format!("{} flags do not fit the groups {:?}", frozen.len(), self.groups).into());
        }
        for (parameter, &group) in self.vars.parameters().values().zip(&self.group_of) {
            parameter.set_tracked(!frozen[group]);
            if frozen[group] {
                parameter.set_gradient(None);
            }
        }
        Ok(())
    }

    fn set_momentum(&mut self, momentum: f64) -> Result<(), BoxError> {
        self.optimizer.set_momentum(momentum)
    }

    fn step(&mut self, rates: &[f64]) -> Result<(), BoxError> {
        if rates.len() != self.groups.len() {
            let (found, groups) = (rates.len(), &self.groups);
            return Err(format!("{found} learning rates do not fit the groups {groups:?}").into());
        }
        if !self.skips {
            for ((name, parameter), &group) in self.vars.parameters().iter().zip(&self.group_of) {
                self.optimizer.step(name, parameter, rates[group]);
            }
        }
        self.discard_gradients();
        Ok(())
    }

    fn keep_buffers(&mut self) -> Result<(), BoxError> {
        for (buffer, (_, kept)) in self.vars.buffers().values().zip(&mut self.buffers) {
            *kept = buffer.values();
        }
        Ok(())
    }

    fn restore_buffers(&mut self, of: Option<&[bool]>) -> Result<(), BoxError> {
        for (buffer, (group, kept)) in self.vars.buffers().values().zip(&self.buffers) {
            if of.is_none_or(|of| of[*group]) {
                buffer.update(|values| values.copy_from_slice(kept));
            }
        }
        Ok(())
    }

    fn not_finite_parameter(&self) -> Result<Option<String>, BoxError> {
        let finite = |array: &ToyArray| array.values().iter().all(|value| value.is_finite());
        let mut parameters = self.vars.parameters().iter();
        Ok(parameters.find(|(_, array)| !finite(array)).map(|(name, _)| name.clone()))
    }

    fn variables(&self) -> Result<Vec<Variable>, BoxError> {
        let variable = |(name, array, is_buffer): (&String, &ToyArray, bool)| {
            let role = match (is_buffer, array.is_tracked()) {
                (true, _) => Role::Buffer,
                (false, true) => Role::Trained,
                (false, false) => Role::Frozen,
            };
            Variable { name: name.clone(), shape: array.shape().to_vec(), dtype: self.vars.dtype(name), role }
        };
        let mut variables: Vec<_> = self.vars.all().map(variable).collect();
        variables.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(variables)
    }

    fn measure(&mut self, on: bool) {
        self.cost = on.then(Cost::default);
    }

    fn costs(&self) -> Vec<Cost> {
        self.cost.clone().into_iter().collect()
    }

    fn weights(&self) -> Result<ToyWeights, BoxError> {
        Ok(ToyWeights::of(&self.vars))
    }

    fn blend(&self, weights: &mut ToyWeights, share: f64, buffer_share: f64) -> Result<(), BoxError> {
        weights.blend(&self.vars, share, buffer_share);
        Ok(())
    }

    fn swap_weights(&mut self, weights: &mut ToyWeights) {
        weights.swap(&self.vars);
    }

    fn state(&self, part: Part) -> Result<StateDict, BoxError> {
        note_host_read();
        match part {
            Part::Module => self.vars.state(),
            Part::Optimizer => self.optimizer.state(self.vars.parameters()),
            Part::Gradients => {
                let mut dict = StateDict::new();
                for (name, parameter) in self.vars.parameters() {
                    if let Some(gradient) = parameter.gradient() {
                        dict.insert(name, stored(Dtype::F64, parameter.shape(), &gradient)?)?;
                    }
                }
                Ok(dict)
            }
        }
    }

    fn check_state(&self, part: Part, dict: &StateDict) -> Result<(), BoxError> {
        match part {
            Part::Module => self.vars.state()?.check_same_layout(dict),
            Part::Optimizer => self.optimizer.with_state(dict, self.vars.parameters()).map(drop),
            Part::Gradients => {
                let mut expected = StateDict::new();
                for (name, parameter) in self.vars.parameters() {
                    if dict.contains(name) {
                        expected.insert(name, stored(Dtype::F64, parameter.shape(), &parameter.values())?)?;
                    }
                }
                expected.check_same_layout(dict)
            }
        }
    }

    fn load_state(&mut self, part: Part, dict: &StateDict) -> Result<(), BoxError> {
        match part {
            Part::Module => self.vars.load(dict)?,
            Part::Optimizer => self.optimizer = self.optimizer.with_state(dict, self.vars.parameters())?,
            Part::Gradients => {
                self.check_state(part, dict)?;
                for (name, parameter) in self.vars.parameters() {
                    parameter.set_gradient(dict.array(name).and_then(|array| array.to_vec()).ok());
                }
                self.note_reached();
            }
        }
        Ok(())
    }
}

/// The parts `module` (the weights) and `optimizer`; held gradients are not saved. In a struct that derives
/// `AppState`, mark the field `#[app_state(nested)]`.
impl<M> AppState for ToyEngine<M> {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        parts.part("module", &mut self.part(Part::Module))?;
        parts.part("optimizer", &mut self.part(Part::Optimizer))
    }
}
