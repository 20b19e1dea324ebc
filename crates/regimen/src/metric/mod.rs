//! Metrics that are counted: accuracy and the confusion matrix.
//!
//! They hold whole numbers, so parts counted apart, on other batches or other ranks, merge to
//! exactly what would have been counted at once. They know no tensor type: predictions and targets
//! are class numbers from 0, logits are a matrix of one row a sample, row after row.
//!
//! ```
//! use regimen::metric::{Accuracy, ConfusionMatrix};
//!
//! let logits = [2.0, 0.5, 0.1, /* second sample */ 0.3, 0.2, 0.9];
//! let (mut top_1, mut top_2) = (Accuracy::new(), Accuracy::top(2)?);
//! top_1.add_logits(&logits, &[0, 0])?;
//! top_2.add_logits(&logits, &[0, 0])?;
//! assert_eq!((top_1.value(), top_2.value()), (Some(0.5), Some(1.0)));
//!
//! let mut matrix = ConfusionMatrix::new(3)?;
//! matrix.add_logits(&logits, &[0, 0])?;
//! assert_eq!(matrix.recall(0), Some(0.5));
//! # Ok::<(), regimen::BoxError>(())
//! ```
//!
//! Among several [ranks](crate::Run::peers) each counts its share of the batches. At the end of an epoch
//! [`Accuracy::sum_over_ranks`] and [`ConfusionMatrix::sum_over_ranks`] make the counts those of all ranks.

mod accuracy;
mod confusion_matrix;
mod confusion_picture;
mod logits;

pub use regimen_core::metric::*;

pub use self::accuracy::Accuracy;
pub use self::confusion_matrix::ConfusionMatrix;
pub use self::logits::argmax;

use crate::engine::Bucket;
use crate::{BoxError, State};

/// Replaces each count by its sum over all ranks. Sums are exact up to 2^53.
fn sum_over_ranks(counts: &mut [u64], state: &State) -> Result<(), BoxError> {
    let Some(peers) = state.peers() else { return Ok(()) };
    let mut sums: Vec<f64> = counts.iter().map(|&count| count as f64).collect();
    peers.sum(Bucket::F64(&mut sums))?;
    counts.iter_mut().zip(sums).for_each(|(count, sum)| *count = sum as u64);
    Ok(())
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
