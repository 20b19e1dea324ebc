//! Outputs inside of a model that are looked at while a fault is searched for.

use tch::Tensor;

/// Has the output of the part of the model at `path` looked at where anomalies are
/// [detected](regimen_core::AutoUnit::detect_anomaly), and gives it back: the first that is not
/// finite is named in the error. Where they are not, it costs nothing to speak of.
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
    // What cannot be looked at is not what is looked for.
    let is_finite =
        || !matches!(output.f_isfinite().and_then(|each| each.f_all()?.f_int64_value(&[])), Ok(0));
    regimen_core::engine::note_unless_finite(path, is_finite);
    output
}
