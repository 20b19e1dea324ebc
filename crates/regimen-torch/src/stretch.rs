//! Runs of parameters that ranks exchange in one flat buffer.

use regimen_core::BoxError;
use regimen_core::engine::Bucket;
use tch::{Device, Kind, TchError, Tensor};

use crate::failure::failure;
use crate::shim::Joined;

/// Parameters that share a buffer, in the type of that buffer.
pub(crate) struct Stretch<'p> {
    kind: Kind,
    bytes: usize,
    parameters: Vec<(&'p str, &'p Tensor)>,
}

impl<'p> Stretch<'p> {
    /// Passes on the `values` of the parameters one after another. Returns each parameter with those left there. If
    /// `on_device` is set, a buffer on a GPU is passed as it is, and not through host memory.
    pub(crate) fn exchanged(
        &self,
        on_device: bool,
        values: impl Fn(&str, &Tensor) -> Result<Tensor, TchError>,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<Vec<(&'p Tensor, Tensor)>, BoxError> {
        let flat = self.flat(values)?;
        let buffer = if on_device { flat.cuda_buffer()? } else { None };
        let flat = match buffer {
            Some(mut buffer) => {
                exchange(Bucket::Device(&mut buffer))?;
                flat.into_tensor()
            }
            None => flat.exchanged(exchange)?,
        };
        self.cut(&flat)
    }

    /// A copy of the `values` of the parameters one after another.
    pub(crate) fn flat(
        &self,
        values: impl Fn(&str, &Tensor) -> Result<Tensor, TchError>,
    ) -> Result<Joined, BoxError> {
        let flat = |(name, parameter): &(&str, &Tensor)| {
            values(name, parameter)?.f_reshape([-1])?.f_to_kind(self.kind)
        };
        let all = self.parameters.iter().map(flat).collect::<Result<Vec<_>, _>>().map_err(failure)?;
        Joined::of(&all)
    }

    pub(crate) fn parameters(&self) -> impl ExactSizeIterator<Item = &'p Tensor> {
        self.parameters.iter().map(|(_, parameter)| *parameter)
    }

    /// Each with its part of `flat`, which goes to the device in one piece. The parts share its memory.
    pub(crate) fn cut(&self, flat: &Tensor) -> Result<Vec<(&'p Tensor, Tensor)>, BoxError> {
        let device = self.parameters.first().map_or(Device::Cpu, |(_, parameter)| parameter.device());
        let flat = flat.f_to_device(device).map_err(failure)?;
        let mut begin = 0;
        let cut = |(_, parameter): &(&str, &'p Tensor)| {
            let length = parameter.numel() as i64;
            let part = flat.f_narrow(0, begin, length)?.f_reshape(parameter.size())?;
            begin += length;
            Ok((*parameter, part.f_to_kind(parameter.kind())?.f_to_device(parameter.device())?.f_detach()?))
        };
        self.parameters.iter().map(cut).collect::<Result<_, _>>().map_err(failure)
    }
}

/// `parameters` cut into runs of one type that fill at most `bytes` bytes. A larger parameter is a run of its own.
pub(crate) fn stretches<'p>(
    parameters: impl Iterator<Item = (&'p str, &'p Tensor)>,
    bytes: usize,
) -> Vec<Stretch<'p>> {
    let mut stretches: Vec<Stretch<'_>> = Vec::new();
    for (name, parameter) in parameters {
        let kind = if parameter.kind() == Kind::Double { Kind::Double } else { Kind::Float };
        let size = kind.elt_size_in_bytes() * parameter.numel();
        match stretches.last_mut() {
            Some(last) if last.kind == kind && last.bytes + size <= bytes => {
                last.parameters.push((name, parameter));
                last.bytes += size;
            }
            _ => stretches.push(Stretch { kind, bytes: size, parameters: vec![(name, parameter)] }),
        }
    }
    stretches
}
