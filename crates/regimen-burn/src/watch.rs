//! Outputs inside of a module that are looked at while a fault is searched for.

use burn::tensor::Tensor;

/// Has the output of the part of the module at `path` looked at where anomalies are
/// [detected](regimen_core::AutoUnit::detect_anomaly), and gives it back: the first that is not
/// finite is named in the error. Where they are not, it costs nothing to speak of.
///
/// ```
/// use regimen_burn::burn::{nn::Linear, tensor::{Tensor, activation::relu}};
/// use regimen_burn::watch;
///
/// fn forward(hidden: &Linear, output: &Linear, x: Tensor<2>) -> Tensor<2> {
///     let x = watch("hidden", relu(hidden.forward(x)));
///     watch("output", output.forward(x))
/// }
/// ```
pub fn watch<const D: usize>(path: &str, output: Tensor<D>) -> Tensor<D> {
    // What cannot be looked at is not what is looked for.
    let is_finite = || output.clone().is_finite().all().try_into_scalar::<bool>().unwrap_or(true);
    regimen_core::engine::note_unless_finite(path, is_finite);
    output
}
