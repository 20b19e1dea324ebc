//! Logits: the predicted class, the rank of another class, and a matrix as rows.

use crate::BoxError;

/// The class with the largest logit, the first of equal ones. Returns `None` if the row is empty or holds
/// a NaN.
pub fn argmax<T: PartialOrd + Copy>(row: &[T]) -> Option<usize> {
    let mut best = (0, *row.first()?);
    for (class, &logit) in row.iter().enumerate() {
        // Only NaN is not comparable to itself.
        logit.partial_cmp(&logit)?;
        if logit > best.1 {
            best = (class, logit);
        }
    }
    Some(best.0)
}

/// The number of classes before `class`: those with a larger logit, and earlier ones with an equal one,
/// as [`argmax`] decides. Returns `None` if the row holds a NaN or has no such class.
pub(super) fn rank<T: PartialOrd + Copy>(row: &[T], class: usize) -> Option<usize> {
    let logit = *row.get(class)?;
    if row.iter().any(|other| other.partial_cmp(other).is_none()) {
        return None;
    }
    let before = |&(other, value): &(usize, &T)| *value > logit || *value == logit && other < class;
    Some(row.iter().enumerate().filter(before).count())
}

/// The rows of a matrix with one row for each target.
pub(super) fn rows<'a, T>(
    logits: &'a [T],
    targets: &[usize],
) -> Result<impl Iterator<Item = &'a [T]> + Clone, BoxError> {
    let classes = logits.len() / targets.len().max(1);
    if classes * targets.len() != logits.len() || (classes == 0 && !targets.is_empty()) {
        let (found, targets) = (logits.len(), targets.len());
        return Err(format!("{found} logits are not one row for each of {targets} targets").into());
    }
    Ok(logits.chunks_exact(classes.max(1)))
}

pub(super) fn check_target(target: usize, classes: usize) -> Result<(), BoxError> {
    if target < classes {
        return Ok(());
    }
    Err(format!("target {target} is out of range: there are {classes} classes, numbered from 0").into())
}

pub(super) fn check_lengths(predictions: usize, targets: usize) -> Result<(), BoxError> {
    if predictions == targets {
        return Ok(());
    }
    Err(format!("{predictions} predictions for {targets} targets; as many are needed").into())
}
