//! Held gradients. libtorch keeps each with its parameter.

use regimen_core::BoxError;
use regimen_core::engine::Bucket;
use regimen_core::saved::StateDict;
use tch::{Device, Kind, Tensor};

use crate::array::{array, tensor};
use crate::failure::failure;
use crate::parameters::Parameters;
use crate::shim;

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

/// Passes them on in flat buffers of at most `bytes` bytes, in the order of the names, and holds the values
/// left there, except for frozen parameters. After an error they are as they were.
pub(crate) fn exchange(
    parameters: &Parameters,
    bytes: usize,
    exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let mut exchanged = Vec::new();
    for bucket in buckets(parameters, bytes) {
        let flat = bucket.flat()?;
        let flat = if bucket.kind == Kind::Double {
            let mut values = read::<f64>(&flat)?;
            exchange(Bucket::F64(&mut values))?;
            Tensor::from_slice(&values)
        } else {
            let mut values = read::<f32>(&flat)?;
            exchange(Bucket::F32(&mut values))?;
            Tensor::from_slice(&values)
        };
        let lengths: Vec<i64> = bucket.parameters.iter().map(|parameter| parameter.numel() as i64).collect();
        let pieces = flat.f_split_with_sizes(&lengths[..], 0).map_err(failure)?;
        for (parameter, piece) in bucket.parameters.into_iter().zip(pieces) {
            let piece = piece.f_reshape(parameter.size()).map_err(failure)?;
            let piece = piece.f_to_kind(parameter.kind()).map_err(failure)?;
            // A copy: the pieces of one buffer would keep all of it.
            let piece = piece
                .f_to_device(parameter.device())
                .and_then(|piece| piece.f_detach_copy())
                .map_err(failure)?;
            exchanged.push((parameter, piece));
        }
    }
    let mut learning = exchanged.iter().filter(|(parameter, _)| parameter.requires_grad());
    learning.try_for_each(|(parameter, gradient)| shim::set_gradient(parameter, Some(gradient)))
}

/// Parameters whose gradients share a buffer, in the type of that buffer.
struct Stretch<'p> {
    kind: Kind,
    bytes: usize,
    parameters: Vec<&'p Tensor>,
}

impl Stretch<'_> {
    /// Their gradients one after another; zeros for a missing one.
    fn flat(&self) -> Result<Tensor, BoxError> {
        let flat = |parameter: &&Tensor| {
            let gradient = parameter.grad();
            let gradient = if gradient.defined() { gradient } else { parameter.f_zeros_like()?.detach() };
            gradient.f_reshape([-1])?.f_to_device(Device::Cpu)?.f_to_kind(self.kind)
        };
        let all = self.parameters.iter().map(flat).collect::<Result<Vec<_>, _>>().map_err(failure)?;
        Tensor::f_cat(&all, 0).map_err(failure)
    }
}

fn buckets(parameters: &Parameters, bytes: usize) -> Vec<Stretch<'_>> {
    let mut stretches: Vec<Stretch<'_>> = Vec::new();
    for (_, parameter) in parameters.by_name() {
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

fn read<T>(flat: &Tensor) -> Result<Vec<T>, BoxError>
where
    Vec<T>: for<'a> TryFrom<&'a Tensor, Error = tch::TchError>,
{
    Vec::try_from(flat).map_err(failure)
}
