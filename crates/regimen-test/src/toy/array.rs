//! The array: values, a gradient slot, and the operation it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use regimen_core::BoxError;
use regimen_core::engine::ToDevice;

use super::global::{is_recording, rounding};

/// An array of `f64` in row-major order. Clones are the same array.
///
/// Operations on arrays of different devices, or of shapes that do not fit, panic.
#[derive(Clone)]
pub struct ToyArray(Arc<Node>);

/// A device. There is only one memory: devices differ in their number, and arrays of two devices cannot meet
/// in one operation. This is enough to find a batch that was not moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToyDevice(pub u8);

struct Node {
    shape: Vec<usize>,
    device: ToyDevice,
    values: Mutex<Vec<f64>>,
    gradient: Mutex<Option<Vec<f64>>>,
    /// Gradients pass through it: it is a parameter that is not frozen, or depends on one.
    tracked: AtomicBool,
    origin: Option<Origin>,
}

/// The operation an array came from.
struct Origin {
    inputs: Vec<ToyArray>,
    backward: Backward,
}

/// From the gradient of the result to that of each input.
type Backward = Box<dyn Fn(&[f64]) -> Vec<Vec<f64>> + Send + Sync>;

impl ToyArray {
    /// An array of `values` on the first device.
    ///
    /// # Panics
    ///
    /// If the number of values does not fit `shape`.
    pub fn new(shape: &[usize], values: &[f64]) -> Self {
        ToyArray::leaf(shape, values.to_vec(), ToyDevice::default(), false)
    }

    /// A copy without its history of operations.
    pub(super) fn detached(&self) -> Self {
        ToyArray::leaf(self.shape(), self.values(), self.device(), false)
    }

    pub(super) fn leaf(shape: &[usize], values: Vec<f64>, device: ToyDevice, tracked: bool) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "values do not fill shape {shape:?}");
        let (values, gradient, tracked) = (Mutex::new(values), Mutex::new(None), AtomicBool::new(tracked));
        ToyArray(Arc::new(Node { shape: shape.to_vec(), device, values, gradient, tracked, origin: None }))
    }

    /// The result of an operation on `inputs`, recorded if a gradient may be requested.
    pub(super) fn result(
        shape: &[usize],
        mut values: Vec<f64>,
        inputs: &[&ToyArray],
        backward: impl Fn(&[f64]) -> Vec<Vec<f64>> + Send + Sync + 'static,
    ) -> Self {
        let device = inputs[0].device();
        assert!(inputs.iter().all(|input| input.device() == device), "arrays are on different devices");
        let round = rounding();
        round(&mut values);
        let tracked = is_recording() && inputs.iter().any(|input| input.is_tracked());
        let inputs = inputs.iter().map(|&input| input.clone()).collect();
        let rounded = move |gradient: &[f64]| {
            let mut gradients = backward(gradient);
            gradients.iter_mut().for_each(round);
            gradients
        };
        let origin = tracked.then(|| Origin { inputs, backward: Box::new(rounded) });
        let (values, gradient, tracked) = (Mutex::new(values), Mutex::new(None), AtomicBool::new(tracked));
        ToyArray(Arc::new(Node { shape: shape.to_vec(), device, values, gradient, tracked, origin }))
    }

    /// The length of each dimension.
    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    /// Its device.
    pub fn device(&self) -> ToyDevice {
        self.0.device
    }

    /// A copy of the values.
    pub fn values(&self) -> Vec<f64> {
        lock(&self.0.values).clone()
    }

    /// A copy of the accumulated gradient; `None` if there is none.
    pub fn gradient(&self) -> Option<Vec<f64>> {
        lock(&self.0.gradient).clone()
    }

    /// Whether gradients pass through it.
    pub(super) fn is_tracked(&self) -> bool {
        self.0.tracked.load(Ordering::Relaxed)
    }

    /// Sets whether a parameter gets gradients.
    pub(super) fn set_tracked(&self, tracked: bool) {
        self.0.tracked.store(tracked, Ordering::Relaxed);
    }

    /// Replaces the gradient.
    pub(super) fn set_gradient(&self, gradient: Option<Vec<f64>>) {
        *lock(&self.0.gradient) = gradient;
    }

    /// Changes the values in place.
    pub(super) fn update(&self, change: impl FnOnce(&mut [f64])) {
        change(&mut lock(&self.0.values));
    }

    /// Adds `factor` times the gradient of this single number to the slots of the parameters it depends on.
    /// Fails if it depends on no parameter, or is not a single number.
    pub fn backward(&self, factor: f64) -> Result<(), BoxError> {
        if !self.is_tracked() {
            return Err("this loss came from no parameter, or from the evaluation view".into());
        }
        if !self.shape().is_empty() {
            return Err(format!("a loss of shape {:?} is not a single number", self.shape()).into());
        }
        // Gradients are looked up by address, but visited in the order of the graph, so that sums
        // are the same in every process.
        let mut gradients = BTreeMap::from([(self.address(), vec![factor])]);
        for array in self.inputs_first().into_iter().rev() {
            let Some(gradient) = gradients.remove(&array.address()) else { continue };
            let Some(Origin { inputs, backward }) = &array.0.origin else {
                add(lock(&array.0.gradient).get_or_insert_default(), gradient);
                continue;
            };
            for (input, gradient) in inputs.iter().zip(backward(&gradient)) {
                if input.is_tracked() {
                    add(gradients.entry(input.address()).or_default(), gradient);
                }
            }
        }
        Ok(())
    }

    /// Every tracked ancestor of this array, and itself, each after its inputs.
    fn inputs_first(&self) -> Vec<ToyArray> {
        fn visit(array: &ToyArray, seen: &mut BTreeSet<usize>, order: &mut Vec<ToyArray>) {
            if !array.is_tracked() || !seen.insert(array.address()) {
                return;
            }
            for input in array.0.origin.iter().flat_map(|origin| &origin.inputs) {
                visit(input, seen, order);
            }
            order.push(array.clone());
        }
        let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
        visit(self, &mut seen, &mut order);
        order
    }

    fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

/// Adds `other` to `sum`, which is empty at first.
fn add(sum: &mut Vec<f64>, other: Vec<f64>) {
    if sum.is_empty() {
        *sum = other;
    } else {
        sum.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
    }
}

/// A panic elsewhere does not make an array unusable: no change is left half done under a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for ToyArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToyArray{:?}{:?}", self.shape(), self.values())
    }
}

impl ToDevice<ToyDevice> for ToyArray {
    fn move_to(self, device: &ToyDevice) -> Result<Self, BoxError> {
        if self.device() == *device {
            return Ok(self);
        }
        Ok(ToyArray::leaf(self.shape(), self.values(), *device, false))
    }
}
