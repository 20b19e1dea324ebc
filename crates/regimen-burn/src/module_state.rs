//! A module's parameters and buffers as a state, by path.

use std::collections::BTreeMap;
use std::fmt;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId, Parameter};
use burn::tensor::kind::Basic;
use burn::tensor::{Bool, ExecutionError, Int, Tensor, TensorData};
use regimen_core::BoxError;
use regimen_core::saved::{StateDict, Stateful};

use crate::array::{array, data};
use crate::parameters::Parameters;

/// Parameters and buffers of a module as a part of a unit's state.
///
/// Names are paths (`blocks.0.linear.weight`), shapes are those in memory. Running statistics are saved with
/// their newest update. After loading, a parameter keeps its id, its device and whether it is frozen.
///
/// ```
/// use regimen::saved::AppState;
/// use regimen_burn::ModuleState;
/// use regimen_burn::burn::nn::Linear;
///
/// #[derive(AppState)]
/// struct Unit {
///     #[app_state(with = ModuleState)]
///     generator: Linear,
/// }
/// ```
pub struct ModuleState<'a, M>(pub &'a mut M);

impl<M> fmt::Debug for ModuleState<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ModuleState").finish_non_exhaustive()
    }
}

impl<M: Module> Stateful for ModuleState<'_, M> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        state_dict(self.0)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        load(self.0, dict)
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        check(self.0, dict)
    }

    fn is_weights(&self) -> bool {
        true
    }
}

pub(crate) fn state_dict<M: Module>(module: &M) -> Result<StateDict, BoxError> {
    let parameters = Parameters::of(&module.valid())?;
    let mut dict = StateDict::new();
    for (id, data) in read(module, |_| true)? {
        let path = parameters.path(id).unwrap_or_default();
        dict.insert(path, array(data).map_err(|cause| format!("`{path}`: {cause}"))?)?;
    }
    Ok(dict)
}

/// Copies of the wanted arrays. The newest update of running statistics is pending; it is taken in first.
pub(crate) fn read<M: Module>(
    module: &M,
    wanted: impl Fn(ParamId) -> bool,
) -> Result<BTreeMap<ParamId, TensorData>, BoxError> {
    let mut save = Save { wanted, found: Vec::new() };
    // The evaluation view takes it in.
    module.valid().visit(&mut save);
    save.found.into_iter().map(|(id, data)| Ok((id, data?))).collect()
}

/// Puts `arrays` into `module`, in which no update of running statistics is pending.
pub(crate) fn write<M: Module>(module: &mut M, arrays: BTreeMap<ParamId, TensorData>) {
    *module = module.clone().map(&mut Load(arrays));
}

pub(crate) fn check<M: Module>(module: &M, dict: &StateDict) -> Result<(), BoxError> {
    state_dict(module)?.check_same_layout(dict)
}

pub(crate) fn load<M: Module>(module: &mut M, dict: &StateDict) -> Result<(), BoxError> {
    // This also takes in pending updates of running statistics. The next forward pass would put them over the
    // loaded ones.
    check(module, dict)?;
    let parameters = Parameters::of(module)?;
    let mut arrays = BTreeMap::new();
    for (path, entry) in parameters.iter() {
        arrays.insert(entry.id, data(dict.array(path)?)?);
    }
    write(module, arrays);
    Ok(())
}

/// Draws the parameters not drawn yet, and puts every array in memory as [`load`] does. So a run from the
/// beginning and one from a state saved there compute the same bits.
pub(crate) fn settle<M: Module>(module: &mut M) -> Result<(), BoxError> {
    let state = state_dict(module)?;
    load(module, &state)
}

struct Save<F> {
    wanted: F,
    found: Vec<(ParamId, Result<TensorData, ExecutionError>)>,
}

struct Load(BTreeMap<ParamId, TensorData>);

// Both avoid the mappers of a layer for Burn's own files, which transpose a weight that is kept transposed. A
// loaded weight would then differ in memory layout from a trained one, and the last bits of results with it.

impl<F: Fn(ParamId) -> bool> Save<F> {
    fn add<const D: usize, K: Basic>(&mut self, param: &Param<Tensor<D, K>>)
    where
        Tensor<D, K>: Parameter,
    {
        if (self.wanted)(param.id) {
            self.found.push((param.id, param.base().try_into_data()));
        }
    }
}

impl Load {
    fn put<const D: usize, K: Basic>(&mut self, param: Param<Tensor<D, K>>) -> Param<Tensor<D, K>>
    where
        Tensor<D, K>: Parameter,
    {
        let Some(data) = self.0.remove(&param.id) else { return param };
        let (id, old, mapper) = param.consume();
        let new = Tensor::<D, K>::from_data(data, (&Tensor::device(&old), old.dtype()));
        Param::from_mapped_value(id, Parameter::set_require_grad(new, old.is_require_grad()), mapper)
    }
}

impl<F: Fn(ParamId) -> bool> ModuleVisitor for Save<F> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.add(param);
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.add(param);
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.add(param);
    }
}

impl ModuleMapper for Load {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.put(param)
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        self.put(param)
    }

    fn map_bool<const D: usize>(&mut self, param: Param<Tensor<D, Bool>>) -> Param<Tensor<D, Bool>> {
        self.put(param)
    }
}
