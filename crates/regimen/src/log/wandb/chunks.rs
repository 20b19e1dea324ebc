//! The framing of a `.wandb` file: the chunks of LevelDB's logs.

/// The beginning of a file: a magic text, a magic number and the version 0.
pub(super) const FILE_HEADER: [u8; 7] = *b":W&B\xe1\xbe\x00";

/// No chunk goes over a border between two blocks of the file.
const BLOCK: usize = 32_768;

/// The bytes before the part of a record in a chunk: checksum, length and kind.
const CHUNK_HEADER: usize = 7;

/// Adds the chunks of `record` to `bytes`, which is to be written at `offset` of a file.
pub(super) fn add_chunks(mut record: &[u8], offset: u64, bytes: &mut Vec<u8>) {
    let mut is_first = true;
    loop {
        let here = (offset + bytes.len() as u64) % BLOCK as u64;
        let mut left = BLOCK - here as usize;
        if left < CHUNK_HEADER {
            bytes.resize(bytes.len() + left, 0);
            left = BLOCK;
        }
        let (part, rest) = record.split_at(record.len().min(left - CHUNK_HEADER));
        let kind = match (is_first, rest.is_empty()) {
            (true, true) => 1,
            (true, false) => 2,
            (false, false) => 3,
            (false, true) => 4,
        };
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&[kind]);
        checksum.update(part);
        bytes.extend(checksum.finalize().to_le_bytes());
        bytes.extend((part.len() as u16).to_le_bytes());
        bytes.push(kind);
        bytes.extend(part);
        if rest.is_empty() {
            return;
        }
        (record, is_first) = (rest, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The zeros, and then the kind and the length of each chunk, of a record of so many bytes at `offset`.
    fn check(offset: u64, length: usize, zeros: usize, expected: &[(u8, usize)]) {
        let mut bytes = Vec::new();
        add_chunks(&vec![7; length], offset, &mut bytes);
        let (padding, mut rest) = bytes.split_at(zeros);
        assert!(padding.iter().all(|byte| *byte == 0));
        let (mut found, mut record) = (Vec::new(), Vec::<u8>::new());
        while let [a, b, c, d, low, high, kind, after @ ..] = rest {
            let (part, after) = after.split_at(usize::from(*low) + 256 * usize::from(*high));
            assert_eq!(u32::from_le_bytes([*a, *b, *c, *d]), crc32fast::hash(&[&[*kind], part].concat()));
            found.push((*kind, part.len()));
            record.extend(part);
            rest = after;
        }
        assert_eq!((found, rest), (expected.to_vec(), &[][..]), "{length} bytes at {offset}");
        assert_eq!(record, vec![7; length]);
    }

    #[test]
    fn records_are_parted_at_the_borders_of_blocks() {
        // A block has room for 32,761 bytes of one record; the first for 32,754, behind the header.
        for (length, expected) in [
            (32_753, vec![(1, 32_753)]),
            (32_754, vec![(1, 32_754)]),
            (32_755, vec![(2, 32_754), (4, 1)]),
            (32_761, vec![(2, 32_754), (4, 7)]),
            (32_769, vec![(2, 32_754), (4, 15)]),
            (65_515, vec![(2, 32_754), (4, 32_761)]),
            (65_516, vec![(2, 32_754), (3, 32_761), (4, 1)]),
        ] {
            check(7, length, 0, &expected);
        }
        for length in 32_753..=32_769 {
            let rest = usize::saturating_sub(length, 32_761);
            let whole = vec![(1, length)];
            let expected = if rest == 0 { whole } else { vec![(2, 32_761), (4, rest)] };
            check(3 * 32_768, length, 0, &expected);
        }
        // The last bytes of a block: a part without bytes, or no place for the header of one.
        check(32_768 - 8, 5, 0, &[(2, 1), (4, 4)]);
        check(32_768 - 7, 5, 0, &[(2, 0), (4, 5)]);
        for left in 1..7 {
            check(32_768 - left as u64, 5, left, &[(1, 5)]);
        }
    }
}
