//! ROUGE: the overlap of a summary with its reference.

use super::Measure;
use super::kind::{check_kind, check_same_kind};
use super::logits::check_lengths;
use super::mean::Mean;
use super::measure::counted_by_each_rank;
use super::words::{ngrams, words};
use crate::BoxError;
use crate::saved::{Array, StateDict, Stateful};

/// ROUGE (Lin, "ROUGE: a package for automatic evaluation of summaries", 2004): the F1 score of the n-grams, or of the
/// longest common subsequence, that a text shares with its reference. The value is the mean over texts.
///
/// Words are separated by white space, and compared as they stand: change case and stem them first if you wish. Values
/// are those of `rouge-score` without its tokenizer and stemmer. The relative error of the mean is less than 2^-50 for
/// up to 10^7 texts, in whatever parts they are counted.
///
/// ```
/// use regimen::metric::{Measure, Rouge};
///
/// let mut rouge = Rouge::rouge_l();
/// rouge.update((&["police kill the gunman"], &["police killed the gunman"]))?;
/// assert_eq!(rouge.compute(), Some(0.75));
/// # Ok::<(), regimen::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rouge {
    kind: Kind,
    scores: Mean,
}

/// The names of the sum and of the count in a state.
const ARRAYS: [&str; 2] = ["scores", "texts"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    NGrams(usize),
    Subsequence,
}

impl Rouge {
    /// ROUGE-1: words that both have.
    pub fn rouge_1() -> Self {
        Rouge { kind: Kind::NGrams(1), scores: Mean::default() }
    }

    /// ROUGE-2: pairs of adjacent words that both have.
    pub fn rouge_2() -> Self {
        Rouge { kind: Kind::NGrams(2), ..Rouge::rouge_1() }
    }

    /// ROUGE-L: the longest sequence of words that both have in the same order, with gaps. A text is taken as one
    /// sentence.
    pub fn rouge_l() -> Self {
        Rouge { kind: Kind::Subsequence, ..Rouge::rouge_1() }
    }

    /// The F1 score of a text; 0 if nothing is shared.
    fn score(&self, text: &[&str], reference: &[&str]) -> f64 {
        let (common, smaller) = match self.kind {
            Kind::NGrams(n) => (common_ngrams(text, reference, n), n - 1),
            Kind::Subsequence => (common_subsequence(text, reference), 0),
        };
        // F1 of common / a and common / b.
        let all = text.len().saturating_sub(smaller) + reference.len().saturating_sub(smaller);
        if common == 0 { 0.0 } else { (2 * common) as f64 / all as f64 }
    }

    fn name(&self) -> &'static str {
        match self.kind {
            Kind::NGrams(1) => "ROUGE-1",
            Kind::NGrams(_) => "ROUGE-2",
            Kind::Subsequence => "ROUGE-L",
        }
    }
}

fn common_ngrams(text: &[&str], reference: &[&str], n: usize) -> u64 {
    let of_reference = ngrams(reference, n);
    let common = |(ngram, count): (&[&str], u64)| count.min(of_reference.get(ngram).copied().unwrap_or(0));
    ngrams(text, n).into_iter().map(common).sum()
}

/// The length of the longest common subsequence.
fn common_subsequence(a: &[&str], b: &[&str]) -> u64 {
    // Lengths for the words of `a` so far and each beginning of `b`.
    let mut row = vec![0_u64; b.len() + 1];
    for x in a {
        let (mut diagonal, mut left) = (0, 0);
        for (y, above) in b.iter().zip(&mut row[1..]) {
            left = if x == y { diagonal + 1 } else { left.max(*above) };
            diagonal = std::mem::replace(above, left);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// Of texts and a reference for each.
impl Measure for Rouge {
    type Batch<'b> = (&'b [&'b str], &'b [&'b str]);

    /// From 0 to 1. A text that shares nothing with its reference is 0, also if one of them is empty. Returns `None`
    /// before a text is counted.
    type Value = Option<f64>;

    fn update(&mut self, (texts, references): Self::Batch<'_>) -> Result<(), BoxError> {
        check_lengths(texts.len(), references.len())?;
        for (text, reference) in texts.iter().zip(references) {
            let score = self.score(&words(text), &words(reference));
            self.scores.add(score);
        }
        Ok(())
    }

    fn compute(&self) -> Option<f64> {
        self.scores.value()
    }

    fn merge(&mut self, other: &Rouge) -> Result<(), BoxError> {
        check_same_kind(self.name(), other.name())?;
        self.scores.merge(other.scores);
        Ok(())
    }

    fn reset(&mut self) {
        *self = Rouge { kind: self.kind, ..Rouge::rouge_1() };
    }
}

/// The sum of scores and the number of texts; those of another kind are refused.
impl Stateful for Rouge {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("kind", Array::from_text(self.name()))?;
        self.scores.insert_into(&mut dict, ARRAYS)?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        check_kind(dict, self.name())?;
        self.scores = Mean::from_state(dict, ARRAYS)?;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        let mut loaded = *self;
        loaded.load_state_dict(dict)
    }

    counted_by_each_rank!();
}
