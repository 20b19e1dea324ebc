//! Parameters and buffers by name, and the train flag.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use regimen_core::BoxError;
use regimen_core::saved::{Array, Dtype, StateDict};

use super::global::uniform;
use super::{ToyArray, ToyDevice};

/// The parameters and buffers of a module by their path, and its train flag: a variable store in the terms of
/// tch.
#[derive(Debug)]
pub struct ToyVars {
    device: ToyDevice,
    training: Arc<AtomicBool>,
    parameters: BTreeMap<String, ToyArray>,
    buffers: BTreeMap<String, ToyArray>,
    /// The names of the buffers that are integers.
    integers: BTreeSet<String>,
}

impl Default for ToyVars {
    fn default() -> Self {
        ToyVars::new()
    }
}

impl ToyVars {
    /// An empty one on the first device, in training.
    pub fn new() -> Self {
        ToyVars::on(ToyDevice::default())
    }

    /// An empty one on `device`, in training.
    pub fn on(device: ToyDevice) -> Self {
        let (parameters, buffers, integers) = Default::default();
        ToyVars { device, training: Arc::new(AtomicBool::new(true)), parameters, buffers, integers }
    }

    /// A new parameter, drawn from the uniform distribution on `-limit..limit`.
    ///
    /// # Panics
    ///
    /// If the name is taken.
    pub fn parameter(&mut self, name: impl Into<String>, shape: &[usize], limit: f64) -> ToyArray {
        let values = (0..shape.iter().product()).map(|_| (2.0 * uniform() - 1.0) * limit).collect();
        let array = ToyArray::leaf(shape, values, self.device, true);
        let taken = self.parameters.insert(name.into(), array.clone());
        assert!(taken.is_none(), "two parameters of one name");
        array
    }

    /// A new buffer of zeros: saved with the parameters, but without a gradient.
    ///
    /// # Panics
    ///
    /// If the name is taken.
    pub fn buffer(&mut self, name: impl Into<String>, shape: &[usize]) -> ToyArray {
        let array = ToyArray::leaf(shape, vec![0.0; shape.iter().product()], self.device, false);
        let taken = self.buffers.insert(name.into(), array.clone());
        assert!(taken.is_none(), "two buffers of one name");
        array
    }

    /// A new buffer of zeros, whose numbers are integers.
    ///
    /// # Panics
    ///
    /// If the name is taken.
    pub fn integer_buffer(&mut self, name: impl Into<String>, shape: &[usize]) -> ToyArray {
        let name = name.into();
        self.integers.insert(name.clone());
        self.buffer(name, shape)
    }

    /// The type of the array of that name.
    pub(super) fn dtype(&self, name: &str) -> Dtype {
        if self.integers.contains(name) { Dtype::I64 } else { Dtype::F64 }
    }

    /// The buffers by name.
    pub fn buffers(&self) -> &BTreeMap<String, ToyArray> {
        &self.buffers
    }

    /// The device of the arrays.
    pub fn device(&self) -> ToyDevice {
        self.device
    }

    /// The parameters by name.
    pub fn parameters(&self) -> &BTreeMap<String, ToyArray> {
        &self.parameters
    }

    /// Whether the module is in training.
    pub fn is_training(&self) -> bool {
        self.training.load(Ordering::Relaxed)
    }

    /// Sets the train flag of every layer; returns the previous one.
    pub fn set_training(&self, training: bool) -> bool {
        self.training.swap(training, Ordering::Relaxed)
    }

    /// The flag itself, for a layer to keep.
    pub fn train_flag(&self) -> Arc<AtomicBool> {
        self.training.clone()
    }

    /// All parameters by name, then all buffers, with a flag for buffers.
    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &ToyArray, bool)> {
        let parameters = self.parameters.iter().map(|(name, array)| (name, array, false));
        parameters.chain(self.buffers.iter().map(|(name, array)| (name, array, true)))
    }

    /// The values of all parameters and buffers.
    pub(super) fn state(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        for (name, array, _) in self.all() {
            dict.insert(name, stored(self.dtype(name), array.shape(), &array.values())?)?;
        }
        Ok(dict)
    }

    /// Overwrites all parameters and buffers with `dict`, which has the layout of
    /// [`state`](ToyVars::state).
    pub(super) fn load(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.state()?.check_same_layout(dict)?;
        for (name, array, _) in self.all() {
            let values = numbers(dict.array(name)?)?;
            array.update(|old| old.copy_from_slice(&values));
        }
        Ok(())
    }
}

/// An array in its saved form, as floats or integers.
pub(super) fn stored(dtype: Dtype, shape: &[usize], values: &[f64]) -> Result<Array, BoxError> {
    let flat = match dtype {
        Dtype::I64 => Array::from_slice(&values.iter().map(|&value| value as i64).collect::<Vec<_>>()),
        _ => Array::from_slice(values),
    };
    Array::new(dtype, shape.to_vec(), flat.into_bytes())
}

/// The numbers of an array in its saved form.
pub(super) fn numbers(array: &Array) -> Result<Vec<f64>, BoxError> {
    match array.dtype() {
        Dtype::I64 => Ok(array.to_vec::<i64>()?.into_iter().map(|value| value as f64).collect()),
        _ => array.to_vec(),
    }
}
