//! The regions of `shim/activations.h`: they own a closure, and C++ calls it.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use regimen_core::BoxError;
use tch::Tensor;
use torch_sys::C_tensor;

use super::{Text, done, pointer};
use crate::failure::recording;

#[repr(C)]
struct RawClosure {
    data: *mut c_void,
    call: unsafe extern "C" fn(*mut c_void, *mut C_tensor) -> Text,
    drop: unsafe extern "C" fn(*mut c_void),
}

unsafe extern "C" {
    fn rt_is_recording() -> bool;
    fn rt_begin_region(x: *mut C_tensor, closure: RawClosure, region: *mut *mut c_void) -> Text;
    fn rt_end_region(region: *mut c_void, whole: bool);
}

/// Whether operations of this thread are recorded for a backward pass.
pub(crate) fn is_recording() -> bool {
    // SAFETY: it takes no arguments, and reads a flag of the thread.
    unsafe { rt_is_recording() }
}

/// Calls `f` with `x` without keeping its activations for the backward pass, which calls `f` again. A panic
/// of `f` is passed on here; in the backward pass it is an error.
pub(crate) fn region<R, F>(x: &Tensor, f: F) -> Result<R, BoxError>
where
    F: Fn(&Tensor) -> R + Send + 'static,
{
    let closure = Box::into_raw(Box::new(Closure { f, text: RefCell::default() }));
    let mut region = Region { pointer: ptr::null_mut(), is_whole: false };
    let raw = RawClosure { data: closure.cast(), call: call::<R, F>, drop: free::<F> };
    // SAFETY: a tensor that lives, and a closure that from here on belongs to the region: it may go to
    // other threads (`Send`), live for long (`'static`), and is not called by two at once. Its
    // functions take the type that its data has.
    done(unsafe { rt_begin_region(pointer(x), raw, &mut region.pointer) })?;
    // SAFETY: it lives until its region has ended, and the region gives nothing back and so calls
    // nothing until then.
    let f = unsafe { &(*closure).f };
    let output = recording(true, || f(x));
    region.is_whole = true;
    Ok(output)
}

/// A region under way, unless it is null. It ends on drop.
struct Region {
    pointer: *mut c_void,
    is_whole: bool,
}

impl Drop for Region {
    fn drop(&mut self) {
        if !self.pointer.is_null() {
            // SAFETY: it has begun, on this thread, and ends once. Those begun later have ended: each is
            // a local of a function that has returned.
            unsafe { rt_end_region(self.pointer, self.is_whole) }
        }
    }
}

struct Closure<F> {
    f: F,
    /// The text of the last call that failed.
    text: RefCell<CString>,
}

unsafe extern "C" fn call<R, F: Fn(&Tensor) -> R>(data: *mut c_void, x: *mut C_tensor) -> Text {
    // SAFETY: the data of a region's closure, which lives, and which no other thread uses now; and a
    // tensor that is given away.
    let (closure, x) = unsafe { (&*data.cast::<Closure<F>>(), Tensor::from_ptr(x)) };
    let compute = || {
        recording(true, || (closure.f)(&x));
        drop(x);
    };
    match catch_unwind(AssertUnwindSafe(compute)) {
        Ok(()) => ptr::null(),
        Err(payload) => {
            *closure.text.borrow_mut() = said(&*payload);
            closure.text.borrow().as_ptr()
        }
    }
}

unsafe extern "C" fn free<F>(data: *mut c_void) {
    // SAFETY: the data of a region's closure, which it made of a box and drops once.
    let closure = unsafe { Box::from_raw(data.cast::<Closure<F>>()) };
    // There is no caller left to receive the panic.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(closure)));
}

fn said(payload: &(dyn Any + Send)) -> CString {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    CString::new(text.unwrap_or("a panic that is not text").replace('\0', " ")).unwrap_or_default()
}
