//! Perplexity of a language model.

use super::measure::counted_by_each_rank;
use super::sum::Sum;
use super::{Measure, sum_of_counts};
use crate::BoxError;
use crate::saved::{StateDict, Stateful};
use crate::text::Count;

/// The perplexity of a language model: e to the mean negative log likelihood of a token (Jelinek, Mercer, Bahl and
/// Baker, "Perplexity: a measure of the difficulty of speech recognition tasks", 1977).
///
/// The relative error of the mean is less than 2^-50 for up to 10^7 batches, in whatever parts they are counted.
///
/// ```
/// use regimen::metric::{Measure, Perplexity};
///
/// let mut perplexity = Perplexity::new();
/// // A model that is undecided between two tokens, in a batch of 3 and one of 5 tokens.
/// perplexity.update((3.0 * 2_f64.ln(), 3))?;
/// perplexity.update((5.0 * 2_f64.ln(), 5))?;
/// assert!((perplexity.compute().unwrap_or(0.0) - 2.0).abs() < 1e-15);
/// # Ok::<(), regimen::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Perplexity {
    loss: Sum,
    tokens: u64,
}

impl Perplexity {
    /// One that has counted nothing.
    pub fn new() -> Self {
        Perplexity::default()
    }

    /// The mean negative log likelihood of a token, in nats. Returns `None` before a token is counted.
    pub fn mean_loss(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.loss.value() / self.tokens as f64)
    }

    /// The number of tokens.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }
}

/// Of the negative log likelihood of a batch, summed over its tokens, and their number. For a mean loss that is the
/// loss times the number of tokens in it. A negative loss and NaN are errors, and so is a loss of no token.
impl Measure for Perplexity {
    type Batch<'b> = (f64, u64);

    /// From 1. It is infinite after an infinite loss, and returns `None` before a token is counted.
    type Value = Option<f64>;

    fn update(&mut self, (loss, tokens): Self::Batch<'_>) -> Result<(), BoxError> {
        if loss.is_nan() || loss < 0.0 || (tokens == 0 && loss != 0.0) {
            return Err(format!(
                "{loss} is not the summed negative log likelihood of {}",
                Count(tokens, "token")
            )
            .into());
        }
        self.tokens = sum_of_counts(self.tokens, tokens)?;
        self.loss.add(loss);
        Ok(())
    }

    fn compute(&self) -> Option<f64> {
        self.mean_loss().map(f64::exp)
    }

    fn merge(&mut self, other: &Perplexity) -> Result<(), BoxError> {
        self.tokens = sum_of_counts(self.tokens, other.tokens)?;
        self.loss.merge(other.loss);
        Ok(())
    }

    fn reset(&mut self) {
        *self = Perplexity::new();
    }
}

/// The sum and the number of tokens.
impl Stateful for Perplexity {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("loss", self.loss)?;
        dict.insert("tokens", self.tokens)?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        *self = Perplexity { loss: dict.get("loss")?, tokens: dict.count("tokens")? };
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        Perplexity::new().load_state_dict(dict)
    }

    counted_by_each_rank!();
}
