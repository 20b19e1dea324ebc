//! A module's parameters and buffers by path, which is the same in every process.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId, Parameter};
use burn::tensor::{Bool, DType, Int, Tensor};
use regimen_core::BoxError;
use regimen_core::saved::Dtype;

use crate::array::dtype;

/// The trained parameters of `module` whose path `accepts` accepts, as a group for
/// [`Burn::group`](crate::Burn::group) and for Burn's optimizers.
///
/// A group without a parameter is an error that lists the parameters.
///
/// ```
/// use regimen_burn::burn::nn::LinearConfig;
/// use regimen_burn::burn::optim::AdamWConfig;
/// use regimen_burn::{Burn, device, initialize, named};
/// use regimen_core::engine::any_of;
///
/// let device = device("cpu")?;
/// let module = initialize(7, &device, |device| LinearConfig::new(4, 2).init(device))?;
/// // No weight decay for biases.
/// let biases = named(&module, any_of(["bias", "*.bias"]))?;
/// let adam = AdamWConfig::new().with_weight_decay(0.01).init();
/// let adam = adam.with_group(biases.clone(), AdamWConfig::new().with_weight_decay(0.0).build(), None);
/// let engine = Burn::new(module, adam, &device)?.group("biases", biases)?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub fn named<M: Module>(module: &M, accepts: impl Fn(&str) -> bool) -> Result<ParamGroup, BoxError> {
    // Only autodiff shows which parameters are trained.
    let parameters = Parameters::of(&module.clone().train())?;
    let members = parameters.trained().filter(|(path, _)| accepts(path)).map(|(_, entry)| entry.id);
    let members: Vec<ParamId> = members.collect();
    if members.is_empty() {
        let known: Vec<&str> = parameters.trained().map(|(path, _)| path).collect();
        return Err(format!("no trained parameter is named so; there are: {}", known.join(", ")).into());
    }
    Ok(ParamGroup::from_ids(members))
}

/// The parameters and buffers of a module, in the order of the paths (`blocks.0.linear.weight`).
#[derive(Debug)]
pub(crate) struct Parameters {
    by_path: BTreeMap<String, Entry>,
    paths: BTreeMap<ParamId, String>,
}

/// One parameter or buffer.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: ParamId,
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: Dtype,
    /// Whether backward gives it a gradient.
    pub(crate) trained: bool,
}

impl Entry {
    pub(crate) fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Parameters {
    /// Lists the parameters and buffers of `module`, and draws those not drawn yet.
    ///
    /// A parameter at two paths is an error: Burn's optimizer would update the first and not the second.
    pub(crate) fn of<M: Module>(module: &M) -> Result<Self, BoxError> {
        let mut list = List::default();
        module.visit(&mut list);
        let mut parameters = Parameters { by_path: BTreeMap::new(), paths: BTreeMap::new() };
        for (path, id, shape, burn_dtype, trained) in list.found {
            let dtype = dtype(burn_dtype).map_err(|cause| format!("`{path}`: {cause}"))?;
            if let Some(first) = parameters.paths.insert(id, path.clone()) {
                return Err(format!(
                    "`{first}` and `{path}` are one parameter, of which Burn's optimizer would update only \
                     the first; keep it in one place and use it twice in `forward`"
                )
                .into());
            }
            parameters.by_path.insert(path, Entry { id, shape, dtype, trained });
        }
        Ok(parameters)
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Entry> {
        self.by_path.get(path)
    }

    /// Whether there are buffers: running statistics, say.
    pub(crate) fn has_buffers(&self) -> bool {
        self.by_path.values().any(|entry| !entry.trained)
    }

    pub(crate) fn path(&self, id: ParamId) -> Option<&str> {
        self.paths.get(&id).map(String::as_str)
    }

    /// Whether the parameter of that id is trained.
    pub(crate) fn is_trained(&self, id: ParamId) -> bool {
        self.path(id).and_then(|path| self.get(path)).is_some_and(|entry| entry.trained)
    }

    /// All of them, in the order of the paths.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.by_path.iter().map(|(path, entry)| (&**path, entry))
    }

    /// The trained parameters, in the order of the paths.
    pub(crate) fn trained(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.iter().filter(|(_, entry)| entry.trained)
    }
}

#[derive(Default)]
struct List {
    path: Vec<String>,
    found: Vec<(String, ParamId, Vec<usize>, DType, bool)>,
}

impl List {
    fn add<T: Parameter>(&mut self, param: &Param<T>, dtype: DType) {
        let shape = param.base().shape().to_vec();
        self.found.push((self.path.join("."), param.id, shape, dtype, param.base().is_require_grad()));
    }
}

impl ModuleVisitor for List {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.add(param, param.base().dtype());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.add(param, param.base().dtype());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.add(param, param.base().dtype());
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}
