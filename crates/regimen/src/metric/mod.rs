//! Measures of predictions, which are counted batch by batch.
//!
//! Each is a [`Measure`]. Parts counted apart, on other batches or other ranks, merge to what would have been counted
//! at once: exactly, or but for the last bit of a sum. They know no tensor type: predictions and targets are class
//! numbers from 0, and logits are a matrix of one row per sample, row after row.
//!
//! | measure | batch | value |
//! |---|---|---|
//! | [`Accuracy`] | classes, or logits | the share that is right; top-k too |
//! | [`BrierScore`] | probabilities | mean squared error |
//! | [`CalibrationError`] | probabilities | expected and maximum calibration error |
//! | [`ClassCurves`] | scores of several classes | AUROC and average precision, one-vs-rest |
//! | [`ConfusionMatrix`] | classes, or logits | accuracy, precision, recall, F-beta, Jaccard, Matthews, kappa |
//! | [`LabelCounts`] | labels, or scores of labels | exact match, Hamming loss, precision, recall, F-beta |
//! | [`LogLoss`] | probabilities | cross-entropy |
//! | [`Score`] | that of another measure | one value of several, to log |
//! | [`ScoreCurve`] | scores of a binary class | AUROC, average precision, their curves, the best threshold |
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
mod average;
mod brier_score;
mod calibration_error;
mod class_curves;
mod class_scores;
mod confusion_matrix;
mod confusion_picture;
mod label_counts;
mod log_loss;
mod logits;
mod measure;
mod probabilities;
mod score;
mod score_curve;
mod sum;

pub use regimen_core::metric::*;

pub use self::accuracy::Accuracy;
pub use self::average::Average;
pub use self::brier_score::BrierScore;
pub use self::calibration_error::CalibrationError;
pub use self::class_curves::ClassCurves;
pub use self::class_scores::KappaWeights;
pub use self::confusion_matrix::ConfusionMatrix;
pub use self::label_counts::LabelCounts;
pub use self::log_loss::LogLoss;
pub use self::logits::argmax;
pub use self::measure::Measure;
pub use self::score::Score;
pub use self::score_curve::PrecisionRecallPoint;
pub use self::score_curve::RocPoint;
pub use self::score_curve::ScoreCurve;

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
