//! Trained parameters that no backward pass has reached.

use std::collections::BTreeSet;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use crate::parameters::Parameters;

/// The parameters that have had no gradient yet. In a sound module the list is empty after the first backward
/// pass, and nothing is checked from then on.
#[derive(Debug)]
pub(crate) struct Unreached(BTreeSet<ParamId>);

impl Unreached {
    /// All trained parameters.
    pub(crate) fn all(parameters: &Parameters) -> Self {
        Unreached(parameters.trained().map(|(_, entry)| entry.id).collect())
    }

    /// Removes those with a gradient in `gradients`.
    pub(crate) fn reach<M: Module>(&mut self, gradients: &GradientsParams, module: &M) {
        if !self.0.is_empty() {
            module.visit(&mut Reach { gradients, unreached: &mut self.0 });
        }
    }

    /// The paths of those that are not frozen, in order.
    pub(crate) fn paths<M: Module>(&self, module: &M, parameters: &Parameters) -> Vec<String> {
        let mut trained = Trained { unreached: &self.0, ids: BTreeSet::new() };
        module.visit(&mut trained);
        let named = parameters.trained().filter(|(_, entry)| trained.ids.contains(&entry.id));
        named.map(|(path, _)| path.to_owned()).collect()
    }
}

struct Reach<'a> {
    gradients: &'a GradientsParams,
    unreached: &'a mut BTreeSet<ParamId>,
}

impl ModuleVisitor for Reach<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.unreached.contains(&param.id) && self.gradients.get::<D>(param.id).is_some() {
            self.unreached.remove(&param.id);
        }
    }
}

struct Trained<'a> {
    unreached: &'a BTreeSet<ParamId>,
    ids: BTreeSet<ParamId>,
}

impl ModuleVisitor for Trained<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.unreached.contains(&param.id) && param.is_require_grad() {
            self.ids.insert(param.id);
        }
    }
}
