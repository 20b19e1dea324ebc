//! Copies of a model's parameters and buffers.

use regimen_core::BoxError;
use regimen_core::saved::{StateDict, Stateful};
use tch::Tensor;

use crate::array::{array, dtype, shape, tensor};
use crate::failure::failure;
use crate::parameters::{Parameters, mismatch};
use crate::shim;

/// A copy of parameters and buffers on their device: an average of them, say.
#[derive(Debug)]
pub struct TorchWeights {
    /// In the order of the names.
    copies: Vec<Copied>,
}

#[derive(Debug)]
struct Copied {
    name: String,
    tensor: Tensor,
    is_buffer: bool,
}

impl TorchWeights {
    pub(crate) fn of(parameters: &Parameters) -> Result<Self, BoxError> {
        let copied = |(name, tensor): (&String, &Tensor)| {
            let is_buffer = !parameters.names().contains(name);
            let tensor = tensor.f_detach_copy().map_err(failure)?;
            Ok(Copied { name: name.clone(), tensor, is_buffer })
        };
        Ok(TorchWeights { copies: parameters.all().iter().map(copied).collect::<Result<_, BoxError>>()? })
    }

    /// Moves them towards `parameters`, by PyTorch's `lerp`.
    pub(crate) fn blend(
        &mut self,
        parameters: &Parameters,
        share: f64,
        buffer_share: f64,
    ) -> Result<(), BoxError> {
        let pairs = || self.copies.iter().zip(parameters.all().values());
        for (is_buffer, share) in [(false, share), (true, buffer_share)] {
            let of_kind =
                |copied: &Copied| copied.is_buffer == is_buffer && copied.tensor.is_floating_point();
            let (averages, values): (Vec<&Tensor>, Vec<&Tensor>) = pairs()
                .filter(|(copied, _)| of_kind(copied))
                .map(|(copied, own)| (&copied.tensor, own))
                .unzip();
            shim::blend(&averages, &values, share)?;
        }
        let whole = pairs().filter(|(copied, _)| !copied.tensor.is_floating_point());
        tch::no_grad(|| {
            whole
                .into_iter()
                .try_for_each(|(copied, own)| copied.tensor.shallow_clone().f_copy_(own).map_err(failure))
        })
    }

    /// Exchanges the memory with `parameters`, without copying.
    pub(crate) fn swap(&mut self, parameters: &Parameters) {
        for (copied, own) in self.copies.iter_mut().zip(parameters.all().values()) {
            let (mut own, theirs) = (own.shallow_clone(), own.detach());
            // It fails only for tensors of two types or devices; a copy has the same.
            if own.f_set_data(&copied.tensor).is_ok() {
                copied.tensor = theirs;
            }
        }
    }
}

impl Stateful for TorchWeights {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        for Copied { name, tensor, .. } in &self.copies {
            dict.insert(name, array(tensor).map_err(|cause| format!("`{name}`: {cause}"))?)?;
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let mut loaded = Vec::new();
        for Copied { name, tensor: own, .. } in &self.copies {
            let array = dict.array(name)?;
            if let Some(wrong) = mismatch(name, array, dtype(own.kind())?, &shape(own)) {
                return Err(wrong.into());
            }
            loaded.push(tensor(array)?.f_to_device(own.device()).map_err(failure)?);
        }
        self.copies.iter_mut().zip(loaded).for_each(|(copied, tensor)| copied.tensor = tensor);
        Ok(())
    }
}
