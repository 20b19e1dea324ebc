//! Measures of predictions, which are counted batch by batch: accuracy, for example.
//!
//! Each is a [`Measure`], whose parts, counted on other batches or other ranks, merge to the value of all samples at
//! once: to the last bit if it holds whole numbers, and else within the error that it states. They know no tensor type:
//! predictions and targets are slices of class numbers from 0 or of floats, logits are a matrix of one row per sample,
//! row after row, and texts are strings with words separated by white space.
//!
//! | measure | batch | value |
//! |---|---|---|
//! | [`Accuracy`] | classes, or logits | the share that is right; top-k too |
//! | [`Bleu`] | texts, references | BLEU-4 of the corpus, from 0 to 1 |
//! | [`BrierScore`] | probabilities | mean squared error |
//! | [`CalibrationError`] | probabilities | expected and maximum calibration error |
//! | [`ClassCurves`] | scores of several classes | AUROC and average precision, one-vs-rest |
//! | [`ConfusionMatrix`] | classes, or logits | accuracy, precision, recall, F-beta, specificity, Jaccard, Matthews, kappa |
//! | [`Distinct`] | texts | share of n-grams that are different |
//! | [`ErrorRate`] | texts, references | edits per word (WER) or per character (CER) |
//! | [`GoodnessOfFit`] | predicted numbers, targets | R^2, explained variance or Pearson's correlation |
//! | [`LabelCounts`] | labels, or scores of labels | exact match, Hamming loss, precision, recall, F-beta |
//! | [`LogLoss`] | probabilities | cross-entropy |
//! | [`MeanError`] | predicted numbers, targets | mean squared, absolute or relative error |
//! | [`Perplexity`] | summed loss, number of tokens | e to the mean loss of a token |
//! | [`Quantile`] | numbers | quantile, such as the median |
//! | [`Rouge`] | texts, references | mean F1 score of n-grams or of the longest common subsequence |
//! | [`Running`] | numbers | mean, with count, variance, minimum and maximum |
//! | [`Score`] | that of another measure | one value of several, to log |
//! | [`ScoreCurve`] | scores of a binary class | AUROC, average precision, their curves, the best threshold |
//! | [`Spearman`] | predicted numbers, targets | correlation of ranks |
//! | [`TokenAccuracy`] | predicted classes or logits, targets | share of correct tokens, without padding |
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
mod bleu;
mod brier_score;
mod calibration_error;
mod class_curves;
mod class_scores;
mod confusion_matrix;
mod confusion_picture;
mod distinct;
mod edit_distance;
mod error_rate;
mod goodness_of_fit;
mod kind;
mod label_counts;
mod log_loss;
mod logits;
mod mean;
mod mean_error;
mod measure;
mod moments;
mod numbers;
mod perplexity;
mod probabilities;
mod quantile;
mod rouge;
mod running;
mod score;
mod score_curve;
mod spearman;
mod sum;
mod token_accuracy;
mod words;

pub use regimen_core::metric::*;

pub use self::accuracy::Accuracy;
pub use self::average::Average;
pub use self::bleu::Bleu;
pub use self::brier_score::BrierScore;
pub use self::calibration_error::CalibrationError;
pub use self::class_curves::ClassCurves;
pub use self::class_scores::KappaWeights;
pub use self::confusion_matrix::ConfusionMatrix;
pub use self::distinct::Distinct;
pub use self::edit_distance::edit_distance;
pub use self::error_rate::ErrorRate;
pub use self::goodness_of_fit::GoodnessOfFit;
pub use self::label_counts::LabelCounts;
pub use self::log_loss::LogLoss;
pub use self::logits::argmax;
pub use self::mean_error::MeanError;
pub use self::measure::{Measure, share_counts};
pub use self::perplexity::Perplexity;
pub use self::quantile::Quantile;
pub use self::rouge::Rouge;
pub use self::running::Running;
pub use self::score::Score;
pub use self::score_curve::PrecisionRecallPoint;
pub use self::score_curve::RocPoint;
pub use self::score_curve::ScoreCurve;
pub use self::spearman::Spearman;
pub use self::token_accuracy::TokenAccuracy;

use crate::BoxError;
use crate::saved::MAX_COUNT;

/// An error beyond the counts that a checkpoint holds.
fn sum_of_counts(count: u64, more: u64) -> Result<u64, BoxError> {
    let sum = count.checked_add(more).filter(|&sum| sum <= MAX_COUNT);
    sum.ok_or_else(|| format!("{count} and {more} more are too many: a measure counts up to 2^53").into())
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
