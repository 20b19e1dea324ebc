//! Buffers as they were before a step, and as ranks exchange them.

use regimen_core::BoxError;
use regimen_core::engine::{Bucket, group_beside};
use tch::{Device, Kind, Tensor};

use crate::failure::failure;
use crate::parameters::Parameters;

/// The buffers of a model, with a copy of each.
#[derive(Debug)]
pub(crate) struct Buffers(Vec<Buffer>);

#[derive(Debug)]
struct Buffer {
    own: Tensor,
    kept: Tensor,
    /// The number of the parameter group next to it.
    group: usize,
}

impl Buffers {
    /// The buffers in `parameters`; `group` is the group of a trained parameter.
    pub(crate) fn of(parameters: &Parameters, group: impl Fn(usize) -> usize) -> Result<Self, BoxError> {
        let trained = || parameters.names().iter().enumerate().map(|(i, name)| (&**name, group(i)));
        let buffer = |(name, own): (&str, &Tensor)| {
            let kept = own.f_detach_copy().map_err(failure)?;
            Ok(Buffer { own: own.shallow_clone(), kept, group: group_beside(name, trained()) })
        };
        Ok(Buffers(parameters.buffers().map(buffer).collect::<Result<_, BoxError>>()?))
    }

    /// Copies their present values.
    pub(crate) fn keep(&mut self) -> Result<(), BoxError> {
        self.0.iter_mut().try_for_each(|Buffer { own, kept, .. }| copy(kept, own))
    }

    /// Restores them: all, or those of the groups for which `of` returns `true`.
    pub(crate) fn restore(&mut self, of: Option<&[bool]>) -> Result<(), BoxError> {
        let mut chosen = self.0.iter_mut().filter(|buffer| of.is_none_or(|of| of[buffer.group]));
        chosen.try_for_each(|Buffer { own, kept, .. }| copy(&mut unversioned(own)?, kept))
    }

    /// Restores all of them unless `finite`, a truth value on the device.
    pub(crate) fn restore_unless(&mut self, finite: &Tensor) -> Result<(), BoxError> {
        self.0.iter().try_for_each(|Buffer { own, kept, .. }| {
            let own = unversioned(own)?;
            own.f_where_self_out(&own, finite, kept).map(drop).map_err(failure)
        })
    }

    /// Passes them on as one flat buffer, and takes up the values left there. They leave the device in one piece, and
    /// come back so.
    pub(crate) fn exchange(
        &mut self,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        let Some(first) = self.0.first() else { return Ok(()) };
        // Metal has no doubles.
        let device = if first.own.device() == Device::Mps { Device::Cpu } else { first.own.device() };
        let wide = |buffer: &Buffer| {
            buffer.own.f_detach()?.f_reshape([-1])?.f_to_device(device)?.f_to_kind(Kind::Double)
        };
        let all = self.0.iter().map(wide).collect::<Result<Vec<_>, _>>().map_err(failure)?;
        let flat = Tensor::f_cat(&all, 0).and_then(|flat| flat.f_to_device(Device::Cpu)).map_err(failure)?;
        let mut values = Vec::<f64>::try_from(&flat).map_err(failure)?;
        exchange(Bucket::F64(&mut values))?;
        let flat = Tensor::from_slice(&values).f_to_device(device).map_err(failure)?;
        let mut begin = 0;
        let cut = |Buffer { own, .. }: &Buffer| {
            let length = own.numel() as i64;
            let part = flat.f_narrow(0, begin, length)?.f_reshape(own.size())?;
            begin += length;
            let part = if own.is_floating_point() { part } else { part.f_round()? };
            part.f_to_kind(own.kind())
        };
        // All are made before any is copied.
        let parts = self.0.iter().map(cut).collect::<Result<Vec<_>, _>>().map_err(failure)?;
        let mut both = self.0.iter().zip(&parts);
        both.try_for_each(|(Buffer { own, .. }, part)| copy(&mut unversioned(own)?, part))
    }
}

/// The memory of `own`, to be written between forward and backward pass. Batch normalisation saves its buffers
/// for the backward pass, which refuses those changed since, although it does not use them in training.
fn unversioned(own: &Tensor) -> Result<Tensor, BoxError> {
    own.f_data().map_err(failure)
}

fn copy(to: &mut Tensor, from: &Tensor) -> Result<(), BoxError> {
    tch::no_grad(|| to.f_copy_(from)).map_err(failure)
}
