//! Distinct n-grams of generated text.

use std::collections::BTreeSet;

use super::measure::counted_by_each_rank;
use super::words::words;
use super::{Measure, ratio};
use crate::BoxError;
use crate::saved::{Array, StateDict, Stateful};

/// Distinct-n (Li, Galley, Brockett, Gao and Dolan, "A diversity-promoting objective function for neural conversation
/// models", 2016): the number of different n-grams over all texts, divided by that of all n-grams.
///
/// Words are separated by white space. It keeps each different n-gram as text, in memory and in checkpoints.
///
/// ```
/// use regimen::metric::{Distinct, Measure};
///
/// let mut distinct = Distinct::new(1)?;
/// distinct.update(&["i do not know", "i do not"])?;
/// assert_eq!(distinct.compute(), Some(4.0 / 7.0));
/// # Ok::<(), regimen::BoxError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distinct {
    n: usize,
    /// Words of an n-gram are joined by spaces.
    ngrams: BTreeSet<String>,
    total: u64,
}

impl Distinct {
    /// Of n-grams of `n` words; 0 is an error.
    pub fn new(n: usize) -> Result<Self, BoxError> {
        if n == 0 {
            return Err("n-grams of 0 words are all equal; give 1 or more".into());
        }
        Ok(Distinct { n, ngrams: BTreeSet::new(), total: 0 })
    }
}

/// Of texts.
impl Measure for Distinct {
    type Batch<'b> = &'b [&'b str];

    /// From 0 to 1. Returns `None` before an n-gram is counted.
    type Value = Option<f64>;

    fn update(&mut self, texts: &[&str]) -> Result<(), BoxError> {
        for text in texts {
            for ngram in words(text).windows(self.n) {
                self.ngrams.insert(ngram.join(" "));
                self.total += 1;
            }
        }
        Ok(())
    }

    fn compute(&self) -> Option<f64> {
        ratio(self.ngrams.len() as u64, self.total)
    }

    fn merge(&mut self, other: &Distinct) -> Result<(), BoxError> {
        if self.n != other.n {
            return Err(format!("distinct-{} and distinct-{} cannot be merged", self.n, other.n).into());
        }
        self.ngrams.extend(other.ngrams.iter().cloned());
        self.total += other.total;
        Ok(())
    }

    fn reset(&mut self) {
        self.ngrams.clear();
        self.total = 0;
    }
}

/// The n-grams, a line each, and the number of all; those of another n are refused.
impl Stateful for Distinct {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let ngrams: String = self.ngrams.iter().flat_map(|ngram| [ngram, "\n"]).collect();
        let mut dict = StateDict::new();
        dict.insert("n", self.n as u64)?;
        dict.insert("ngrams", Array::from_text(&ngrams))?;
        dict.insert("total", self.total)?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let n: u64 = dict.get("n")?;
        if n != self.n as u64 {
            return Err(format!("the saved measure is distinct-{n}, this one distinct-{}", self.n).into());
        }
        let ngrams = dict.array("ngrams")?.to_text()?.lines().map(str::to_owned).collect();
        let loaded = Distinct { n: self.n, ngrams, total: dict.count("total")? };
        if loaded.ngrams.len() as u64 > loaded.total {
            return Err("more n-grams are different than there are; they are damaged".into());
        }
        *self = loaded;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        Distinct::new(self.n)?.load_state_dict(dict)
    }

    counted_by_each_rank!();
}
