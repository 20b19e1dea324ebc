//! Held gradients. libtorch keeps each with its parameter.

use regimen_core::BoxError;
use regimen_core::engine::Bucket;
use regimen_core::saved::StateDict;
use tch::{Device, Kind, Tensor};

use crate::array::{array, tensor};
use crate::failure::failure;
use crate::parameters::Parameters;
use crate::shim::{self, Joined};

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
    for bucket in buckets(held.map(|((_, parameter), _)| parameter), bytes) {
        let flat = bucket.flat()?;
        let buffer = if on_device { flat.cuda_buffer()? } else { None };
        let flat = match buffer {
            Some(mut buffer) => {
                exchange(Bucket::Device(&mut buffer))?;
                flat.into_tensor()
            }
            None if bucket.kind == Kind::Double => flat.changed(|values| exchange(Bucket::F64(values)))?,
            None => flat.changed(|values| exchange(Bucket::F32(values)))?,
        };
        exchanged.extend(bucket.cut(&flat)?);
    }
    shim::clear_gradients(parameters.trained())?;
    let mut learning = exchanged.iter().filter(|(parameter, _)| parameter.requires_grad());
    learning.try_for_each(|(parameter, gradient)| shim::set_gradient(parameter, Some(gradient)))
}

/// Parameters whose gradients share a buffer, in the type of that buffer.
struct Stretch<'p> {
    kind: Kind,
    bytes: usize,
    parameters: Vec<&'p Tensor>,
}

impl<'p> Stretch<'p> {
    /// A copy of their gradients one after another; zeros for a missing one.
    fn flat(&self) -> Result<Joined, BoxError> {
        let flat = |parameter: &&Tensor| {
            let gradient = parameter.grad();
            let gradient = if gradient.defined() { gradient } else { parameter.f_zeros_like()?.detach() };
            gradient.f_reshape([-1])?.f_to_kind(self.kind)
        };
        let all = self.parameters.iter().map(flat).collect::<Result<Vec<_>, _>>().map_err(failure)?;
        Joined::of(&all)
    }

    /// Each with its part of `flat`, which goes to the device in one piece. The parts share its memory, for a step
    /// drops them together.
    fn cut(&self, flat: &Tensor) -> Result<Vec<(&'p Tensor, Tensor)>, BoxError> {
        let device = self.parameters.first().map_or(Device::Cpu, |parameter| parameter.device());
        let flat = flat.f_to_device(device).map_err(failure)?;
        let mut begin = 0;
        let cut = |parameter: &&'p Tensor| {
            let length = parameter.numel() as i64;
            let part = flat.f_narrow(0, begin, length)?.f_reshape(parameter.size())?;
            begin += length;
            Ok((*parameter, part.f_to_kind(parameter.kind())?.f_to_device(parameter.device())?.f_detach()?))
        };
        self.parameters.iter().map(cut).collect::<Result<_, _>>().map_err(failure)
    }
}

fn buckets<'p>(parameters: impl Iterator<Item = &'p Tensor>, bytes: usize) -> Vec<Stretch<'p>> {
    let mut stretches: Vec<Stretch<'_>> = Vec::new();
    for parameter in parameters {
        let kind = if parameter.kind() == Kind::Double { Kind::Double } else { Kind::Float };
        let size = kind.elt_size_in_bytes() * parameter.numel();
        match stretches.last_mut() {
            Some(last) if last.kind == kind && last.bytes + size <= bytes => {
                last.parameters.push(parameter);
                last.bytes += size;
            }
            _ => stretches.push(Stretch { kind, bytes: size, parameters: vec![parameter] }),
        }
    }
    stretches
}
