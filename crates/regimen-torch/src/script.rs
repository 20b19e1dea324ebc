//! Modules of TorchScript, written in Python.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;

use regimen_core::BoxError;
use tch::{Device, Tensor, nn};

use crate::shim::script::{Module, Variable};

/// A module of TorchScript, as written by `torch.jit.script(model).save("model.pt")` in Python, for training,
/// evaluation and saving.
///
/// ```
/// use regimen_torch::tch::{Kind, Tensor, nn::VarStore};
/// use regimen_torch::{Adam, ScriptModule, Torch, device};
///
/// let device = device("cpu")?;
/// let vars = VarStore::new(device);
/// let script = ScriptModule::load("examples/torchscript/model.pt", &vars.root())?;
/// let images = Tensor::zeros([2, 8, 8], (Kind::Float, device));
/// let logits = script.forward(&[&images], false)?;
/// assert_eq!(logits.size(), [2, 10]);
/// let engine = Torch::new(vars, script, Adam::new())?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// Its parameters and buffers are in the store under the names of Python's `state_dict()`. So Python loads a
/// checkpoint's `module.safetensors` by `model.load_state_dict(safetensors.torch.load_file(path))`, and this
/// module loads a file that Python saved. Parameters frozen in Python (`requires_grad_(False)`) stay frozen.
/// As in Python, a checkpoint omits other attributes: numbers, lists and plain tensors. A buffer registered
/// with `persistent=False` is included, because TorchScript does not keep the difference.
///
/// A layer such as dropout gets its mode with each call: pass
/// [`Step::is_train`](regimen_core::Step::is_train). A module that was traced instead of scripted stays in
/// the mode of the trace.
///
/// Its graphs run as written, as the model does in Python without scripting. libtorch would otherwise rewrite
/// a graph after its first run, to fuse operations. Results in the middle of a run would then have other bits
/// than after a resume.
#[derive(Debug)]
pub struct ScriptModule {
    module: Module,
    device: Device,
    methods: Vec<String>,
}

impl ScriptModule {
    /// The module in the file at `path`, on the device of `root`, with its parameters and buffers in the
    /// store below `root`.
    ///
    /// Errors are a file that is missing or not TorchScript's, a module without parameters (after
    /// `torch.jit.freeze`, say), code that assigns to a parameter, and a name that the store has already.
    /// After an error the store is as it was. A parameter under two names is an error of
    /// [`Torch::new`](crate::Torch::new).
    pub fn load(path: impl AsRef<Path>, root: &nn::Path<'_>) -> Result<Self, BoxError> {
        let path = path.as_ref();
        let failed = |cause: BoxError| format!("cannot load `{}`: {cause}", path.display());
        // libtorch's text about a missing file is long.
        File::open(path).map_err(|cause| failed(cause.into()))?;
        let device = root.device();
        let loaded = || {
            let module = Module::load(utf8(path)?, device).map_err(|cause| {
                let cause = cause.to_string();
                let (first, _) = cause.split_once(". ").unwrap_or((&cause, ""));
                format!("{first}; a file of torch.jit.script(model).save(path) is wanted")
            })?;
            add(module.variables()?, root)?;
            let methods = module.methods()?;
            Ok(ScriptModule { module, device, methods })
        };
        Ok(loaded().map_err(failed)?)
    }

    /// The result of the script's `forward` for `inputs`, which must be one tensor. Arguments of `forward`
    /// with a default may be left out.
    ///
    /// An exception of the script and an error inside libtorch are one line with the place in the code.
    pub fn forward(&self, inputs: &[&Tensor], train: bool) -> Result<Tensor, BoxError> {
        one(self.call("forward", inputs, train)?)
    }

    /// The result of the method called `method`: one tensor, or those of a tuple or list in their order. In
    /// Python, methods other than `forward` are marked with `@torch.jit.export`.
    pub fn call(&self, method: &str, inputs: &[&Tensor], train: bool) -> Result<Vec<Tensor>, BoxError> {
        if !self.methods.iter().any(|known| known == method) {
            return Err(
                format!("the script has no `{method}`; there are: {}", self.methods.join(", ")).into()
            );
        }
        self.module.call(method, inputs, train).map_err(|cause| format!("`{method}`: {cause}").into())
    }

    /// Writes the module with its weights to `path`, for `torch.jit.load` or [`load`](ScriptModule::load). An
    /// existing file is replaced by an atomic write.
    ///
    /// It is saved in evaluation mode: call `train()` to train a loaded one further. Weights on a GPU need
    /// `map_location` on a machine without one.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), BoxError> {
        let path = path.as_ref();
        let mut partial = OsString::from(path);
        partial.push(".partial");
        let partial = Path::new(&partial);
        let written = || {
            self.module.save(utf8(partial)?)?;
            File::open(partial)?.sync_all()?;
            Ok(fs::rename(partial, path)?)
        };
        written().map_err(|cause: BoxError| {
            // If even this fails, the error is that of the cause.
            let _ = fs::remove_file(partial);
            format!("cannot write `{}`: {cause}", path.display()).into()
        })
    }

    /// A copy for prediction alone, as `torch.jit.freeze` and `torch.jit.optimize_for_inference` make it. The
    /// present weights are constants in its code, and batch norm is folded into them.
    ///
    /// The module itself stays as it is, and later training or loading does not reach the copy. Results
    /// differ from those of [`forward`](ScriptModule::forward) in their last bits.
    pub fn freeze(&self) -> Result<FrozenScript, BoxError> {
        let frozen = self.module.freeze(self.device).map_err(|cause| format!("cannot freeze: {cause}"))?;
        Ok(FrozenScript { module: frozen })
    }
}

/// A [`ScriptModule`] whose weights are constants: see [`ScriptModule::freeze`].
#[derive(Debug)]
pub struct FrozenScript {
    module: Module,
}

impl FrozenScript {
    /// The result of `forward` for `inputs` in evaluation mode, without recording gradients. Errors are those
    /// of [`ScriptModule::forward`].
    pub fn forward(&self, inputs: &[&Tensor]) -> Result<Tensor, BoxError> {
        let outputs = tch::no_grad(|| self.module.call("forward", inputs, false));
        one(outputs.map_err(|cause| format!("`forward`: {cause}"))?)
    }
}

/// Puts all of `variables` below `root`, or fails and adds no variable.
fn add(variables: Vec<Variable>, root: &nn::Path<'_>) -> Result<(), BoxError> {
    if !variables.iter().any(|variable| variable.is_parameter) {
        return Err(
            "it has no parameters: of a frozen module, take the file from before `torch.jit.freeze`".into()
        );
    }
    let placed: Vec<(nn::Path<'_>, &str, &Variable)> = variables
        .iter()
        .map(|variable| {
            let mut parts: Vec<&str> = variable.name.split('.').collect();
            let last = parts.pop().unwrap_or_default();
            (parts.into_iter().fold(root.clone(), |path, part| path.sub(part)), last, variable)
        })
        .collect();
    if let Some((path, last, _)) = placed.iter().find(|(path, last, _)| path.get(last).is_some()) {
        return Err(format!("the store has a `{}` already", path.path(last)).into());
    }
    for (path, last, Variable { tensor, is_parameter, .. }) in placed {
        let _ = path.add(last, tensor.shallow_clone(), *is_parameter && tensor.requires_grad());
    }
    Ok(())
}

/// The only one of `outputs`.
fn one(outputs: Vec<Tensor>) -> Result<Tensor, BoxError> {
    match <[Tensor; 1]>::try_from(outputs) {
        Ok([output]) => Ok(output),
        Err(outputs) => {
            Err(format!("`forward` returns {} tensors: take them with `call`", outputs.len()).into())
        }
    }
}

fn utf8(path: &Path) -> Result<&str, BoxError> {
    Ok(path.to_str().ok_or("libtorch takes only a path in UTF-8")?)
}
