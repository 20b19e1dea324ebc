//! Loss and accuracy of logits for classes.

use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::{FloatDType, Int, Tensor};
use regimen_core::BoxError;

/// The cross-entropy of `logits`, of shape `[samples, classes]`, with the class of each sample: their mean. It is
/// computed in single precision.
///
/// It is a criterion of a `Runner` or a `FitLoop` as it stands.
pub fn cross_entropy(logits: &Tensor<2>, targets: &Tensor<1, Int>) -> Tensor<1> {
    let logits = logits.clone().cast(FloatDType::F32);
    CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, targets.clone())
}

/// A metric: the share of samples whose target is among the `k` classes with the largest logits.
///
/// It is computed on the device, and not read there, by [`correct`], whose errors it has. It is in single
/// precision.
///
/// ```
/// use regimen_burn::burn::tensor::Tensor;
/// use regimen_burn::{accuracy, device};
///
/// let cpu = device("cpu")?;
/// let logits = Tensor::from_data([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]], &cpu);
/// let share = accuracy(1)(&logits, &Tensor::from_data([1, 2], &cpu))?;
/// assert_eq!(share.into_scalar::<f32>(), 0.5);
/// # Ok::<(), regimen_core::BoxError>(())
/// ```
pub fn accuracy(k: usize) -> impl FnMut(&Tensor<2>, &Tensor<1, Int>) -> Result<Tensor<1>, BoxError> + Send {
    move |logits, targets| Ok(correct(k, logits, targets)?.div_scalar(targets.dims()[0] as f64))
}

/// The number of samples whose target is among the `k` classes with the largest logits, on the device of the
/// logits. `logits` are of shape `[samples, classes]`, `targets` are classes.
///
/// Of equal logits the class with the lower number comes first. A row that holds a NaN is never correct. A `k` of 0,
/// or of more than there are classes, is an error.
pub fn correct(k: usize, logits: &Tensor<2>, targets: &Tensor<1, Int>) -> Result<Tensor<1>, BoxError> {
    let ([samples, classes], [given]) = (logits.dims(), targets.dims());
    if k == 0 {
        return Err("top-0 accuracy counts nothing as correct; give 1 or more".into());
    }
    if k > classes {
        return Err(format!("top-{k} accuracy of logits for {classes} classes is always 1").into());
    }
    if samples != given {
        return Err(format!("{samples} rows of logits for {given} targets; as many are needed").into());
    }
    let (logits, targets) = (logits.clone().detach(), targets.clone().unsqueeze_dim::<2>(1));
    let own = logits.clone().gather(1, targets.clone());
    let numbers = Tensor::<1, Int>::arange(0..classes as i64, &targets.device()).unsqueeze_dim::<2>(0);
    let first_of_equal = logits.clone().equal(own.clone()).bool_and(numbers.lower(targets));
    let before = logits.clone().greater(own).bool_or(first_of_equal).int().sum_dim(1);
    let is_number = logits.is_nan().any_dim(1).bool_not();
    Ok(before.lower_scalar(k as i64).bool_and(is_number).float().sum())
}
