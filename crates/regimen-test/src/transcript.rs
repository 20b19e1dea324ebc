//! Transcript of a run, as text.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The record of a run: the words that recording doubles wrote, in order. Clones share the transcript.
///
/// A word is `source.event`, or `source.event(argument)`:
///
/// ```text
/// unit.train_start cb.train_start ... unit.train_step(3) cb.train_step_end ... cb.error(Unit)
/// ```
///
/// Custom doubles and closures can [`write`](Transcript::write) too.
#[derive(Clone, Default)]
pub struct Transcript(Arc<Mutex<Vec<String>>>);

impl Transcript {
    /// Creates an empty transcript.
    pub fn new() -> Self {
        Transcript::default()
    }

    /// Appends a word.
    pub fn write(&self, word: impl Into<String>) {
        self.words().push(word.into());
    }

    /// Takes all words, separated by spaces, and empties the transcript.
    pub fn take(&self) -> String {
        std::mem::take(&mut *self.words()).join(" ")
    }

    /// Compares all words with `expected`, which is split at white space, and empties the transcript.
    ///
    /// # Panics
    ///
    /// If they differ. The message shows both from the first difference.
    #[track_caller]
    pub fn assert_reads(&self, expected: &str) {
        let found = self.take();
        let [found, expected]: [Vec<&str>; 2] =
            [&found, expected].map(|text| text.split_whitespace().collect());
        let same = found.iter().zip(&expected).take_while(|(found, expected)| found == expected).count();
        assert!(
            found == expected,
            "the transcript differs after {same} words\nafter: {}\nfound: {}\nexpected: {}",
            found[..same].join(" "),
            found[same..].join(" "),
            expected[same..].join(" "),
        );
    }

    /// Ignores poisoning: a double that panicked has still written whole words.
    fn words(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(" "))
    }
}

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transcript({self})")
    }
}
