//! Gradients held between backward and the optimizer's step.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor, TensorData};
use regimen_core::BoxError;
use regimen_core::engine::Bucket;
use regimen_core::saved::StateDict;

use crate::array::{array, data};
use crate::exchange::exchange_each;
use crate::parameters::{Entry, Parameters};

/// Gradients by parameter id.
///
/// Burn keeps them by id in a hash map. So everything here that depends on an order iterates over the module
/// or the paths.
#[derive(Debug, Default)]
pub(crate) struct Gradients(GradientsParams);

/// Number of elements summed at once. From 4 M elements on, Burn's CPU backend splits a sum among its
/// threads, and the result depends on the split.
const SUMMED_AT_ONCE: usize = 1 << 20;

impl Gradients {
    pub(crate) fn inner(&self) -> &GradientsParams {
        &self.0
    }

    pub(crate) fn into_inner(self) -> GradientsParams {
        self.0
    }

    /// Adds the gradients in `new`.
    pub(crate) fn add<M: Module>(&mut self, new: GradientsParams, module: &M) {
        if self.0.is_empty() {
            self.0 = new;
        } else {
            module.visit(&mut Add { held: &mut self.0, new });
        }
    }

    pub(crate) fn scale<M: Module>(&mut self, factor: f64, module: &M) {
        module.visit(&mut Change(&mut self.0, By::Factor(factor)));
    }

    pub(crate) fn clamp<M: Module>(&mut self, limit: f64, module: &M) {
        module.visit(&mut Change(&mut self.0, By::Limit(limit)));
    }

    /// Scales each unit to a norm of at most `factor` times that of its weights, which is at least `floor`.
    pub(crate) fn clip_units<M: Module>(&mut self, factor: f64, floor: f64, module: &M) {
        module.visit(&mut ClipUnits { held: &mut self.0, factor, floor, containers: Vec::new() });
    }

    /// Drops those of frozen parameters.
    pub(crate) fn drop_frozen<M: Module>(&mut self, module: &M) {
        module.visit(&mut Unfrozen(&mut self.0));
    }

    /// Drops those of the parameters for which `keep` returns `false`.
    pub(crate) fn retain<M: Module>(&mut self, module: &M, keep: impl Fn(ParamId) -> bool) {
        module.visit(&mut Retained(&mut self.0, keep));
    }

    /// The Euclidean norm over all of them. Squares are summed on the device per parameter, and the sums on
    /// the host in the order of the module.
    pub(crate) fn norm<M: Module>(&self, module: &M) -> Result<f64, BoxError> {
        let mut squares = Squares { held: &self.0, sums: Vec::new() };
        module.visit(&mut squares);
        if squares.sums.is_empty() {
            return Ok(0.0);
        }
        let sums = Tensor::cat(squares.sums, 0).try_into_data_as::<f64>()?;
        Ok(sums.as_slice::<f64>()?.iter().sum::<f64>().sqrt())
    }

    /// A copy by path.
    pub(crate) fn state_dict<M: Module>(
        &self,
        module: &M,
        parameters: &Parameters,
    ) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        for (id, data) in self.read(module)? {
            let path = parameters.path(id).unwrap_or_default();
            dict.insert(path, array(data).map_err(|cause| format!("gradient of `{path}`: {cause}"))?)?;
        }
        Ok(dict)
    }

    /// The gradients in `dict` by path, as [`check`] accepts it.
    pub(crate) fn from_state_dict<M: Module>(
        dict: &StateDict,
        module: &M,
        parameters: &Parameters,
    ) -> Result<Self, BoxError> {
        check(dict, parameters)?;
        let mut read = BTreeMap::new();
        for (path, entry) in parameters.trained() {
            if let Ok(array) = dict.array(path) {
                read.insert(entry.id, data(array)?);
            }
        }
        Ok(Gradients::write(read, module))
    }

    /// Passes on flags of those held, and then those that some rank holds in flat buffers of at most `bytes` bytes.
    /// Returns the values left there, except for frozen parameters, which have none.
    pub(crate) fn exchanged<M: Module>(
        &self,
        module: &M,
        parameters: &Parameters,
        bytes: usize,
        exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
    ) -> Result<Self, BoxError> {
        let mut read = self.read(module)?;
        let held = |entry: &Entry| if read.contains_key(&entry.id) { 1.0 } else { 0.0 };
        let mut flags: Vec<f32> = parameters.trained().map(|(_, entry)| held(entry)).collect();
        exchange(Bucket::F32(&mut flags))?;
        let flagged = || parameters.trained().zip(&flags).map(|((_, entry), &flag)| (entry, flag != 0.0));
        for (entry, _) in flagged().filter(|(_, is_held)| !is_held) {
            read.remove(&entry.id);
        }
        let held = flagged().filter(|(_, is_held)| *is_held).map(|(entry, _)| entry);
        exchange_each(held, bytes, &mut read, 0.0, exchange)?;
        let mut exchanged = Gradients::write(read, module);
        exchanged.drop_frozen(module);
        Ok(exchanged)
    }

    fn read<M: Module>(&self, module: &M) -> Result<BTreeMap<ParamId, TensorData>, BoxError> {
        let mut read = Read { held: &self.0, read: Ok(BTreeMap::new()) };
        module.visit(&mut read);
        read.read
    }

    fn write<M: Module>(read: BTreeMap<ParamId, TensorData>, module: &M) -> Self {
        let mut write = Write { read, written: GradientsParams::new() };
        module.visit(&mut write);
        Gradients(write.written)
    }
}

/// Checks that every array of `dict` is for a trained parameter, with its type and shape.
pub(crate) fn check(dict: &StateDict, parameters: &Parameters) -> Result<(), BoxError> {
    let mut wrong = Vec::new();
    for (path, array) in dict.iter() {
        match parameters.get(path) {
            None => wrong.push(format!("`{path}` is not known here")),
            Some(entry) if !entry.trained => wrong.push(format!("`{path}` is not trained")),
            Some(Entry { dtype, shape, .. }) if (*dtype, &**shape) != (array.dtype(), array.shape()) => {
                wrong.push(format!("`{path}` is {array:?}, not {dtype:?}{shape:?}"));
            }
            Some(_) => {}
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("gradients: {}", wrong.join("; ")).into()) }
}

struct Add<'a> {
    held: &'a mut GradientsParams,
    new: GradientsParams,
}

impl ModuleVisitor for Add<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(new) = self.new.remove::<D>(param.id) else { return };
        let sum = match self.held.remove::<D>(param.id) {
            Some(held) => held + new,
            None => new,
        };
        self.held.register(param.id, sum);
    }
}

/// Drops those of parameters that get no gradient.
struct Unfrozen<'a>(&'a mut GradientsParams);

impl ModuleVisitor for Unfrozen<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            self.0.remove::<D>(param.id);
        }
    }
}

/// Drops those of the parameters that are not wanted.
struct Retained<'a, F>(&'a mut GradientsParams, F);

impl<F: Fn(ParamId) -> bool> ModuleVisitor for Retained<'_, F> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !(self.1)(param.id) {
            self.0.remove::<D>(param.id);
        }
    }
}

struct Change<'a>(&'a mut GradientsParams, By);

enum By {
    Factor(f64),
    Limit(f64),
}

impl ModuleVisitor for Change<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.0.remove::<D>(param.id) else { return };
        let changed = match self.1 {
            By::Factor(factor) => gradient.mul_scalar(factor),
            By::Limit(limit) => gradient.clamp(-limit, limit),
        };
        self.0.register(param.id, changed);
    }
}

/// The kind of Burn's linear layer, whose weight has its outputs in the second dimension.
const LINEAR: &str = "Struct:Linear";

struct ClipUnits<'a> {
    held: &'a mut GradientsParams,
    factor: f64,
    floor: f64,
    /// Of each of the modules around the parameter, whether it is linear.
    containers: Vec<bool>,
}

impl ModuleVisitor for ClipUnits<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.held.remove::<D>(param.id) else { return };
        let dims = gradient.dims();
        let elements: usize = dims.iter().product();
        // As a matrix, and the dimension that a unit extends over.
        let (rows, over) = match D {
            0 | 1 => (1, 1),
            2 if self.containers.last() == Some(&true) => (dims[0], 0),
            _ => (dims[0], 1),
        };
        let matrix = [rows, elements / rows.max(1)];
        let norms = |tensor: Tensor<D>| {
            let tensor = tensor.reshape(matrix);
            let wide = if tensor.dtype().size() < 4 { tensor.cast(DType::F32) } else { tensor };
            wide.square().sum_dim(over).sqrt()
        };
        let weights = param.base().without_autodiff();
        let (limits, found) =
            (norms(weights).clamp_min(self.floor).mul_scalar(self.factor), norms(gradient.clone()));
        let stays = found.clone().is_finite().bool_not().bool_or(found.clone().lower_equal(limits.clone()));
        let scale = (limits / found).mask_fill(stays, 1.0).cast(gradient.dtype());
        self.held.register(param.id, (gradient.reshape(matrix) * scale).reshape(dims));
    }

    fn enter_module(&mut self, _name: &str, container: &str) {
        self.containers.push(container == LINEAR);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.containers.pop();
    }
}

struct Squares<'a> {
    held: &'a GradientsParams,
    sums: Vec<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.held.get::<D>(param.id) else { return };
        let elements = gradient.shape().num_elements();
        let flat = gradient.reshape([elements]);
        if elements <= SUMMED_AT_ONCE {
            self.add(flat);
        } else {
            flat.split(SUMMED_AT_ONCE, 0).into_iter().for_each(|piece| self.add(piece));
        }
    }
}

impl Squares<'_> {
    fn add(&mut self, piece: Tensor<1>) {
        // The square of a half-precision number above 256 would overflow.
        let piece = if piece.dtype().size() < 4 { piece.cast(DType::F32) } else { piece };
        self.sums.push(piece.square().sum());
    }
}

struct Read<'a> {
    held: &'a GradientsParams,
    read: Result<BTreeMap<ParamId, TensorData>, BoxError>,
}

impl ModuleVisitor for Read<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.held.get::<D>(param.id) else { return };
        let Ok(read) = &mut self.read else { return };
        match gradient.try_into_data() {
            Ok(data) => drop(read.insert(param.id, data)),
            Err(cause) => self.read = Err(cause.into()),
        }
    }
}

struct Write {
    read: BTreeMap<ParamId, TensorData>,
    written: GradientsParams,
}

impl ModuleVisitor for Write {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(data) = self.read.remove(&param.id) else { return };
        let options = (&param.lazy_device().without_autodiff(), param.base().dtype());
        self.written.register(param.id, Tensor::<D>::from_data(data, options));
    }
}
