//! The optimizers: SGD with momentum, and AdamW.

use std::collections::BTreeMap;

use regimen_core::BoxError;
use regimen_core::saved::{Dtype, StateDict};

use super::ToyArray;
use super::vars::stored;

/// An update rule for parameters. It has state per parameter, created at the first step with a gradient.
#[derive(Clone, Debug)]
pub struct ToyOptimizer {
    rule: Rule,
    slots: BTreeMap<String, Slot>,
}

#[derive(Clone, Copy, Debug)]
enum Rule {
    Sgd { momentum: f64 },
    AdamW { decay: f64 },
}

/// The optimizer state of one parameter.
#[derive(Clone, Debug)]
struct Slot {
    step: u64,
    /// One for each of [`Rule::moments`].
    moments: Vec<Vec<f64>>,
}

impl Rule {
    fn moments(self) -> &'static [&'static str] {
        match self {
            Rule::Sgd { .. } => &["momentum"],
            Rule::AdamW { .. } => &["first_moment", "second_moment"],
        }
    }
}

impl ToyOptimizer {
    /// Stochastic gradient descent: `m = momentum * m + g; p -= rate * m`.
    pub fn sgd(momentum: f64) -> Self {
        ToyOptimizer { rule: Rule::Sgd { momentum }, slots: BTreeMap::new() }
    }

    /// Adam with decoupled weight decay, with the betas 0.9 and 0.999 and the epsilon 1e-8.
    pub fn adam_w(decay: f64) -> Self {
        ToyOptimizer { rule: Rule::AdamW { decay }, slots: BTreeMap::new() }
    }

    /// Changes the momentum of SGD. Adam has none.
    pub(super) fn set_momentum(&mut self, momentum: f64) -> Result<(), BoxError> {
        match self.rule {
            Rule::Sgd { .. } => self.rule = Rule::Sgd { momentum },
            Rule::AdamW { .. } => {
                return Err("the toy AdamW has no momentum that can be changed; use SGD".into());
            }
        }
        Ok(())
    }

    /// Moves `parameter` along its gradient; does nothing without one.
    pub(super) fn step(&mut self, name: &str, parameter: &ToyArray, rate: f64) {
        let Some(gradient) = parameter.gradient() else { return };
        let fresh = || Slot { step: 0, moments: vec![vec![0.0; gradient.len()]; self.rule.moments().len()] };
        let slot = self.slots.entry(name.to_owned()).or_insert_with(fresh);
        slot.step += 1;
        parameter.update(|values| match self.rule {
            Rule::Sgd { momentum } => {
                for ((value, gradient), moment) in values.iter_mut().zip(gradient).zip(&mut slot.moments[0]) {
                    *moment = momentum * *moment + gradient;
                    *value -= rate * *moment;
                }
            }
            Rule::AdamW { decay } => {
                let t = slot.step as f64;
                let (unbias_first, unbias_second) = (1.0 - 0.9_f64.powf(t), 1.0 - 0.999_f64.powf(t));
                for (i, (value, gradient)) in values.iter_mut().zip(gradient).enumerate() {
                    let [first, second] = [0, 1].map(|moment: usize| slot.moments[moment][i]);
                    let first = first + 0.1 * (gradient - first);
                    let second = second + 0.001 * (gradient * gradient - second);
                    (slot.moments[0][i], slot.moments[1][i]) = (first, second);
                    *value -= rate * decay * *value;
                    *value -= rate * (first / unbias_first) / ((second / unbias_second).sqrt() + 1e-8);
                }
            }
        });
    }

    /// `parameter.step` and `parameter.moment` for each parameter that was moved.
    pub(super) fn state(&self, parameters: &BTreeMap<String, ToyArray>) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        for (name, slot) in &self.slots {
            let Some(parameter) = parameters.get(name) else { continue };
            dict.insert(format!("{name}.step"), slot.step)?;
            for (moment, values) in self.rule.moments().iter().zip(&slot.moments) {
                dict.insert(format!("{name}.{moment}"), stored(Dtype::F64, parameter.shape(), values)?)?;
            }
        }
        Ok(dict)
    }

    /// The optimizer with its state replaced by `dict`. Parameters missing in `dict` were never moved.
    pub(super) fn with_state(
        &self,
        dict: &StateDict,
        parameters: &BTreeMap<String, ToyArray>,
    ) -> Result<Self, BoxError> {
        let mut loaded = ToyOptimizer { rule: self.rule, slots: BTreeMap::new() };
        for name in parameters.keys() {
            let saved = dict.under(name);
            if saved.is_empty() {
                continue;
            }
            let moment = |moment: &&str| saved.array(moment)?.to_vec();
            let moments = self.rule.moments().iter().map(moment).collect::<Result<Vec<_>, BoxError>>();
            let slot = saved.count("step").and_then(|step| Ok(Slot { step, moments: moments? }));
            loaded.slots.insert(name.clone(), slot.map_err(|cause| format!("parameter `{name}`: {cause}"))?);
        }
        // The loaded state has the layout of its parameters, so any difference in `dict` is an error.
        loaded.state(parameters)?.check_same_layout(dict)?;
        Ok(loaded)
    }
}
