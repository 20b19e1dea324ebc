//! Error rates of recognised text, over words and over characters.

use super::kind::{check_kind, check_same_kind};
use super::logits::check_lengths;
use super::measure::counted_by_each_rank;
use super::words::words;
use super::{Measure, edit_distance, ratio};
use crate::BoxError;
use crate::saved::{Array, StateDict, Stateful};

/// The error rate of recognised text: edits per word or per character of the references.
///
/// Edits are the fewest insertions, deletions and substitutions that make the text its reference, summed over all
/// texts. The rate is above 1 if more is inserted than the references hold. Upper case, punctuation and Unicode
/// normalisation count as they stand. As in `jiwer`, but for single tabs and newlines, which separate words here, and for
/// references that are all empty, which give no value.
///
/// ```
/// use regimen::metric::{ErrorRate, Measure};
///
/// let (mut wer, mut cer) = (ErrorRate::wer(), ErrorRate::cer());
/// wer.update((&["the cat sat"], &["the cat sat down"]))?;
/// cer.update((&["kitten"], &["sitting"]))?;
/// assert_eq!((wer.compute(), cer.compute()), (Some(1.0 / 4.0), Some(3.0 / 7.0)));
/// # Ok::<(), regimen::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorRate {
    kind: Kind,
    edits: u64,
    length: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Words,
    Characters,
}

impl ErrorRate {
    /// The word error rate. Words are separated by white space.
    pub fn wer() -> Self {
        ErrorRate { kind: Kind::Words, edits: 0, length: 0 }
    }

    /// The character error rate. Characters are Unicode scalar values, and white space at either end of a text does
    /// not count.
    pub fn cer() -> Self {
        ErrorRate { kind: Kind::Characters, edits: 0, length: 0 }
    }

    /// The number of edits.
    pub fn edits(&self) -> u64 {
        self.edits
    }

    /// The number of words or characters in the references.
    pub fn length(&self) -> u64 {
        self.length
    }

    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Words => "wer",
            Kind::Characters => "cer",
        }
    }

    fn count<T: PartialEq>(&mut self, text: &[T], reference: &[T]) {
        self.edits += edit_distance(text, reference);
        self.length += reference.len() as u64;
    }
}

fn characters(text: &str) -> Vec<char> {
    text.trim().chars().collect()
}

/// Of texts and their references, as many of each.
impl Measure for ErrorRate {
    type Batch<'b> = (&'b [&'b str], &'b [&'b str]);

    /// From 0. Returns `None` if all references are empty.
    type Value = Option<f64>;

    fn update(&mut self, (texts, references): Self::Batch<'_>) -> Result<(), BoxError> {
        check_lengths(texts.len(), references.len())?;
        for (text, reference) in texts.iter().zip(references) {
            match self.kind {
                Kind::Words => self.count(&words(text), &words(reference)),
                Kind::Characters => self.count(&characters(text), &characters(reference)),
            }
        }
        Ok(())
    }

    fn compute(&self) -> Option<f64> {
        ratio(self.edits, self.length)
    }

    fn merge(&mut self, other: &ErrorRate) -> Result<(), BoxError> {
        check_same_kind(self.name(), other.name())?;
        self.edits += other.edits;
        self.length += other.length;
        Ok(())
    }

    fn reset(&mut self) {
        (self.edits, self.length) = (0, 0);
    }
}

/// The counts; those of the other kind are refused.
impl Stateful for ErrorRate {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("kind", Array::from_text(self.name()))?;
        dict.insert("edits", self.edits)?;
        dict.insert("length", self.length)?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        check_kind(dict, self.name())?;
        *self = ErrorRate { kind: self.kind, edits: dict.count("edits")?, length: dict.count("length")? };
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        let mut loaded = *self;
        loaded.load_state_dict(dict)
    }

    counted_by_each_rank!();
}
