//! BLEU: the n-grams that a translation shares with its references.

use std::array::from_fn;

use super::Measure;
use super::logits::check_lengths;
use super::measure::counted_by_each_rank;
use super::words::{ngrams, words};
use crate::BoxError;
use crate::saved::{Array, MAX_COUNT, StateDict, Stateful};

/// BLEU of a corpus (Papineni, Roukos, Ward and Zhu, 2002): the geometric mean of the precisions of its 1-grams to
/// 4-grams, times a penalty for brevity.
///
/// An n-gram is right as often as it occurs in the reference that has most of it. The penalty is exp(1 - r / t) if the
/// t words of all texts are fewer than r, those of the references nearest in length. Counts are summed over all texts,
/// so the value is not a mean over sentences.
///
/// Words are separated by white space: tokenize the texts first, and join the tokens with spaces. Values are those of
/// `sacrebleu` with `tokenize="none"`, divided by 100.
///
/// ```
/// use regimen::metric::{Bleu, Measure};
///
/// let mut bleu = Bleu::new();
/// bleu.update((&["the cat sat on the mat"], &["the cat sat on the red mat"]))?;
/// // 6 of 6, 4 of 5, 3 of 4 and 2 of 3 n-grams, and 6 words for 7.
/// let expected = (4.0 / 5.0 * 3.0 / 4.0 * 2.0 / 3.0_f64).powf(0.25) * (1.0 - 7.0 / 6.0_f64).exp();
/// assert!((bleu.compute().unwrap_or(0.0) - expected).abs() < 1e-15);
/// # Ok::<(), regimen::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bleu {
    smoothed: bool,
    /// By length from 1: the n-grams that are right, and all.
    correct: [u64; ORDER],
    total: [u64; ORDER],
    words: u64,
    reference_words: u64,
}

const ORDER: usize = 4;

impl Bleu {
    /// With the smoothing of NIST, `exp` in `sacrebleu`: if no n-gram of a length is right, the first such length
    /// counts as 1/2 right, the next as 1/4, and so on.
    pub fn new() -> Self {
        Bleu { smoothed: true, ..Bleu::unsmoothed() }
    }

    /// Without smoothing, `none` in `sacrebleu`: 0 if no n-gram of a length is right.
    pub fn unsmoothed() -> Self {
        Bleu { smoothed: false, correct: [0; ORDER], total: [0; ORDER], words: 0, reference_words: 0 }
    }

    /// Counts texts with several references each. A text without references is an error, and then nothing of this
    /// call is counted.
    pub fn update_references(&mut self, texts: &[&str], references: &[&[&str]]) -> Result<(), BoxError> {
        check_lengths(texts.len(), references.len())?;
        if let Some(index) = references.iter().position(|references| references.is_empty()) {
            return Err(format!("text {index} of the batch has no reference").into());
        }
        texts.iter().zip(references).for_each(|(text, references)| self.count(text, references));
        Ok(())
    }

    fn count(&mut self, text: &str, references: &[&str]) {
        let text = words(text);
        let references: Vec<_> = references.iter().map(|reference| words(reference)).collect();
        let lengths = references.iter().map(Vec::len);
        self.words += text.len() as u64;
        // Of two that are as near the shorter one.
        let nearest = lengths.min_by_key(|&length| (length.abs_diff(text.len()), length));
        self.reference_words += nearest.unwrap_or(0) as u64;
        for order in 0..ORDER {
            let of_references: Vec<_> = references.iter().map(|words| ngrams(words, order + 1)).collect();
            for (ngram, count) in ngrams(&text, order + 1) {
                let most = of_references.iter().filter_map(|ngrams| ngrams.get(ngram)).max();
                self.correct[order] += count.min(most.copied().unwrap_or(0));
                self.total[order] += count;
            }
        }
    }
}

impl Default for Bleu {
    /// Smoothed.
    fn default() -> Self {
        Bleu::new()
    }
}

/// Of texts and a reference for each.
impl Measure for Bleu {
    type Batch<'b> = (&'b [&'b str], &'b [&'b str]);

    /// From 0 to 1; 0 if no word is right, or if no text has 4 words. Returns `None` before a word is counted.
    type Value = Option<f64>;

    fn update(&mut self, (texts, references): Self::Batch<'_>) -> Result<(), BoxError> {
        check_lengths(texts.len(), references.len())?;
        texts.iter().zip(references).for_each(|(text, reference)| self.count(text, &[reference]));
        Ok(())
    }

    fn compute(&self) -> Option<f64> {
        if self.words + self.reference_words == 0 {
            return None;
        }
        if self.correct[0] == 0 || self.total.contains(&0) {
            return Some(0.0);
        }
        let mut smoothing = if self.smoothed { 1.0 } else { 0.0 };
        let logs = from_fn::<f64, ORDER, _>(|order| {
            let correct = match self.correct[order] {
                0 => {
                    smoothing /= 2.0;
                    smoothing
                }
                correct => correct as f64,
            };
            (correct / self.total[order] as f64).ln()
        });
        let missing = 1.0 - self.reference_words as f64 / self.words as f64;
        Some((logs.iter().sum::<f64>() / ORDER as f64 + missing.min(0.0)).exp())
    }

    fn merge(&mut self, other: &Bleu) -> Result<(), BoxError> {
        if self.smoothed != other.smoothed {
            return Err("BLEU with and without smoothing cannot be merged".into());
        }
        for order in 0..ORDER {
            self.correct[order] += other.correct[order];
            self.total[order] += other.total[order];
        }
        self.words += other.words;
        self.reference_words += other.reference_words;
        Ok(())
    }

    fn reset(&mut self) {
        *self = Bleu { smoothed: self.smoothed, ..Bleu::new() };
    }
}

/// The counts; a state with another smoothing is refused.
impl Stateful for Bleu {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("smoothed", u8::from(self.smoothed))?;
        dict.insert("correct", Array::from_slice(&self.correct))?;
        dict.insert("total", Array::from_slice(&self.total))?;
        dict.insert("words", self.words)?;
        dict.insert("reference_words", self.reference_words)?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        if dict.get::<u8>("smoothed")? != u8::from(self.smoothed) {
            return Err("the saved BLEU has another smoothing".into());
        }
        let counts = |name| match <[u64; ORDER]>::try_from(dict.array(name)?.to_vec()?) {
            Ok(counts) if counts.iter().all(|&count| count <= MAX_COUNT) => Ok(counts),
            _ => Err(BoxError::from(format!("`{name}` is not {ORDER} counts; it is damaged"))),
        };
        let (correct, total) = (counts("correct")?, counts("total")?);
        if correct.iter().zip(&total).any(|(correct, total)| correct > total) {
            return Err("more n-grams are correct than there are; they are damaged".into());
        }
        *self = Bleu {
            smoothed: self.smoothed,
            correct,
            total,
            words: dict.count("words")?,
            reference_words: dict.count("reference_words")?,
        };
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        let mut loaded = *self;
        loaded.load_state_dict(dict)
    }

    counted_by_each_rank!();
}
