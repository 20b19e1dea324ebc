//! Devices by name, and batches on them.

use burn::tensor::kind::Autodiff;
use burn::tensor::{Bool, Device, FloatDType, Int, Tensor};
use regimen_core::BoxError;
use regimen_core::engine::ToDevice;

/// A Burn device as [`ToDevice`] takes it: tensors of every kind, and tuples, arrays, `Vec` and
/// `Option` of them, can be moved to it.
///
/// A batch moved to an autodiff device is on autodiff: dropout and batch norm look at their input to see
/// whether they are trained. Moved to a plain device, it is not. If a module computes in half precision, the
/// floats of its batches are cast to it.
#[derive(Clone, Debug)]
pub struct BurnDevice {
    device: Device,
    /// The type that floats are cast to, if any.
    floats: Option<FloatDType>,
}

impl BurnDevice {
    pub(crate) fn new(device: Device, floats: Option<FloatDType>) -> Self {
        BurnDevice { device, floats }
    }

    /// The device itself.
    pub fn device(&self) -> &Device {
        &self.device
    }
}

/// Floats keep their type.
impl From<Device> for BurnDevice {
    fn from(device: Device) -> Self {
        BurnDevice::new(device, None)
    }
}

impl<const D: usize> ToDevice<BurnDevice> for Tensor<D> {
    fn move_to(self, device: &BurnDevice) -> Result<Self, BoxError> {
        let tensor = moved(self, &device.device);
        Ok(match device.floats {
            Some(dtype) => tensor.cast(dtype),
            None => tensor,
        })
    }
}

impl<const D: usize> ToDevice<BurnDevice> for Tensor<D, Int> {
    fn move_to(self, device: &BurnDevice) -> Result<Self, BoxError> {
        Ok(moved(self, &device.device))
    }
}

impl<const D: usize> ToDevice<BurnDevice> for Tensor<D, Bool> {
    fn move_to(self, device: &BurnDevice) -> Result<Self, BoxError> {
        Ok(moved(self, &device.device))
    }
}

fn moved<const D: usize, K: Autodiff>(tensor: Tensor<D, K>, device: &Device) -> Tensor<D, K> {
    // Burn's own move leaves autodiff as it was, on or off.
    let tensor = if tensor.device() == *device { tensor } else { Tensor::to_device(tensor, device) };
    let (found, wanted) =
        (tensor.gradient_checkpointing_strategy(), device.gradient_checkpointing_strategy());
    match wanted {
        _ if found == wanted => tensor,
        None => tensor.without_autodiff(),
        Some(strategy) => tensor.autodiff().with_gradient_checkpointing_strategy(strategy),
    }
}

/// Moves every tensor of a batch to `device`. For plain units: give the device for training as
/// `&device.clone().autodiff()`, or dropout and batch norm behave as in evaluation.
pub fn place<B: ToDevice<BurnDevice>>(batch: B, device: &Device) -> Result<B, BoxError> {
    batch.move_to(&device.clone().into())
}

/// The device called `name`: one of [`devices`], with an index if there can be several, as in `cuda:1`.
///
/// A name that this build does not know is an error that lists the known ones. If the machine lacks the
/// device, Burn fails at the first use.
pub fn device(name: &str) -> Result<Device, BoxError> {
    let (kind, index) = match name.split_once(':') {
        None => (name, None),
        Some((kind, index)) => match index.parse() {
            Ok(index) => (kind, Some(index)),
            Err(_) => return Err(format!("device `{name}`: `{index}` is no index, write `{kind}:0`").into()),
        },
    };
    let Some(Kind { several, open, .. }) = KINDS.iter().find(|known| known.name == kind) else {
        let known = devices().join(", ");
        return Err(format!("this build has no device `{name}`; it has: {known}").into());
    };
    if index.is_some() && !several {
        return Err(format!("device `{name}`: there is one `{kind}` only, leave out the index").into());
    }
    Ok(open(index))
}

/// The names that [`device`] knows in this build; its features decide. `cpu` is an alias of `flex` if that is
/// compiled in.
pub fn devices() -> Vec<&'static str> {
    KINDS.iter().map(|kind| kind.name).collect()
}

/// Whether a number on `device` is available without waiting: the backend computes on the calling thread.
pub(crate) fn is_host(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    if device.clone().without_autodiff() == Device::flex() {
        return true;
    }
    let _ = device;
    false
}

struct Kind {
    name: &'static str,
    /// Whether a machine can have several, distinguished by index.
    several: bool,
    open: fn(Option<usize>) -> Device,
}

const KINDS: &[Kind] = &[
    #[cfg(feature = "flex")]
    Kind { name: "cpu", several: false, open: |_| Device::flex() },
    #[cfg(feature = "flex")]
    Kind { name: "flex", several: false, open: |_| Device::flex() },
    #[cfg(all(feature = "cpu", not(feature = "flex")))]
    Kind { name: "cpu", several: false, open: |_| Device::cpu() },
    #[cfg(feature = "cuda")]
    Kind { name: "cuda", several: true, open: |index| Device::cuda(index.unwrap_or(0)) },
    #[cfg(feature = "rocm")]
    Kind { name: "rocm", several: true, open: |index| Device::rocm(index.unwrap_or(0)) },
    #[cfg(feature = "metal")]
    Kind { name: "metal", several: true, open: |index| Device::metal(graphics(index)) },
    #[cfg(feature = "vulkan")]
    Kind { name: "vulkan", several: true, open: |index| Device::vulkan(graphics(index)) },
    #[cfg(feature = "webgpu")]
    Kind { name: "webgpu", several: true, open: |index| Device::webgpu(graphics(index)) },
    #[cfg(feature = "wgpu")]
    Kind { name: "wgpu", several: true, open: |index| Device::wgpu(graphics(index)) },
];

/// The discrete graphics card of that index; without an index, the best device available.
#[cfg(feature = "wgpu")]
fn graphics(index: Option<usize>) -> burn::tensor::DeviceKind {
    index.map_or(burn::tensor::DeviceKind::DefaultDevice, burn::tensor::DeviceKind::DiscreteGpu)
}
