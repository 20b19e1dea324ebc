//! Tensors of a module by the parameters that hold them.

use std::any::Any;
use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId, Parameter};
use burn::tensor::{Bool, Int, Tensor};

/// Tensors of any kind and rank by the id of their parameter, without autodiff.
#[derive(Default)]
pub(crate) struct Values(BTreeMap<ParamId, Box<dyn Any + Send>>);

impl Values {
    /// The wanted tensors of `module`.
    pub(crate) fn of<M: Module>(module: &M, wanted: impl Fn(ParamId) -> bool) -> Self {
        let mut collect = Collect { values: Values::default(), wanted };
        // The newest update of running statistics is pending; the evaluation view takes it in.
        module.valid().visit(&mut collect);
        collect.values
    }

    pub(crate) fn get<T: Clone + 'static>(&self, id: ParamId) -> Option<T> {
        self.0.get(&id)?.downcast_ref().cloned()
    }

    /// Puts the wanted tensors into `module`.
    pub(crate) fn put_into<M: Module>(&self, module: &mut M, wanted: impl Fn(ParamId) -> bool) {
        // The next forward pass would put a pending update over them.
        drop(module.valid());
        *module = module.clone().map(&mut Put { values: self, wanted });
    }
}

struct Collect<F> {
    values: Values,
    wanted: F,
}

impl<F: Fn(ParamId) -> bool> Collect<F> {
    fn add<T: Parameter + Send + 'static>(&mut self, param: &Param<T>) {
        if (self.wanted)(param.id) {
            self.values.0.insert(param.id, Box::new(param.val()));
        }
    }
}

impl<F: Fn(ParamId) -> bool> ModuleVisitor for Collect<F> {
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

struct Put<'a, F> {
    values: &'a Values,
    wanted: F,
}

impl<F: Fn(ParamId) -> bool> Put<'_, F> {
    fn get<T: Clone + 'static>(&self, id: ParamId) -> Option<T> {
        self.values.get(id).filter(|_| (self.wanted)(id))
    }
}

impl<F: Fn(ParamId) -> bool> ModuleMapper for Put<'_, F> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(value) = self.get::<Tensor<D>>(param.id) else { return param };
        let (id, here, mapper) = param.consume();
        let value = Tensor::from_inner(value).set_require_grad(here.is_require_grad());
        Param::from_mapped_value(id, value, mapper)
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        match self.get::<Tensor<D, Int>>(param.id) {
            Some(value) => param.map(|_| Tensor::from_inner(value)),
            None => param,
        }
    }

    fn map_bool<const D: usize>(&mut self, param: Param<Tensor<D, Bool>>) -> Param<Tensor<D, Bool>> {
        match self.get::<Tensor<D, Bool>>(param.id) {
            Some(value) => param.map(|_| Tensor::from_inner(value)),
            None => param,
        }
    }
}
