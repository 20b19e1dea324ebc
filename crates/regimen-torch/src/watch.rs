//! Checks of outputs inside a model, for debugging.

use tch::Tensor;

/// Checks the output of the part of the model at `path` if [anomaly
/// detection](regimen_core::AutoUnit::detect_anomaly) is on, and returns it. The error names the first output
/// that is not finite. Without anomaly detection the cost is negligible.
///
/// ```
/// use regimen_torch::tch::{Tensor, nn, nn::Module};
/// use regimen_torch::watch;
///
/// fn forward(hidden: &nn::Linear, output: &nn::Linear, x: &Tensor) -> Tensor {
///     let x = watch("hidden", hidden.forward(x).relu());
///     watch("output", output.forward(&x))
/// }
/// ```
pub fn watch(path: &str, output: Tensor) -> Tensor {
    // An output that cannot be checked is no anomaly.
    let is_finite =
        || !matches!(output.f_isfinite().and_then(|each| each.f_all()?.f_int64_value(&[])), Ok(0));
    regimen_core::engine::note_unless_finite(path, is_finite);
    output
}
