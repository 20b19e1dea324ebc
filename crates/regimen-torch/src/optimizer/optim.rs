//! An optimizer over the parameters of a model.

use std::collections::BTreeSet;

use regimen_core::BoxError;
use regimen_core::saved::{Array, Dtype, StateDict, Stateful};
use tch::Tensor;
use tch::nn::VarStore;

use super::{Algorithm, STEP, check_range, fresh};
use crate::array::{array, dtype, shape, tensor};
use crate::failure::failure;
use crate::parameters::{Parameters, mismatch};
use crate::shim;

/// An optimizer over the trained parameters of a [`VarStore`], for [`Torch`](crate::Torch) and as a part of a
/// plain unit's state.
///
/// ```
/// use regimen_torch::tch::{Device, Kind, Tensor, nn, nn::Module};
/// use regimen_torch::{Adam, Optim, initialize};
///
/// let (vars, layer) = initialize(7, Device::Cpu, |root| nn::linear(root, 4, 1, Default::default()));
/// let mut optim = Optim::new(&vars, Adam::new())?;
/// layer.forward(&Tensor::ones([2, 4], (Kind::Float, Device::Cpu))).mean(None).backward();
/// optim.step(&[1e-3])?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// Its state is named by the parameter and Python's name of the optimizer state (`layer.weight.exp_avg`).
#[derive(Debug)]
pub struct Optim {
    parameters: Parameters,
    names: Vec<String>,
    groups: Vec<Group>,
    /// The optimizer state of each trained parameter; empty before its first step.
    kept: Vec<Option<Vec<Tensor>>>,
}

#[derive(Debug)]
struct Group {
    /// As it was given.
    algorithm: Algorithm,
    /// The same with the present momentum.
    now: Algorithm,
    /// The numbers of its parameters among the trained ones.
    members: Vec<usize>,
}

impl Optim {
    /// `algorithm` for all parameters of `vars` that are trained now. All are in one group, `default`; see
    /// [`group`](Optim::group).
    pub fn new(vars: &VarStore, algorithm: impl Into<Algorithm>) -> Result<Self, BoxError> {
        let (parameters, algorithm) = (Parameters::of(vars)?, algorithm.into());
        algorithm.rule().check()?;
        let count = parameters.names().len();
        let groups = vec![Group { algorithm, now: algorithm, members: (0..count).collect() }];
        let kept = (0..count).map(|_| None).collect();
        Ok(Optim { parameters, names: vec!["default".to_owned()], groups, kept })
    }

    /// Gives the parameters whose name `members` accepts separate settings and a separate learning rate, as
    /// the group `name`. If two groups share a parameter, the later one has it. Their optimizer state is
    /// dropped: make groups before the first step and before loading.
    ///
    /// A name already in use and a group without a trained parameter are errors.
    pub fn group(
        mut self,
        name: impl Into<String>,
        members: impl Fn(&str) -> bool,
        algorithm: impl Into<Algorithm>,
    ) -> Result<Self, BoxError> {
        let (name, algorithm) = (name.into(), algorithm.into());
        if self.names.contains(&name) {
            return Err(format!("two parameter groups are named `{name}`").into());
        }
        algorithm.rule().check().map_err(|cause| format!("group `{name}`: {cause}"))?;
        let names = self.parameters.names();
        let chosen: Vec<usize> = (0..names.len()).filter(|&i| members(&names[i])).collect();
        if chosen.is_empty() {
            let known = names.join(", ");
            return Err(format!("no trained parameter is in group `{name}`; there are: {known}").into());
        }
        for group in &mut self.groups {
            group.members.retain(|i| !chosen.contains(i));
        }
        chosen.iter().for_each(|&i| self.kept[i] = None);
        self.names.push(name);
        self.groups.push(Group { algorithm, now: algorithm, members: chosen });
        Ok(self)
    }

    /// The names of the groups.
    pub fn groups(&self) -> &[String] {
        &self.names
    }

    /// The number of the group of trained parameter `i`.
    pub(crate) fn group_of(&self, i: usize) -> usize {
        self.groups.iter().position(|group| group.members.contains(&i)).unwrap_or(0)
    }

    /// The algorithm of each group, as text.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let algorithms = self.names.iter().zip(&self.groups);
        algorithms
            .map(|(name, group)| (format!("optimizer.{name}"), format!("{:?}", group.algorithm)))
            .collect()
    }

    /// Freezes the groups whose flag in `frozen` is set, and thaws the others; there is one flag for each of
    /// [`groups`](Optim::groups). No gradient is computed for a frozen parameter, and the one it holds is
    /// dropped. A step leaves it as it is.
    pub fn freeze(&mut self, frozen: &[bool]) -> Result<(), BoxError> {
        if frozen.len() != self.groups.len() {
            let (given, groups) = (frozen.len(), self.groups.len());
            return Err(format!("{given} flags for {groups} parameter groups").into());
        }
        for (Group { members, .. }, &frozen) in self.groups.iter().zip(frozen) {
            for parameter in members.iter().map(|&i| &self.parameters.trained()[i]) {
                let _ = parameter.f_set_requires_grad(!frozen).map_err(failure)?;
                if frozen {
                    shim::set_gradient(parameter, None)?;
                }
            }
        }
        Ok(())
    }

    /// Sets the momentum of the next steps in all groups: that of SGD and of RMSprop, and the first beta of Adam. From
    /// 0 to less than 1. It is not saved with the state.
    ///
    /// A group whose SGD or RMSprop was made without a momentum is an error, and no group changes: it has no state
    /// for one.
    pub fn set_momentum(&mut self, momentum: f64) -> Result<(), BoxError> {
        check_range("momentum", momentum, 1.0)?;
        let of = |(name, group): (&String, &Group)| {
            group.algorithm.with_momentum(momentum).ok_or_else(|| {
                format!("the optimizer of group `{name}` has no momentum; make it with one above 0").into()
            })
        };
        let all = self.names.iter().zip(&self.groups).map(of).collect::<Result<Vec<_>, BoxError>>()?;
        self.groups.iter_mut().zip(all).for_each(|(group, now)| group.now = now);
        Ok(())
    }

    /// One step with the held gradients, which are used up. `rates` has one learning rate for each of
    /// [`groups`](Optim::groups). A parameter without a gradient stays as it is, with its optimizer state.
    ///
    /// A gradient that does not fit its parameter is an error. Its group has not moved; earlier groups have.
    /// If a kernel itself fails, some parameters may have moved.
    pub fn step(&mut self, rates: &[f64]) -> Result<(), BoxError> {
        self.step_unless(rates, None)
    }

    /// The same, except for a step that `skip` leaves out on the device.
    pub(crate) fn step_unless(&mut self, rates: &[f64], skip: Option<&Tensor>) -> Result<(), BoxError> {
        let Optim { parameters, groups, kept, .. } = self;
        if rates.len() != groups.len() {
            let (given, groups) = (rates.len(), groups.len());
            return Err(format!("{given} learning rates for {groups} parameter groups").into());
        }
        let trained = parameters.trained();
        for (Group { now, members, .. }, &rate) in groups.iter().zip(rates) {
            let rule = now.rule();
            let holding = members.iter().copied().filter(|&i| trained[i].grad().defined());
            let (old, new): (Vec<usize>, Vec<usize>) = holding.partition(|&i| kept[i].is_some());
            let of = |some: &[usize]| some.iter().map(|&i| &trained[i]).collect::<Vec<_>>();
            if !old.is_empty() {
                let slots = old.iter().map(|&i| kept[i].as_deref().unwrap_or_default());
                rule.step(rate, false, &of(&old), &slots.collect::<Vec<_>>(), skip)?;
            }
            if !new.is_empty() {
                let fresh =
                    |&i: &usize| rule.slots().into_iter().map(|slot| fresh(slot, &trained[i])).collect();
                let slots: Vec<Vec<Tensor>> =
                    new.iter().map(fresh).collect::<Result<_, _>>().map_err(failure)?;
                rule.step(rate, true, &of(&new), &slots.iter().map(Vec::as_slice).collect::<Vec<_>>(), skip)?;
                // Kept only now: after an error there was no first step.
                new.into_iter().zip(slots).for_each(|(i, slots)| kept[i] = Some(slots));
            }
        }
        self.clear_gradients()
    }

    /// Removes all gradients, as before the first backward pass.
    pub fn clear_gradients(&mut self) -> Result<(), BoxError> {
        shim::clear_gradients(self.parameters.trained())
    }

    pub(crate) fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The name of each slot of each trained parameter in a state, by the parameter's number.
    fn slot_names(&self) -> impl Iterator<Item = (usize, Vec<(&'static str, String)>)> {
        let of_group = move |group: &Group| {
            let slots = group.algorithm.rule().slots();
            let named = move |i: usize| {
                let name = |slot| (slot, format!("{}.{slot}", self.parameters.names()[i]));
                (i, slots.iter().copied().map(name).collect())
            };
            group.members.iter().copied().map(named).collect::<Vec<_>>()
        };
        self.groups.iter().flat_map(of_group)
    }

    /// The optimizer state of each trained parameter in `dict`: all its slots, or no slot.
    fn read<'d>(&self, dict: &'d StateDict) -> Result<Vec<Option<Vec<&'d Array>>>, BoxError> {
        let mut kept: Vec<_> = self.kept.iter().map(|_| None).collect();
        let (mut known, mut wrong) = (BTreeSet::new(), Vec::new());
        for (i, slots) in self.slot_names() {
            let parameter = &self.parameters.trained()[i];
            let mut read = Vec::new();
            for (slot, name) in &slots {
                let Ok(array) = dict.array(name) else { continue };
                let shape = if *slot == STEP { vec![] } else { shape(parameter) };
                let dtype = if *slot == STEP { Dtype::F32 } else { dtype(parameter.kind())? };
                wrong.extend(mismatch(name, array, dtype, &shape));
                read.push(array);
            }
            let has_some = slots.iter().any(|(_, name)| dict.contains(name));
            let missing = slots.iter().filter(|(_, name)| has_some && !dict.contains(name));
            wrong.extend(missing.map(|(_, name)| format!("`{name}` is missing")));
            kept[i] = has_some.then_some(read);
            known.extend(slots.into_iter().map(|(_, name)| name));
        }
        let unknown = dict.iter().filter(|(name, _)| !known.contains(*name));
        wrong.extend(unknown.map(|(name, _)| format!("`{name}` is not known to this optimizer")));
        if wrong.is_empty() { Ok(kept) } else { Err(wrong.join("; ").into()) }
    }
}

impl Stateful for Optim {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        for (i, slots) in self.slot_names() {
            for ((_, name), tensor) in slots.into_iter().zip(self.kept[i].iter().flatten()) {
                let array = array(tensor).map_err(|cause| format!("`{name}`: {cause}"))?;
                dict.insert(name, array)?;
            }
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let on_device = |(arrays, parameter): (Option<Vec<&Array>>, &Tensor)| {
            let one = |array| tensor(array)?.f_to_device(parameter.device()).map_err(failure);
            arrays.map(|arrays| arrays.into_iter().map(one).collect()).transpose()
        };
        let kept = self.read(dict)?.into_iter().zip(self.parameters.trained()).map(on_device);
        self.kept = kept.collect::<Result<_, BoxError>>()?;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.read(dict).map(drop)
    }
}
