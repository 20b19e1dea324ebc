//! Devices by name, and batches on them.

use regimen_core::BoxError;
use regimen_core::engine::ToDevice;
use tch::{Cuda, Device, Tensor};

use crate::failure::failure;

/// A device of libtorch as [`ToDevice`] takes it: tensors, and tuples, arrays, `Vec` and `Option`
/// of them, can be moved to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TorchDevice(pub Device);

impl ToDevice<TorchDevice> for Tensor {
    fn move_to(self, TorchDevice(device): &TorchDevice) -> Result<Self, BoxError> {
        // The same tensor if it is there already.
        if device.is_cuda()
            && self.device() == Device::Cpu
            && let Ok(moved) = queued(&self, *device)
        {
            return Ok(moved);
        }
        self.f_to_device(*device).map_err(failure)
    }
}

/// A copy to a GPU without waiting. Any other copy from the host waits for all queued work of the GPU.
/// libtorch keeps the pinned memory until the copy is complete.
fn queued(tensor: &Tensor, device: Device) -> Result<Tensor, tch::TchError> {
    tensor.f_pin_memory(device)?.f_to_device_(device, tensor.kind(), true, false)
}

/// Moves every tensor of a batch to `device`. For plain units; `AutoUnit` does it by itself.
pub fn place<B: ToDevice<TorchDevice>>(batch: B, device: Device) -> Result<B, BoxError> {
    batch.move_to(&TorchDevice(device))
}

/// The device called `name`: `cpu`, `cuda` (the first GPU) or `cuda:1`, `mps`.
///
/// A device that this libtorch or this machine lacks is an error that lists the available ones.
pub fn device(name: &str) -> Result<Device, BoxError> {
    let device = match name.split_once(':') {
        None if name == "cpu" => Device::Cpu,
        None if name == "cuda" => Device::Cuda(0),
        None if name == "mps" => Device::Mps,
        Some(("cuda", index)) => match index.parse() {
            Ok(index) => Device::Cuda(index),
            Err(_) => return Err(format!("device `{name}`: `{index}` is no index, write `cuda:0`").into()),
        },
        _ => {
            return Err(format!("there is no device `{name}`; the names are cpu, cuda, cuda:1, mps").into());
        }
    };
    if is_there(device) {
        return Ok(device);
    }
    let there = devices().join(", ");
    Err(format!("there is no device `{name}` on this machine, or this libtorch has no support for it; there is: {there}")
        .into())
}

/// The names of the available devices.
pub fn devices() -> Vec<String> {
    let cards = (0..cards()).map(|card| format!("cuda:{card}"));
    let mps = is_there(Device::Mps).then(|| "mps".to_owned());
    std::iter::once("cpu".to_owned()).chain(cards).chain(mps).collect()
}

fn is_there(device: Device) -> bool {
    match device {
        Device::Cpu => true,
        Device::Cuda(card) => card < cards(),
        Device::Mps => tch::utils::has_mps(),
        // Its tensors have no memory that a state could be read from.
        Device::Vulkan => false,
    }
}

fn cards() -> usize {
    usize::try_from(Cuda::device_count()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_there_by_its_name() {
        assert_eq!(device("cpu").unwrap(), Device::Cpu);
        assert_eq!(devices()[0], "cpu");
    }

    #[test]
    fn what_is_not_there_is_an_error_that_says_what_is() {
        let error = |name| device(name).unwrap_err().to_string();
        assert!(error("cuda:99").ends_with(&format!("there is: {}", devices().join(", "))));
        assert_eq!(error("gpu"), "there is no device `gpu`; the names are cpu, cuda, cuda:1, mps");
        assert_eq!(error("cuda:x"), "device `cuda:x`: `x` is no index, write `cuda:0`");
    }
}
