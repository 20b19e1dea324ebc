//! Freezing of parameters.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::Tensor;

/// `module` with parameters frozen (`true`) or thawed (`false`) by id. A frozen one gets no gradient.
pub(crate) fn frozen<M: Module>(module: &M, frozen: &BTreeMap<ParamId, bool>) -> M {
    module.clone().map(&mut Freeze(frozen))
}

struct Freeze<'a>(&'a BTreeMap<ParamId, bool>);

impl ModuleMapper for Freeze<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.0.get(&param.id) {
            Some(frozen) => param.set_require_grad(!frozen),
            None => param,
        }
    }
}
