//! Loss and accuracy of logits for classes.

use regimen_core::BoxError;
use tch::{Kind, Reduction, Tensor};

use crate::failure;

/// The cross-entropy of `logits`, of shape `[samples, classes]`, with the class of each sample: their mean.
///
/// It is a criterion of a `Runner` or a `FitLoop` as it stands.
pub fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor, BoxError> {
    logits.f_cross_entropy_loss(targets, None::<Tensor>, Reduction::Mean, -100, 0.0).map_err(failure)
}

/// A metric: the share of samples whose target is among the `k` classes with the largest logits.
///
/// It is computed on the device, and not read there, by [`correct`], whose errors it has. It is in single
/// precision.
///
/// ```
/// use regimen_torch::accuracy;
/// use regimen_torch::tch::Tensor;
///
/// let logits = Tensor::from_slice2(&[[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]]);
/// let share = accuracy(1)(&logits, &Tensor::from_slice(&[1_i64, 2]))?;
/// assert_eq!(share.double_value(&[]), 0.5);
/// # Ok::<(), regimen_core::BoxError>(())
/// ```
pub fn accuracy(k: usize) -> impl FnMut(&Tensor, &Tensor) -> Result<Tensor, BoxError> + Send {
    move |logits, targets| correct(k, logits, targets)?.f_div_scalar(targets.numel() as f64).map_err(failure)
}

/// The number of samples whose target is among the `k` classes with the largest logits, on the device of the
/// logits. `logits` are of shape `[samples, classes]`, `targets` are classes.
///
/// Of equal logits the class with the lower number comes first. A row that holds a NaN is never correct. A `k` of 0,
/// or of more than there are classes, is an error.
pub fn correct(k: usize, logits: &Tensor, targets: &Tensor) -> Result<Tensor, BoxError> {
    let (&[samples, classes], &[given]) = (&*logits.size(), &*targets.size()) else {
        let (logits, targets) = (logits.size(), targets.size());
        return Err(format!(
            "logits of shape {logits:?} for targets of shape {targets:?}; they are [samples, classes] and [samples]"
        )
        .into());
    };
    if k == 0 {
        return Err("top-0 accuracy counts nothing as correct; give 1 or more".into());
    }
    if k > classes as usize {
        return Err(format!("top-{k} accuracy of logits for {classes} classes is always 1").into());
    }
    if samples != given {
        return Err(format!("{samples} rows of logits for {given} targets; as many are needed").into());
    }
    let correct = || {
        let (logits, targets) = (logits.f_detach()?, targets.f_unsqueeze(1)?);
        let own = logits.f_gather(1, &targets, false)?;
        let numbers = Tensor::f_arange(classes, (Kind::Int64, targets.device()))?;
        let first_of_equal = logits.f_eq_tensor(&own)?.f_logical_and(&numbers.f_lt_tensor(&targets)?)?;
        let before = logits.f_gt_tensor(&own)?.f_logical_or(&first_of_equal)?;
        let before = before.f_sum_dim_intlist(1, false, Kind::Int64)?;
        let is_number = logits.f_isnan()?.f_any_dim(1, false)?.f_logical_not()?;
        before.f_lt(k as i64)?.f_logical_and(&is_number)?.f_sum(Kind::Float)
    };
    correct().map_err(failure)
}
