//! Whole files of one kind, and what the fuzz makes of them.

use regimen::random::Random;

use super::mutate::{mutated, pick};

/// One case in so many is a whole file, which must be read.
const WHOLE: u64 = 32;

/// Whole files of one kind, and text that means something in them.
#[derive(Debug)]
pub(super) struct Corpus {
    files: Vec<Vec<u8>>,
    words: &'static [&'static [u8]],
}

/// One file for a reader.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) bytes: Vec<u8>,
    /// Nothing was changed.
    pub(super) is_whole: bool,
}

impl Corpus {
    /// Of at least one file.
    pub(super) fn new(files: Vec<Vec<u8>>, words: &'static [&'static [u8]]) -> Self {
        Corpus { files, words }
    }

    /// One of the files, most often changed.
    pub(super) fn draw(&self, random: &mut Random) -> Drawn {
        let file = pick(&self.files, random);
        if random.below(WHOLE) == 0 {
            return Drawn { bytes: file.clone(), is_whole: true };
        }
        let bytes = self.changed(file, random);
        Drawn { is_whole: self.files.contains(&bytes), bytes }
    }

    /// `file` with some changes, parts of the others among them.
    pub(super) fn changed(&self, file: &[u8], random: &mut Random) -> Vec<u8> {
        let other = pick(&self.files, random);
        mutated(file, other, self.words, random)
    }
}
