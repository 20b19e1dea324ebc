//! Checks of outputs inside a module, for debugging.

use burn::tensor::Tensor;

/// Checks the output of the part of the module at `path` if [anomaly
/// detection](regimen_core::AutoUnit::detect_anomaly) is on, and returns it. The error names the first output
/// that is not finite. Without anomaly detection the cost is negligible.
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
    // An output that cannot be checked is no anomaly.
    let is_finite = || output.clone().is_finite().all().try_into_scalar::<bool>().unwrap_or(true);
    regimen_core::engine::note_unless_finite(path, is_finite);
    output
}
