//! Modules of TorchScript. tch loads them without access to their buffers.

use std::ffi::{CStr, CString, c_char, c_void};
use std::fmt;
use std::ptr::{self, NonNull};

use regimen_core::BoxError;
use tch::{Device, Tensor};
use torch_sys::C_tensor;

use super::{List, Text, pointer};
use crate::failure::first_line;

/// A module of TorchScript, by the shim's pointer.
pub(crate) struct Module(NonNull<CModule>);

#[repr(C)]
struct CModule {
    _opaque: [u8; 0],
}

/// A parameter or a buffer.
#[derive(Debug)]
pub(crate) struct Variable {
    /// Its name in Python.
    pub(crate) name: String,
    /// The module's tensor, not a copy.
    pub(crate) tensor: Tensor,
    pub(crate) is_parameter: bool,
}

unsafe extern "C" {
    fn rt_script_load(path: *const c_char, device: *const c_char, script: *mut *mut CModule) -> Text;
    fn rt_script_free(script: *mut CModule);
    fn rt_script_variables(
        script: *const CModule,
        to: *mut c_void,
        give: unsafe extern "C" fn(*mut c_void, *const c_char, *mut C_tensor, bool),
    ) -> Text;
    fn rt_script_methods(
        script: *const CModule,
        to: *mut c_void,
        give: unsafe extern "C" fn(*mut c_void, *const c_char),
    ) -> Text;
    fn rt_script_call(
        script: *mut CModule,
        method: *const c_char,
        train: bool,
        inputs: List,
        n: usize,
        to: *mut c_void,
        give: unsafe extern "C" fn(*mut c_void, *mut C_tensor),
    ) -> Text;
    fn rt_script_save(script: *mut CModule, path: *const c_char) -> Text;
    fn rt_script_freeze(script: *mut CModule, device: *const c_char, frozen: *mut *mut CModule) -> Text;
}

// SAFETY: nothing in it belongs to the thread that made it. It is not `Sync`: a call changes the mode and
// the buffers of the module.
unsafe impl Send for Module {}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: it is the shim's own pointer, and is not used after this.
        unsafe { rt_script_free(self.0.as_ptr()) }
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").finish_non_exhaustive()
    }
}

impl Module {
    /// The module in the file at `path`, with all its tensors on `device`.
    pub(crate) fn load(path: &str, device: Device) -> Result<Self, BoxError> {
        let (path, device) = (CString::new(path)?, device_name(device)?);
        // SAFETY: two texts that live, and a place for a pointer.
        made(|place| unsafe { rt_script_load(path.as_ptr(), device.as_ptr(), place) })
    }

    /// All parameters and buffers, in Python's order. A parameter that the code assigns to is an error.
    pub(crate) fn variables(&self) -> Result<Vec<Variable>, BoxError> {
        let mut all: Vec<Variable> = Vec::new();
        let to = ptr::from_mut(&mut all).cast();
        // SAFETY: a module that lives, and `give_variable` with the list that it takes.
        done(unsafe { rt_script_variables(self.0.as_ptr(), to, give_variable) })?;
        Ok(all)
    }

    /// The names of the methods.
    pub(crate) fn methods(&self) -> Result<Vec<String>, BoxError> {
        let mut all: Vec<String> = Vec::new();
        let to = ptr::from_mut(&mut all).cast();
        // SAFETY: a module that lives, and `give_name` with the list that it takes.
        done(unsafe { rt_script_methods(self.0.as_ptr(), to, give_name) })?;
        Ok(all)
    }

    /// Calls a method in training or evaluation mode. Tuples and lists of tensors are flattened.
    pub(crate) fn call(
        &self,
        method: &str,
        inputs: &[&Tensor],
        train: bool,
    ) -> Result<Vec<Tensor>, BoxError> {
        let method = CString::new(method)?;
        let inputs: Vec<_> = inputs.iter().map(|tensor| pointer(tensor)).collect();
        let mut all: Vec<Tensor> = Vec::new();
        let to = ptr::from_mut(&mut all).cast();
        // SAFETY: a module that lives and that no other thread uses, as it is not `Sync`; a text; a list of
        // as many tensors as it says; and `give_tensor` with the list that it takes.
        done(unsafe {
            let (list, n) = (inputs.as_ptr(), inputs.len());
            rt_script_call(self.0.as_ptr(), method.as_ptr(), train, list, n, to, give_tensor)
        })?;
        Ok(all)
    }

    /// Writes a file of TorchScript, in evaluation mode.
    pub(crate) fn save(&self, path: &str) -> Result<(), BoxError> {
        let path = CString::new(path)?;
        // SAFETY: a module that lives and that no other thread uses, and a text.
        done(unsafe { rt_script_save(self.0.as_ptr(), path.as_ptr()) })
    }

    /// A copy whose weights are constants on `device`, with `forward` alone.
    pub(crate) fn freeze(&self, device: Device) -> Result<Self, BoxError> {
        let device = device_name(device)?;
        // SAFETY: a module that lives and that no other thread uses, a text, and a place for a pointer.
        made(|place| unsafe { rt_script_freeze(self.0.as_ptr(), device.as_ptr(), place) })
    }
}

/// The pointer that `make` wrote.
fn made(make: impl FnOnce(*mut *mut CModule) -> Text) -> Result<Module, BoxError> {
    let mut module = ptr::null_mut();
    done(make(&mut module))?;
    Ok(Module(NonNull::new(module).ok_or("libtorch made no module")?))
}

/// # Safety
///
/// `to` is a `Vec<Variable>` that nothing else uses, `name` is text and `tensor` is the receiver's to own.
unsafe extern "C" fn give_variable(
    to: *mut c_void,
    name: *const c_char,
    tensor: *mut C_tensor,
    is_parameter: bool,
) {
    // SAFETY: as said above.
    let (all, name, tensor) =
        unsafe { (&mut *to.cast::<Vec<Variable>>(), text(name), Tensor::from_ptr(tensor)) };
    all.push(Variable { name, tensor, is_parameter });
}

/// # Safety
///
/// `to` is a `Vec<String>` that nothing else uses, and `name` is text.
unsafe extern "C" fn give_name(to: *mut c_void, name: *const c_char) {
    // SAFETY: as said above.
    let (all, name) = unsafe { (&mut *to.cast::<Vec<String>>(), text(name)) };
    all.push(name);
}

/// # Safety
///
/// `to` is a `Vec<Tensor>` that nothing else uses, and `tensor` is the receiver's to own.
unsafe extern "C" fn give_tensor(to: *mut c_void, tensor: *mut C_tensor) {
    // SAFETY: as said above.
    let (all, tensor) = unsafe { (&mut *to.cast::<Vec<Tensor>>(), Tensor::from_ptr(tensor)) };
    all.push(tensor);
}

/// # Safety
///
/// `text` is text that ends in a zero.
unsafe fn text(text: *const c_char) -> String {
    // SAFETY: as said above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// libtorch's name of a device.
fn device_name(device: Device) -> Result<CString, BoxError> {
    Ok(CString::new(match device {
        Device::Cpu => "cpu".to_owned(),
        Device::Cuda(card) => format!("cuda:{card}"),
        Device::Mps => "mps".to_owned(),
        Device::Vulkan => "vulkan".to_owned(),
    })?)
}

fn done(error: Text) -> Result<(), BoxError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a pointer that is not null is text of this thread, whole until its next call.
    Err(cause(&unsafe { text(error) }).into())
}

/// Marks the end of the lines of code in an error of the interpreter.
const HERE: &str = "<--- HERE\n";

/// An error as one line: the cause, and the file and line in the user's own code. The interpreter prints the
/// whole trace into PyTorch's code, twice, before the cause.
fn cause(text: &str) -> String {
    let Some((trace, behind)) = text.rsplit_once(HERE) else { return first_line(text) };
    // The rest of the lines of code follow the mark, and then the error with its type.
    let is_error = |line: &&str| line.split_once(": ").is_some_and(|(kind, _)| is_path(kind));
    let said = behind.lines().find(is_error).unwrap_or_default();
    let said = said.trim_start_matches("RuntimeError: ").trim_start_matches("builtins.");
    let trace = trace.rsplit_once("Traceback of TorchScript").map_or(trace, |(_, last)| last);
    let places: Vec<(&str, &str)> = trace.lines().filter_map(place).collect();
    let own = places.iter().rev().find(|(file, _)| !file.contains("/torch/")).or(places.last());
    match own {
        Some((file, line)) => format!("{}, in {file}, line {line}", first_line(said)),
        None => first_line(said),
    }
}

/// Whether `text` is a name as Python writes it, `builtins.ValueError`.
fn is_path(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || "._".contains(c))
}

/// The file and the line in `  File "model.py", line 12, in forward`.
fn place(line: &str) -> Option<(&str, &str)> {
    let (file, behind) = line.strip_prefix("  File \"")?.split_once("\", line ")?;
    Some((file, behind.split(',').next()?))
}

#[cfg(test)]
mod tests {
    use super::cause;

    const SHAPES: &str = r#"The following operation failed in the TorchScript interpreter.
Traceback of TorchScript, serialized code (most recent call last):
  File "code/__torch__.py", line 20, in forward
    c = s.c
    _1 = (c).forward(x, )
          ~~~~~~~~~~ <--- HERE
    x0 = torch.relu(_1)

Traceback of TorchScript, original code (most recent call last):
  File "net/model.py", line 14, in forward
        x=s.c(x)
          ~~~ <--- HERE
        return x.relu()
  File "/usr/lib/python3.11/site-packages/torch/nn/modules/conv.py", line 553, in forward
        return self._conv_forward(input, self.weight, self.bias)
               ~~~~~~~~~~~~~~~~~~ <--- HERE
            input, weight, bias, self.stride, self.padding, self.dilation, self.groups
        )
RuntimeError: Expected 4D input, but got input of size: [2, 1]

"#;

    #[test]
    fn an_error_in_a_layer_is_placed_where_the_layer_is_called() {
        assert_eq!(
            cause(SHAPES),
            "Expected 4D input, but got input of size: [2, 1], in net/model.py, line 14"
        );
    }

    #[test]
    fn an_exception_of_the_script_is_told_by_its_type_and_first_line() {
        let text = "The following operation failed in the TorchScript interpreter.\n\
                    Traceback of TorchScript, serialized code (most recent call last):\n  \
                    File \"code/__torch__.py\", line 3, in two\n    \
                    ops.prim.RaiseException(\"many\")\n    \
                    ~~~~~~~~~~~~~~~~~~~~~~~ <--- HERE\n\
                    def three(x: Tensor) -> Tensor:\n  \
                    y: Tensor = x\n\
                    builtins.ValueError: too many\nrows\n";
        assert_eq!(cause(text), "ValueError: too many, in code/__torch__.py, line 3");
    }

    #[test]
    fn what_comes_from_no_code_is_told_by_its_first_line() {
        assert_eq!(
            cause("forward() is missing value for argument 'x'\nmore"),
            "forward() is missing value for argument 'x'"
        );
    }
}
