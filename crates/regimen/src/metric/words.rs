//! Words of a text, and their n-grams.

use std::collections::BTreeMap;

/// The words of a text, separated by white space.
pub(super) fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// The number of each n-gram of `words`.
pub(super) fn ngrams<'w, 't>(words: &'w [&'t str], n: usize) -> BTreeMap<&'w [&'t str], u64> {
    let mut counts = BTreeMap::new();
    words.windows(n).for_each(|ngram| *counts.entry(ngram).or_default() += 1);
    counts
}
