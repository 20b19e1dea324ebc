//! A half-precision copy of a module with single-precision parameters.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{FloatDType, Tensor};
use regimen_core::BoxError;
use regimen_core::engine::Precision;

/// The type of floats under `precision`; `None` if they keep theirs.
///
/// A part that cannot compute in half precision is an error that names it.
pub(crate) fn half<M: Module>(module: &M, precision: Precision) -> Result<Option<FloatDType>, BoxError> {
    let half = match precision {
        Precision::F32 => return Ok(None),
        Precision::TF32 => return Err("Burn has no switch for tf32; choose fp32, bf16 or fp16".into()),
        Precision::BF16 => FloatDType::BF16,
        Precision::F16 => FloatDType::F16,
    };
    let mut norms = Norms { path: Vec::new(), found: None };
    module.visit(&mut norms);
    match norms.found {
        None => Ok(Some(half)),
        Some(path) => Err(format!(
            "{precision}: `{path}` is a batch norm, whose running statistics Burn shares between a module and \
             its copy in half precision; use a layer or group norm, or fp32"
        )
        .into()),
    }
}

/// `module` with its floats cast to `dtype`. Gradients of the copy are those of the module.
pub(crate) fn cast<M: Module>(module: &M, dtype: FloatDType) -> M {
    module.clone().map(&mut Cast(dtype))
}

struct Cast(FloatDType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(self.0))
    }
}

/// Looks for batch norms, by their name in every module.
struct Norms {
    path: Vec<String>,
    found: Option<String>,
}

impl ModuleVisitor for Norms {
    fn enter_module(&mut self, name: &str, container: &str) {
        if container.ends_with("BatchNorm") && self.found.is_none() {
            self.found = Some(self.path.join("."));
        }
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}
