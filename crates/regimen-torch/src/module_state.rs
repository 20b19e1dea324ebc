//! A model's parameters and buffers as a state, by the names of the `VarStore`.

use std::fmt;

use regimen_core::BoxError;
use regimen_core::saved::{StateDict, Stateful};
use tch::nn::VarStore;

use crate::array::{array, dtype, shape, tensor};
use crate::failure::failure;
use crate::parameters::{Parameters, mismatch};

/// The parameters and buffers in a [`VarStore`], as a part of a plain unit's state.
///
/// Names are those of the store. If layers have their Python names, a state is the `state_dict()` of the same
/// model in Python, in both directions.
///
/// ```
/// use regimen::saved::AppState;
/// use regimen_torch::tch::nn::VarStore;
/// use regimen_torch::{ModuleState, Optim};
///
/// #[derive(AppState)]
/// struct Unit {
///     #[app_state(with = ModuleState)]
///     vars: VarStore,
///     optim: Optim,
/// }
/// ```
pub struct ModuleState<'a>(pub &'a mut VarStore);

impl fmt::Debug for ModuleState<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ModuleState").field(&self.0).finish()
    }
}

impl Stateful for ModuleState<'_> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        state_dict(&Parameters::of(self.0)?)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        load(&Parameters::of(self.0)?, dict)
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        check(&Parameters::of(self.0)?, dict)
    }

    fn is_weights(&self) -> bool {
        true
    }
}

pub(crate) fn state_dict(parameters: &Parameters) -> Result<StateDict, BoxError> {
    let mut dict = StateDict::new();
    for (name, tensor) in parameters.all() {
        dict.insert(name, array(tensor).map_err(|cause| format!("`{name}`: {cause}"))?)?;
    }
    Ok(dict)
}

/// Replaces the values in place, so that modules and optimizers keep their tensors.
pub(crate) fn load(parameters: &Parameters, dict: &StateDict) -> Result<(), BoxError> {
    check(parameters, dict)?;
    // All are made before any is copied, so that running out of memory changes nothing.
    let loaded =
        parameters.all().iter().map(|(name, own)| Ok((own.shallow_clone(), tensor(dict.array(name)?)?)));
    let loaded = loaded.collect::<Result<Vec<_>, BoxError>>()?;
    tch::no_grad(|| loaded.into_iter().try_for_each(|(mut own, new)| own.f_copy_(&new).map_err(failure)))
}

pub(crate) fn check(parameters: &Parameters, dict: &StateDict) -> Result<(), BoxError> {
    let mut wrong = Vec::new();
    for (name, tensor) in parameters.all() {
        match dict.array(name) {
            Err(_) => wrong.push(format!("`{name}` is missing")),
            Ok(array) => wrong.extend(mismatch(name, array, dtype(tensor.kind())?, &shape(tensor))),
        }
    }
    let known = |name: &str| parameters.all().contains_key(name);
    // Python's batch norm counts its batches. tch's has no such counter and needs none: the count matters
    // only to averages without a momentum.
    let is_counter = |name: &str| {
        name.strip_suffix("num_batches_tracked").is_some_and(|norm| known(&format!("{norm}running_mean")))
    };
    let unknown = dict.iter().filter(|(name, _)| !known(name) && !is_counter(name));
    wrong.extend(unknown.map(|(name, _)| format!("`{name}` is not known here")));
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ").into()) }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor, nn};

    use super::*;

    fn store(seed: i64) -> VarStore {
        tch::manual_seed(seed);
        let vars = VarStore::new(Device::Cpu);
        nn::linear(vars.root() / "a", 2, 3, Default::default());
        nn::batch_norm1d(vars.root() / "b", 3, Default::default());
        vars
    }

    fn state(vars: &mut VarStore) -> StateDict {
        ModuleState(vars).state_dict().unwrap()
    }

    #[test]
    fn a_state_goes_into_another_model_of_the_same_layers() {
        let (mut one, mut other) = (store(1), store(2));
        assert_ne!(state(&mut one), state(&mut other));
        let held = other.variables()["a.weight"].shallow_clone();
        ModuleState(&mut other).load_state_dict(&state(&mut one)).unwrap();
        assert_eq!(state(&mut one), state(&mut other));
        // In place, so that other holders of the tensor see the new values.
        assert_eq!(held, one.variables()["a.weight"]);
    }

    #[test]
    fn what_does_not_fit_is_told_in_full_and_changes_nothing() {
        let mut vars = store(1);
        let mut dict = state(&mut vars);
        dict.remove("a.bias").unwrap();
        dict.remove("a.weight").unwrap();
        dict.insert("a.weight", array(&Tensor::zeros([3, 3], (Kind::Float, Device::Cpu))).unwrap()).unwrap();
        dict.insert("c", 1_u8).unwrap();
        let before = state(&mut vars);
        let error = ModuleState(&mut vars).load_state_dict(&dict).unwrap_err().to_string();
        assert_eq!(
            error,
            "`a.bias` is missing; `a.weight` is F32[3, 3], not F32[3, 2]; `c` is not known here"
        );
        assert_eq!(state(&mut vars), before);
    }

    #[test]
    fn pythons_counter_of_batches_is_passed_over() {
        let mut vars = store(1);
        let mut dict = state(&mut vars);
        dict.insert("b.num_batches_tracked", 5_i64).unwrap();
        ModuleState(&mut vars).load_state_dict(&dict).unwrap();
    }
}
