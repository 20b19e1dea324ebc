//! Gzip files: compression, and decompression by a second reader.

use std::io::{BufRead, Read, Write};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use regimen::BoxError;
use regimen::random::Random;

use super::corpus::{Corpus, Drawn};

/// The decompressed contents of one file.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) bytes: Vec<u8>,
    /// The file is complete. Trailing zeros are allowed, as tapes and disks leave them.
    pub(super) is_whole: bool,
}

/// Draws a file from `corpus` and compresses it. The mutation comes before or after compression.
pub(super) fn draw(corpus: &Corpus, random: &mut Random) -> Result<Drawn, BoxError> {
    let plain = corpus.draw(random);
    let mut packed = pack(&plain.bytes)?;
    Ok(match random.below(4) {
        0 | 1 => Drawn { bytes: packed, ..plain },
        2 => {
            // Concatenated members with trailing zeros are valid.
            packed.extend(pack(b"")?);
            packed.resize(packed.len() + random.below(600) as usize, 0);
            Drawn { bytes: packed, ..plain }
        }
        _ => Drawn { bytes: corpus.changed(&packed, random), is_whole: false },
    })
}

pub(super) fn pack(bytes: &[u8]) -> Result<Vec<u8>, BoxError> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// Decompresses `packed` member by member.
pub(super) fn unpack(mut packed: &[u8]) -> Unpacked {
    let mut bytes = Vec::new();
    loop {
        let mut member = GzDecoder::new(packed);
        if member.read_to_end(&mut bytes).is_err() {
            return Unpacked { bytes, is_whole: false };
        }
        packed = member.into_inner();
        // Reading from a slice cannot fail.
        let rest = packed.fill_buf().unwrap_or_default();
        if rest.iter().all(|&byte| byte == 0) {
            return Unpacked { bytes, is_whole: true };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_unpacked_one_after_another_and_zeros_end_them() {
        let two = [pack(b"ab").unwrap(), pack(b"c").unwrap()].concat();
        let check = |packed: &[u8], bytes: &[u8], is_whole: bool| {
            let unpacked = unpack(packed);
            assert_eq!((&*unpacked.bytes, unpacked.is_whole), (bytes, is_whole));
        };
        check(&two, b"abc", true);
        check(&[&*two, &[0; 9]].concat(), b"abc", true);
        check(&[&*two, b"x"].concat(), b"abc", false);
        check(&two[..two.len() - 1], b"abc", false);
    }
}
