//! Held gradients. libtorch keeps each with its parameter.

use regimen_core::BoxError;
use regimen_core::engine::Bucket;
use regimen_core::saved::StateDict;
use tch::{TchError, Tensor};

use crate::array::{array, tensor};
use crate::failure::failure;
use crate::parameters::Parameters;
use crate::shim;
use crate::stretch::stretches;

/// A copy of them by the parameter's name.
pub(crate) fn state_dict(parameters: &Parameters) -> Result<StateDict, BoxError> {
    let mut dict = StateDict::new();
    for (name, parameter) in parameters.by_name() {
        let gradient = parameter.grad();
        if gradient.defined() {
            dict.insert(name, array(&gradient).map_err(|cause| format!("gradient of `{name}`: {cause}"))?)?;
        }
    }
    Ok(dict)
}

/// Holds the gradients in `dict`, and no others.
pub(crate) fn load(parameters: &Parameters, dict: &StateDict) -> Result<(), BoxError> {
    parameters.check_gradients(dict)?;
    let mut loaded = Vec::new();
    for (name, parameter) in parameters.by_name() {
        if let Ok(array) = dict.array(name) {
            loaded.push((parameter, tensor(array)?.f_to_device(parameter.device()).map_err(failure)?));
        }
    }
    shim::clear_gradients(parameters.trained())?;
    loaded.iter().try_for_each(|(parameter, gradient)| shim::set_gradient(parameter, Some(gradient)))
}

/// Drops those of the parameters for which `keep` returns `false`.
pub(crate) fn retain(parameters: &Parameters, keep: &dyn Fn(&str) -> bool) -> Result<(), BoxError> {
    let mut dropped = parameters.by_name().filter(|(name, _)| !keep(name));
    dropped.try_for_each(|(_, parameter)| shim::set_gradient(parameter, None))
}

/// Passes on flags of those held, and then those that some rank holds, in flat buffers of at most `bytes` bytes and
/// in the order of the names. Holds the values left there, except for frozen parameters. After an error of `exchange` they
/// are as they were. If `on_device` is set, buffers on a GPU are passed as they are, and not through host memory.
pub(crate) fn exchange(
    parameters: &Parameters,
    bytes: usize,
    on_device: bool,
    exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let flag = |(_, parameter): (&str, &Tensor)| if parameter.grad().defined() { 1.0 } else { 0.0 };
    let mut flags: Vec<f32> = parameters.by_name().map(flag).collect();
    exchange(Bucket::F32(&mut flags))?;
    let held = parameters.by_name().zip(&flags).filter(|(_, flag)| **flag != 0.0);
    let mut exchanged = Vec::new();
    for stretch in stretches(held.map(|(named, _)| named), bytes) {
        exchanged.extend(stretch.exchanged(on_device, |_, parameter| held_or_zeros(parameter), exchange)?);
    }
    shim::clear_gradients(parameters.trained())?;
    let mut learning = exchanged.iter().filter(|(parameter, _)| parameter.requires_grad());
    learning.try_for_each(|(parameter, gradient)| shim::set_gradient(parameter, Some(gradient)))
}

/// The gradient of a parameter.
pub(crate) fn held_or_zeros(parameter: &Tensor) -> Result<Tensor, TchError> {
    let gradient = parameter.grad();
    if gradient.defined() { Ok(gradient) } else { Ok(parameter.f_zeros_like()?.detach()) }
}
