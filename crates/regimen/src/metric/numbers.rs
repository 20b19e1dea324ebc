//! Numbers of a batch, checked: as many of each, and all finite.

use super::logits::check_lengths;
use crate::BoxError;

/// Pairs of a prediction and its target.
pub(super) fn pairs<'b, T: Copy + Into<f64>>(
    predictions: &'b [T],
    targets: &'b [T],
) -> Result<impl Iterator<Item = (f64, f64)> + Clone + 'b, BoxError> {
    check_lengths(predictions.len(), targets.len())?;
    Ok(finite("prediction", predictions)?.zip(finite("target", targets)?))
}

/// The numbers as `f64`. The error names the first that is infinite or NaN.
pub(super) fn finite<'b, T: Copy + Into<f64>>(
    name: &str,
    numbers: &'b [T],
) -> Result<impl Iterator<Item = f64> + Clone + 'b, BoxError> {
    let numbers = numbers.iter().map(|&number| number.into());
    match numbers.clone().enumerate().find(|(_, number)| !number.is_finite()) {
        Some((index, number)) => Err(format!("{name} {index} of the batch is {number}").into()),
        None => Ok(numbers),
    }
}
