//! Copies of a module's parameters and buffers.

use regimen_core::BoxError;
use regimen_core::saved::{Dtype, StateDict, Stateful};

use super::ToyArray;
use super::vars::{ToyVars, numbers, stored};

/// A copy of the arrays in a [`ToyVars`].
#[derive(Clone, Debug)]
pub struct ToyWeights {
    /// In the order of [`ToyVars::all`].
    arrays: Vec<Copied>,
}

#[derive(Clone, Debug)]
struct Copied {
    name: String,
    shape: Vec<usize>,
    values: Vec<f64>,
    dtype: Dtype,
    is_buffer: bool,
}

impl ToyWeights {
    pub(super) fn of(vars: &ToyVars) -> Self {
        let copied = |(name, array, is_buffer): (&String, &ToyArray, bool)| {
            let (shape, values) = (array.shape().to_vec(), array.values());
            Copied { name: name.clone(), shape, values, dtype: vars.dtype(name), is_buffer }
        };
        ToyWeights { arrays: vars.all().map(copied).collect() }
    }

    /// Moves them towards those of `vars`.
    pub(super) fn blend(&mut self, vars: &ToyVars, share: f64, buffer_share: f64) {
        for (copied, (_, array, _)) in self.arrays.iter_mut().zip(vars.all()) {
            let share = match (copied.dtype, copied.is_buffer) {
                (Dtype::I64, _) => 1.0,
                (_, true) => buffer_share,
                (_, false) => share,
            };
            for (average, value) in copied.values.iter_mut().zip(array.values()) {
                *average = if share == 1.0 { value } else { *average + share * (value - *average) };
            }
        }
    }

    /// Exchanges them with those of `vars`.
    pub(super) fn swap(&mut self, vars: &ToyVars) {
        for (copied, (_, array, _)) in self.arrays.iter_mut().zip(vars.all()) {
            array.update(|values| values.swap_with_slice(&mut copied.values));
        }
    }
}

impl Stateful for ToyWeights {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        for Copied { name, shape, values, dtype, .. } in &self.arrays {
            dict.insert(name, stored(*dtype, shape, values)?)?;
        }
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.state_dict()?.check_same_layout(dict)?;
        for copied in &mut self.arrays {
            copied.values = numbers(dict.array(&copied.name)?)?;
        }
        Ok(())
    }
}
