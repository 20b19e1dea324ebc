//! Corpus: valid files of one format and their mutations.

use regimen::random::Random;

use super::mutate::{mutated, pick};

/// One case in this many is an unchanged file, which must be read.
const WHOLE: u64 = 32;

/// Valid files of one format, and a dictionary of its keywords.
#[derive(Debug)]
pub(super) struct Corpus {
    files: Vec<Vec<u8>>,
    words: &'static [&'static [u8]],
}

/// One input for a reader.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) bytes: Vec<u8>,
    /// The file is unchanged.
    pub(super) is_whole: bool,
}

impl Corpus {
    /// Creates a corpus of at least one file.
    pub(super) fn new(files: Vec<Vec<u8>>, words: &'static [&'static [u8]]) -> Self {
        Corpus { files, words }
    }

    /// Draws one file, usually mutated.
    pub(super) fn draw(&self, random: &mut Random) -> Drawn {
        let file = pick(&self.files, random);
        if random.below(WHOLE) == 0 {
            return Drawn { bytes: file.clone(), is_whole: true };
        }
        let bytes = self.changed(file, random);
        Drawn { is_whole: self.files.contains(&bytes), bytes }
    }

    /// Mutates `file`, sometimes by splicing in parts of the others.
    pub(super) fn changed(&self, file: &[u8], random: &mut Random) -> Vec<u8> {
        let other = pick(&self.files, random);
        mutated(file, other, self.words, random)
    }
}
