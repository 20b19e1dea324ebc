//! Safe functions over the C++ in `shim/`.
//!
//! All of the crate's unsafe code is here. It rests on three facts. A [`Tensor`] owns the `at::Tensor` that
//! its pointer leads to and outlives the call. The shim keeps no pointer. It lets no exception out.

pub(crate) mod activations;
pub(crate) mod record;
pub(crate) mod script;

use std::any::Any;
use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::slice;

use regimen_core::BoxError;
use regimen_core::engine::Bucket;
use regimen_cuda::CudaBuffer;
use tch::kind::Element;
use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

use crate::failure::failure;

/// Adam's next step, with or without decoupled decay.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdamStep {
    pub(crate) rate: f64,
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
    pub(crate) epsilon: f64,
    pub(crate) weight_decay: f64,
    pub(crate) amsgrad: bool,
    pub(crate) maximize: bool,
    pub(crate) decoupled: bool,
}

/// The next step of SGD; the first makes the momentum out of the gradient alone.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct SgdStep {
    pub(crate) rate: f64,
    pub(crate) momentum: f64,
    pub(crate) dampening: f64,
    pub(crate) weight_decay: f64,
    pub(crate) nesterov: bool,
    pub(crate) maximize: bool,
    pub(crate) is_first: bool,
}

/// The next step of RMSprop.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct RmsPropStep {
    pub(crate) rate: f64,
    pub(crate) alpha: f64,
    pub(crate) epsilon: f64,
    pub(crate) weight_decay: f64,
    pub(crate) momentum: f64,
    pub(crate) centered: bool,
    pub(crate) maximize: bool,
}

type Text = *const c_char;
type List = *const *mut C_tensor;
type Skip = *const C_tensor;

unsafe extern "C" {
    fn rt_set_gradient(parameter: *mut C_tensor, gradient: *mut C_tensor) -> Text;
    fn rt_clear_gradients(parameters: List, n: usize) -> Text;
    fn rt_scale_gradients(parameters: List, n: usize, factor: f64) -> Text;
    fn rt_clamp_gradients(parameters: List, n: usize, limit: f64) -> Text;
    fn rt_clip_gradient_units(parameters: List, n: usize, factor: f64, floor: f64) -> Text;
    fn rt_gradient_norm(parameters: List, n: usize, norm: *mut f64) -> Text;
    fn rt_clip_gradient_norm(parameters: List, n: usize, limit: f64, norm: *mut *mut C_tensor) -> Text;
    fn rt_step_adam(parameters: List, slots: List, n: usize, with: *const AdamStep, skip: Skip) -> Text;
    fn rt_step_sgd(parameters: List, slots: List, n: usize, with: *const SgdStep, skip: Skip) -> Text;
    fn rt_step_rms_prop(
        parameters: List,
        slots: List,
        n: usize,
        with: *const RmsPropStep,
        skip: Skip,
    ) -> Text;
    fn rt_blend(averages: List, values: List, n: usize, share: f64) -> Text;
    fn rt_detecting_backward(loss: *mut C_tensor) -> Text;
    fn rt_telling_backward(
        loss: *mut C_tensor,
        parameters: List,
        n: usize,
        tell: extern "C" fn(*mut c_void, usize),
        context: *mut c_void,
    ) -> Text;
    fn rt_enter_autocast(device: i32, dtype: i32, before: *mut AutocastState) -> Text;
    fn rt_leave_autocast(before: *const AutocastState);
    fn rt_cuda_stream(device: i32, stream: *mut *mut c_void) -> Text;
    fn rt_allow_tf32(allow: bool) -> Text;
    fn rt_use_deterministic_algorithms(only: bool) -> Text;
    fn rt_scalar_reads(count: bool) -> u64;
    fn rt_keep_memory() -> bool;
    fn rt_release_memory(device: bool) -> Text;
}

/// Sets the gradient of `parameter` to `gradient`, or removes it.
pub(crate) fn set_gradient(parameter: &Tensor, gradient: Option<&Tensor>) -> Result<(), BoxError> {
    let gradient = gradient.map_or(ptr::null_mut(), pointer);
    // SAFETY: both are tensors that live, or null if the shim takes null.
    done(unsafe { rt_set_gradient(pointer(parameter), gradient) })
}

/// Removes all gradients.
pub(crate) fn clear_gradients(parameters: &[Tensor]) -> Result<(), BoxError> {
    let list = pointers(parameters);
    // SAFETY: a list of as many tensors as it says.
    done(unsafe { rt_clear_gradients(list.as_ptr(), list.len()) })
}

/// Multiplies all gradients.
pub(crate) fn scale_gradients(parameters: &[Tensor], factor: f64) -> Result<(), BoxError> {
    let list = pointers(parameters);
    // SAFETY: a list of as many tensors as it says.
    done(unsafe { rt_scale_gradients(list.as_ptr(), list.len(), factor) })
}

/// Clamps all elements of all gradients to `-limit..=limit`.
pub(crate) fn clamp_gradients(parameters: &[Tensor], limit: f64) -> Result<(), BoxError> {
    let list = pointers(parameters);
    // SAFETY: a list of as many tensors as it says.
    done(unsafe { rt_clamp_gradients(list.as_ptr(), list.len(), limit) })
}

/// Scales each gradient, slice by slice of its first dimension, down to a norm of `factor` times that of the
/// parameter there, which counts as at least `floor`.
pub(crate) fn clip_gradient_units(parameters: &[Tensor], factor: f64, floor: f64) -> Result<(), BoxError> {
    let list = pointers(parameters);
    // SAFETY: a list of as many tensors as it says.
    done(unsafe { rt_clip_gradient_units(list.as_ptr(), list.len(), factor, floor) })
}

/// The Euclidean norm over all gradients; 0 if there are none.
pub(crate) fn gradient_norm(parameters: &[Tensor]) -> Result<f64, BoxError> {
    let (list, mut norm) = (pointers(parameters), 0.0);
    // SAFETY: a list of as many tensors as it says, and a place for a number.
    done(unsafe { rt_gradient_norm(list.as_ptr(), list.len(), &mut norm) })?;
    Ok(norm)
}

/// Scales all gradients down to a norm of `limit`, if theirs is larger and finite, and returns the norm
/// before. Both happen on the device.
pub(crate) fn clip_gradient_norm(parameters: &[Tensor], limit: f64) -> Result<Tensor, BoxError> {
    let (list, mut norm) = (pointers(parameters), ptr::null_mut());
    // SAFETY: a list of as many tensors as it says, and a place for a pointer.
    done(unsafe { rt_clip_gradient_norm(list.as_ptr(), list.len(), limit, &mut norm) })?;
    // SAFETY: without an error it is a new tensor, which is ours alone.
    Ok(unsafe { Tensor::from_ptr(norm) })
}

/// One optimizer step over parameters that all hold a gradient, with the optimizer's state of each.
pub(crate) trait Kernel {
    /// Makes the step, unless `skip`, a single number on the device, is 1; otherwise it is 0.
    fn run(&self, parameters: &[&Tensor], slots: &[&[Tensor]], skip: Option<&Tensor>)
    -> Result<(), BoxError>;
}

macro_rules! kernel {
    ($step:ty, $function:ident, $slots:expr) => {
        impl Kernel for $step {
            fn run(
                &self,
                parameters: &[&Tensor],
                slots: &[&[Tensor]],
                skip: Option<&Tensor>,
            ) -> Result<(), BoxError> {
                let list: Vec<_> = parameters.iter().map(|tensor| pointer(tensor)).collect();
                let slots = by_slot(list.len(), slots, $slots(self))?;
                let skip = skip.map_or(ptr::null(), |skip| pointer(skip).cast_const());
                // SAFETY: a list of `n` tensors, as many lists of `n` as these settings use, and a tensor
                // that lives, or null if the shim takes null.
                done(unsafe { $function(list.as_ptr(), slots.as_ptr(), list.len(), self, skip) })
            }
        }
    };
}
kernel!(AdamStep, rt_step_adam, |step: &AdamStep| 3 + usize::from(step.amsgrad));
kernel!(SgdStep, rt_step_sgd, |step: &SgdStep| usize::from(step.momentum != 0.0));
kernel!(RmsPropStep, rt_step_rms_prop, |step: &RmsPropStep| {
    1 + usize::from(step.momentum > 0.0) + usize::from(step.centered)
});

/// The first slot of each of `n` parameters, then the second of each, and so on.
fn by_slot(n: usize, slots: &[&[Tensor]], wanted: usize) -> Result<Vec<*mut C_tensor>, BoxError> {
    if slots.len() != n || slots.iter().any(|own| own.len() != wanted) {
        return Err("the optimizer's state is not whole".into());
    }
    Ok((0..wanted).flat_map(|slot| slots.iter().map(move |own| pointer(&own[slot]))).collect())
}

/// Moves each of `averages` towards the value in its place by `share` of the way.
pub(crate) fn blend(averages: &[&Tensor], values: &[&Tensor], share: f64) -> Result<(), BoxError> {
    let list = |tensors: &[&Tensor]| tensors.iter().map(|tensor| pointer(tensor)).collect::<Vec<_>>();
    let (averages, values) = (list(averages), list(values));
    if averages.len() != values.len() {
        return Err("there are not as many averages as values".into());
    }
    // SAFETY: two lists of as many tensors as it says.
    done(unsafe { rt_blend(averages.as_ptr(), values.as_ptr(), averages.len(), share) })
}

/// Backward that names the operation whose gradient became NaN.
pub(crate) fn detecting_backward(loss: &Tensor) -> Result<(), BoxError> {
    // SAFETY: a tensor that lives.
    done(unsafe { rt_detecting_backward(pointer(loss)) })
}

/// Backward over a graph on the CPU that calls `tell` with the number of each parameter whose gradient is complete, those of
/// earlier losses included.
pub(crate) fn telling_backward(
    loss: &Tensor,
    parameters: &[Tensor],
    tell: &mut dyn FnMut(usize),
) -> Result<(), BoxError> {
    struct Context<'t> {
        tell: &'t mut dyn FnMut(usize),
        panic: Option<Box<dyn Any + Send>>,
    }
    extern "C" fn call(context: *mut c_void, i: usize) {
        // SAFETY: the context below, which lives until the backward pass is over. The nodes of a CPU run one at a time.
        let Context { tell, panic } = unsafe { &mut *context.cast::<Context<'_>>() };
        if panic.is_none() {
            *panic = catch_unwind(AssertUnwindSafe(|| tell(i))).err();
        }
    }
    let (list, mut context) = (pointers(parameters), Context { tell, panic: None });
    let at = ptr::from_mut(&mut context).cast();
    // SAFETY: tensors that live, and as many parameters as it says. The shim removes the hooks, and with them the context.
    let told = done(unsafe { rt_telling_backward(pointer(loss), list.as_ptr(), list.len(), call, at) });
    match context.panic {
        Some(panic) => resume_unwind(panic),
        None => told,
    }
}

/// The state of autocast on a kind of device.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AutocastState {
    device: i32,
    dtype: i32,
    enabled: bool,
}

/// A scope of autocast on this thread, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Autocast {
    before: AutocastState,
    /// It belongs to the thread: a pointer is neither sent nor shared.
    _thread: PhantomData<*const ()>,
}

impl Autocast {
    /// Begins one for the devices of the kind of `device`, in the type `kind`.
    pub(crate) fn enter(device: Device, kind: Kind) -> Result<Self, BoxError> {
        // As in c10/core/DeviceType.h and c10/core/ScalarType.h.
        let device = match device {
            Device::Cpu => 0,
            Device::Cuda(_) => 1,
            other => return Err(format!("there is no autocast on {other:?}").into()),
        };
        let kind = match kind {
            Kind::Half => 5,
            Kind::BFloat16 => 15,
            other => return Err(format!("there is no autocast to {other:?}").into()),
        };
        let mut before = AutocastState::default();
        // SAFETY: numbers of a device and of a type that libtorch has, and a place for what it writes.
        done(unsafe { rt_enter_autocast(device, kind, &mut before) })?;
        Ok(Autocast { before, _thread: PhantomData })
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        // SAFETY: what `rt_enter_autocast` wrote on this thread, given back once.
        unsafe { rt_leave_autocast(&self.before) }
    }
}

/// A tensor of one dimension, copied from others. No other tensor has its memory until it is given out.
pub(crate) struct Joined(Tensor);

impl Joined {
    /// The elements of `parts`, tensors of one dimension, one after another.
    pub(crate) fn of(parts: &[Tensor]) -> Result<Self, BoxError> {
        let joined = Tensor::f_cat(parts, 0).map_err(failure)?;
        if joined.is_contiguous() { Ok(Joined(joined)) } else { Err("joined tensors have gaps".into()) }
    }

    /// It in host memory, with its elements as `change` leaves them. It leaves the device in one piece.
    pub(crate) fn changed<T: Element>(
        self,
        change: impl FnOnce(&mut [T]) -> Result<(), BoxError>,
    ) -> Result<Tensor, BoxError> {
        let flat = self.0.f_to_device(Device::Cpu).map_err(failure)?;
        if flat.kind() != T::KIND {
            return Err(format!("a flat buffer of {:?} is read as {:?}", flat.kind(), T::KIND).into());
        }
        let elements = match flat.data_ptr() {
            // That of no elements.
            at if at.is_null() => &mut [],
            // SAFETY: so many elements of this type without gaps, and no other tensor has this memory.
            at => unsafe { slice::from_raw_parts_mut(at.cast::<T>(), flat.numel()) },
        };
        change(elements)?;
        Ok(flat)
    }

    /// It in host memory, with its elements as `exchange` leaves them, which are single or double.
    pub(crate) fn exchanged(
        self,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<Tensor, BoxError> {
        match self.0.kind() {
            Kind::Double => self.changed(|values| exchange(Bucket::F64(values))),
            _ => self.changed(|values| exchange(Bucket::F32(values))),
        }
    }

    /// Its memory as a buffer for other libraries. Returns `None` if it is not on a CUDA device.
    pub(crate) fn cuda_buffer(&self) -> Result<Option<CudaBuffer>, BoxError> {
        let Joined(flat) = self;
        let Device::Cuda(device) = flat.device() else { return Ok(None) };
        let kind = match flat.kind() {
            Kind::Float => regimen_cuda::Kind::F32,
            Kind::Double => regimen_cuda::Kind::F64,
            other => return Err(format!("a bucket of type {other:?} cannot be summed on a device").into()),
        };
        let mut stream = ptr::null_mut();
        // SAFETY: a place for a pointer.
        done(unsafe { rt_cuda_stream(i32::try_from(device)?, &mut stream) })?;
        let (pointer, elements) = (flat.data_ptr() as u64, flat.numel());
        // SAFETY: so many elements without gaps, which the clone keeps. libtorch queues all work on them in the current
        // stream of their device, as no other has been chosen since.
        Ok(Some(unsafe {
            CudaBuffer::new(pointer, elements, kind, device, stream as usize, flat.shallow_clone())
        }))
    }

    pub(crate) fn into_tensor(self) -> Tensor {
        self.0
    }
}

/// Whether products of single precision may be rounded to TensorFloat-32 on devices that have it.
pub(crate) fn allow_tf32(allow: bool) -> Result<(), BoxError> {
    // SAFETY: it takes a flag and sets flags.
    done(unsafe { rt_allow_tf32(allow) })
}

/// Allows only deterministic kernels; an operation without one fails.
pub(crate) fn use_deterministic_algorithms(only: bool) -> Result<(), BoxError> {
    // SAFETY: it takes a flag and sets a flag.
    done(unsafe { rt_use_deterministic_algorithms(only) })
}

/// Number of scalars read to the host since the first call, in all threads.
pub(crate) fn scalar_reads() -> u64 {
    // SAFETY: it takes a flag, and counts in an atomic number.
    unsafe { rt_scalar_reads(true) }
}

/// Sets the C allocator to keep freed memory. Returns `false` if it has no such setting.
pub(crate) fn keep_memory() -> bool {
    // SAFETY: it takes no arguments, and changes settings that glibc allows to be changed at any time.
    unsafe { rt_keep_memory() }
}

/// Returns free memory of the heap to the system, and that of the caching allocator to the accelerator if
/// `device` is set.
pub(crate) fn release_memory(device: bool) -> Result<(), BoxError> {
    // SAFETY: it takes no tensors. The allocators return only blocks that nobody uses.
    done(unsafe { rt_release_memory(device) })
}

fn pointer(tensor: &Tensor) -> *mut C_tensor {
    tensor.as_ptr().cast_mut()
}

fn pointers(tensors: &[Tensor]) -> Vec<*mut C_tensor> {
    tensors.iter().map(pointer).collect()
}

fn done(text: Text) -> Result<(), BoxError> {
    if text.is_null() {
        return Ok(());
    }
    // SAFETY: a pointer that is not null is text of this thread, whole until its next call.
    let text = unsafe { CStr::from_ptr(text) };
    Err(crate::failure::first_line(&text.to_string_lossy()).into())
}
