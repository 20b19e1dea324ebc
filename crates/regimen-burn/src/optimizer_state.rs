//! An optimizer's state, by the paths of its parameters.

use std::fmt;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::{GradientsParams, ModuleOptimizer, OptimizerRecord};
use burn::tensor::{Tensor, TensorData};
use burn_pack::{Reader, Scalar, Writer};
use regimen_core::BoxError;
use regimen_core::saved::{Array, Dtype, StateDict, Stateful};

use crate::array::{array, data};
use crate::parameters::{Entry, Parameters};

/// The state of an optimizer, with its module, as a part of a unit's state.
///
/// Names are the parameter's path and the optimizer's own name of the state
/// (`linear.weight.moment_1.moment`). Build the optimizer's groups before loading.
///
/// Burn puts a loaded state on its default device and moves it with the next step. The default is the first
/// that was compiled in of cuda, metal, rocm, vulkan, webgpu, wgpu, cpu, flex.
pub struct OptimizerState<'a, M>(pub &'a mut ModuleOptimizer, pub &'a M);

impl<M> fmt::Debug for OptimizerState<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OptimizerState").finish_non_exhaustive()
    }
}

impl<M: Module> Stateful for OptimizerState<'_, M> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        state_dict(self.0, &Parameters::of(self.1)?)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        *self.0 = loaded(self.0, self.1, &Parameters::of(self.1)?, dict)?;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        loaded(self.0, self.1, &Parameters::of(self.1)?, dict).map(drop)
    }
}

/// Burn's name for the number of dimensions of a state's parameter.
const RANK: &str = "__rank";

pub(crate) fn state_dict(
    optimizer: &ModuleOptimizer,
    parameters: &Parameters,
) -> Result<StateDict, BoxError> {
    // A record exposes its content only as a file, whose names begin with the random id.
    let by_path = |name: &str| {
        let (id, field) = name.split_once('.').unwrap_or((name, ""));
        match id.parse().ok().and_then(|id: u64| parameters.path(id.into())) {
            Some(path) => Ok(format!("{path}.{field}")),
            None => Err("the optimizer holds state for a parameter of another module"),
        }
    };
    let file = Reader::from_bytes(optimizer.to_record().into_bytes()?)?;
    let mut dict = StateDict::new();
    for (name, scalar) in file.scalars() {
        dict.insert(by_path(name)?, from_scalar(*scalar)?)?;
    }
    for tensor in file.into_tensors()? {
        let (name, dtype, shape, _, bytes) = tensor.into_parts()?;
        dict.insert(by_path(&name)?, array(TensorData::try_from_bytes(bytes, shape, dtype)?)?)?;
    }
    Ok(dict)
}

/// A copy of `optimizer` with the state `dict`.
///
/// Burn accepts any record. It ignores unknown names, restarts a parameter whose state is incomplete, and
/// finds wrong shapes only in the next step. So names, types and shapes are checked here against the state
/// that the optimizer makes in a trial, and all of `dict` must be present after loading.
pub(crate) fn loaded<M: Module>(
    optimizer: &ModuleOptimizer,
    module: &M,
    parameters: &Parameters,
    dict: &StateDict,
) -> Result<ModuleOptimizer, BoxError> {
    let fresh = optimizer.clone().load_record(OptimizerRecord::default());
    if dict.is_empty() {
        return Ok(fresh);
    }
    check(dict, &state_dict(&trial(fresh.clone(), module, parameters), parameters)?)?;
    let loaded = fresh.load_record(record(dict, parameters)?);
    state_dict(&loaded, parameters)?
        .check_same_layout(dict)
        .map_err(|cause| format!("the optimizer takes this state only in part: {cause}"))?;
    Ok(loaded)
}

/// Checks that each array of `dict` is in `known`, with the same type and shape. `dict` may lack some: a
/// parameter that never had a gradient has no state.
fn check(dict: &StateDict, known: &StateDict) -> Result<(), BoxError> {
    let mut wrong = Vec::new();
    for (name, array) in dict.iter() {
        match known.array(name) {
            Err(_) => wrong.push(format!("`{name}` is not known to this optimizer")),
            Ok(like) if (like.dtype(), like.shape()) != (array.dtype(), array.shape()) => {
                wrong.push(format!("`{name}` is {array:?}, not {like:?}"));
            }
            Ok(like) if name.ends_with(RANK) && like != array => {
                wrong.push(format!("`{name}` is not that of its parameter"));
            }
            Ok(_) => {}
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ").into()) }
}

/// `optimizer` after a step with gradients of zero, which creates all its state.
fn trial<M: Module>(mut optimizer: ModuleOptimizer, module: &M, parameters: &Parameters) -> ModuleOptimizer {
    let mut zeros = Zeros { parameters, gradients: GradientsParams::new() };
    module.visit(&mut zeros);
    optimizer.step(0.0, module.clone(), zeros.gradients);
    optimizer
}

struct Zeros<'a> {
    parameters: &'a Parameters,
    gradients: GradientsParams,
}

impl ModuleVisitor for Zeros<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.parameters.is_trained(param.id) {
            self.gradients.register(param.id, param.base().without_autodiff().zeros_like());
        }
    }
}

/// `dict` as the record that Burn would make of it.
fn record(dict: &StateDict, parameters: &Parameters) -> Result<OptimizerRecord, BoxError> {
    let (mut tensors, mut scalars) = (Vec::new(), Vec::new());
    for (name, array) in dict.iter() {
        let Some((id, field)) = owner(name, parameters) else {
            return Err(format!("`{name}` belongs to no parameter of this module").into());
        };
        let name = format!("{}.{field}", id.val());
        if array.shape().is_empty() {
            scalars.push((name, to_scalar(array)?));
        } else {
            let (bytes, shape, dtype) = data(array)?.into_parts();
            tensors.push(burn_pack::Tensor::new(name, dtype, shape, Some(id.val()), bytes));
        }
    }
    let mut file = Writer::new(tensors);
    for (name, scalar) in scalars {
        file = file.with_scalar(&name, scalar);
    }
    for (path, Entry { id, .. }) in parameters.iter() {
        // Burn finds the group of a state, and so its optimizer, by the path.
        file = file.with_metadata(&id.val().to_string(), path);
    }
    Ok(OptimizerRecord::from_bytes(file.into_bytes()?)?)
}

/// The parameter with the longest path that is a prefix of `name`, and the rest of the name.
fn owner<'a>(name: &'a str, parameters: &Parameters) -> Option<(ParamId, &'a str)> {
    name.rmatch_indices('.').find_map(|(dot, _)| Some((parameters.get(&name[..dot])?.id, &name[dot + 1..])))
}

fn from_scalar(scalar: Scalar) -> Result<Array, BoxError> {
    Ok(match scalar {
        Scalar::Int(number) => number.into(),
        Scalar::UInt(number) => number.into(),
        Scalar::Float(number) => number.into(),
        Scalar::Bool(truth) => Array::new(Dtype::Bool, vec![], vec![truth.into()])?,
    })
}

fn to_scalar(array: &Array) -> Result<Scalar, BoxError> {
    match array.dtype() {
        Dtype::I64 => Ok(Scalar::Int(array.try_into()?)),
        Dtype::U64 => Ok(Scalar::UInt(array.try_into()?)),
        Dtype::F64 => Ok(Scalar::Float(array.try_into()?)),
        Dtype::Bool => Ok(Scalar::Bool(array.bytes() != [0])),
        other => Err(format!("an optimizer has no single numbers of {other:?}").into()),
    }
}
