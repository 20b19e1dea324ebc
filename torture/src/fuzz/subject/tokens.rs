//! Token files.

use regimen::BoxError;
use regimen::data::{Dataset, TokenFile, TokenWidth};
use regimen::random::Random;

use super::Subject;
use crate::fuzz::corpus::Corpus;
use crate::fuzz::trial::{Fault, Trial, demand};

/// Magic bytes of a NumPy file, whose header must not be read as tokens.
const NUMPY: &[u8] = b"\x93NUMPY";

const WORDS: &[&[u8]] = &[
    NUMPY,
    b"\x93NUMPY\x01\x00\x36\x00{'descr': '<u2', 'fortran_order': False, 'shape': (3,)}",
    b"'<u4'",
    b"'>u2'",
    b"(18446744073709551615,)",
];

#[derive(Debug)]
pub(super) struct Tokens {
    /// Files read by their extension.
    plain: Corpus,
    numpy: Corpus,
}

impl Tokens {
    pub(super) fn new() -> Self {
        let plain = [0_u16, 1, 8, 300].map(|n| (0..n).flat_map(|token| (7 * token).to_be_bytes()).collect());
        let mut numpy =
            b"\x93NUMPY\x01\0\x76\0{'descr': '<u2', 'fortran_order': False, 'shape': (5,), }".to_vec();
        numpy.resize(127, b' ');
        numpy.extend(b"\n\x01\0\x02\0\x03\0\x04\0\x05\0");
        Tokens { plain: Corpus::new(plain.to_vec(), WORDS), numpy: Corpus::new(vec![numpy], WORDS) }
    }
}

impl Subject for Tokens {
    fn name(&self) -> &'static str {
        "tokens"
    }

    fn attempt(&self, random: &mut Random, trial: &mut Trial) -> Result<(), Fault> {
        let is_numpy = random.below(4) == 0;
        let drawn = if is_numpy { &self.numpy } else { &self.plain }.draw(random);
        let bytes = drawn.bytes;
        let path = trial.write(if is_numpy { "tokens.npy" } else { "tokens.bin" }, &bytes)?;
        let (width, size) = if random.below(2) == 0 { (TokenWidth::U16, 2) } else { (TokenWidth::U32, 4) };
        let (length, stride) = (1 + random.below(9) as usize, 1 + random.below(9) as usize);
        let read = trial.read(bytes.len(), || TokenFile::open(path, width))?;
        let tokens = match read {
            Ok(tokens) => tokens,
            Err(why) => {
                let is_whole = drawn.is_whole && !is_numpy && bytes.len().is_multiple_of(size);
                return demand(!is_whole, || format!("a valid file is refused: {why}"));
            }
        };
        let count = tokens.tokens();
        // The tokens are at the end, after any header.
        let header = bytes.len().checked_sub(count * size);
        let header =
            header.ok_or_else(|| Fault::Mismatch(format!("{count} tokens are more than there are")))?;
        let has_header = bytes.starts_with(NUMPY);
        demand((header != 0) == has_header, || {
            format!(
                "{header} bytes are a header, in a file that begins with {:?}",
                &bytes[..bytes.len().min(6)]
            )
        })?;
        let expected: Vec<u32> = bytes[header..].chunks(size).map(number).collect();
        let read = trial.read(16 * bytes.len(), || {
            let windows = tokens.windows(length, stride)?;
            (0..windows.len()).map(|index| windows.sample(index)).collect::<Result<Vec<_>, BoxError>>()
        })?;
        let windows: Vec<_> = expected.windows(length).step_by(stride).map(<[u32]>::to_vec).collect();
        demand(read.as_ref() == Ok(&windows), || format!("windows {read:?}, not {windows:?}"))
    }
}

/// Decodes a little-endian integer.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u32::from(byte))
}
