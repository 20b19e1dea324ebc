//! Measures of predictions, which are counted batch by batch: accuracy and the confusion matrix.
//!
//! Each is a [`Measure`]. They hold whole numbers, so parts counted apart, on other batches or other ranks, merge to
//! exactly what would have been counted at once. They know no tensor type: predictions and targets
//! are class numbers from 0, logits are a matrix of one row a sample, row after row.
//!
//! ```
//! use regimen::metric::{Accuracy, ConfusionMatrix, Measure};
//!
//! let logits = [2.0, 0.5, 0.1, /* second sample */ 0.3, 0.2, 0.9];
//! let (mut top_1, mut top_2) = (Accuracy::new(), Accuracy::top(2)?);
//! top_1.update_logits(&logits, &[0, 0])?;
//! top_2.update_logits(&logits, &[0, 0])?;
//! assert_eq!((top_1.compute(), top_2.compute()), (Some(0.5), Some(1.0)));
//!
//! let mut matrix = ConfusionMatrix::new(3)?;
//! matrix.update_logits(&logits, &[0, 0])?;
//! assert_eq!(matrix.recall(0), Some(0.5));
//! # Ok::<(), regimen::BoxError>(())
//! ```
//!
//! Among several [ranks](crate::Run::peers) each counts its share of the batches. At the end of an epoch
//! [`Measure::log`] and [`Measure::merge_ranks`] make the counts those of all ranks.

mod accuracy;
mod confusion_matrix;
mod confusion_picture;
mod logits;
mod measure;

pub use regimen_core::metric::*;

pub use self::accuracy::Accuracy;
pub use self::confusion_matrix::ConfusionMatrix;
pub use self::logits::argmax;
pub use self::measure::Measure;

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
