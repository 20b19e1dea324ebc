//! Copies of a module's parameters and buffers.

use std::mem;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Bool, Int, Tensor};
use regimen_core::BoxError;
use regimen_core::saved::{StateDict, Stateful};

use crate::module_state;
use crate::parameters::Parameters;
use crate::values::Values;

/// A copy of a module's parameters and buffers on their device: an average of them, say.
///
/// It is a module like the original, with the same ids, and shares no running statistics with it.
pub struct BurnWeights<M>(M);

impl<M> std::fmt::Debug for BurnWeights<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("BurnWeights").finish_non_exhaustive()
    }
}

impl<M: Module> BurnWeights<M> {
    pub(crate) fn of(module: &M) -> Self {
        BurnWeights(module.valid().train())
    }

    /// Moves them towards those of `module`: parameters by `share` of the way, buffers by
    /// `buffer_share`.
    pub(crate) fn blend(&mut self, module: &M, parameters: &Parameters, share: f64, buffer_share: f64) {
        let values = Values::of(module, |_| true);
        self.0 = self.0.clone().map(&mut Blend { values, parameters, share, buffer_share });
    }

    /// Exchanges them with `module`.
    pub(crate) fn swap(&mut self, module: &mut M) {
        mem::swap(&mut self.0, module);
    }
}

impl<M: Module> Stateful for BurnWeights<M> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        module_state::state_dict(&self.0)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        module_state::load(&mut self.0, dict)
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        module_state::check(&self.0, dict)
    }
}

struct Blend<'a> {
    values: Values,
    parameters: &'a Parameters,
    share: f64,
    buffer_share: f64,
}

impl ModuleMapper for Blend<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(value) = self.values.get::<Tensor<D>>(param.id) else { return param };
        let (id, average, mapper) = param.consume();
        // A parameter that is frozen for a while is still no buffer.
        let share = if self.parameters.is_trained(id) { self.share } else { self.buffer_share };
        let learns = average.is_require_grad();
        let average = average.inner();
        let moved = if share == 1.0 { value } else { average.clone() + (value - average) * share };
        let moved = Tensor::from_inner(moved).set_require_grad(learns);
        Param::from_mapped_value(id, moved, mapper)
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        match self.values.get::<Tensor<D, Int>>(param.id) {
            Some(value) => param.map(|_| Tensor::from_inner(value)),
            None => param,
        }
    }

    fn map_bool<const D: usize>(&mut self, param: Param<Tensor<D, Bool>>) -> Param<Tensor<D, Bool>> {
        match self.values.get::<Tensor<D, Bool>>(param.id) {
            Some(value) => param.map(|_| Tensor::from_inner(value)),
            None => param,
        }
    }
}
