//! Mutations of a file: a few changes of the kinds that damage or malice makes.

use regimen::random::Random;

/// Size limit of a mutated file, in bytes.
const LONGEST: usize = 64 * 1024;

/// Size of a zeroed range, as a power cut leaves part of a page.
const PAGE: usize = 512;

/// Bytes with a special meaning for some reader.
const BYTES: &[u8] = &[0, 1, 2, 8, 0x7F, 0x80, 0xFE, 0xFF, b'\n', b'\r', b'"', b',', b'0', b'9', b'-', b' '];

/// Numbers at the boundaries of arithmetic.
pub(super) const NUMBERS: [u64; 12] = [
    0,
    1,
    0x7F,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
    1 << 61,
    u64::MAX >> 1,
    u64::MAX - 1,
    u64::MAX,
];

/// Returns `bytes` with one to four mutations. `other` is a file of the same format to splice from,
/// and `words` is the dictionary of the format.
pub(super) fn mutated(bytes: &[u8], other: &[u8], words: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    // Few are more likely: a file with many is refused at the first.
    for _ in 0..=random.below(4).min(random.below(4)) {
        mutate(&mut bytes, other, words, random);
        bytes.truncate(LONGEST);
    }
    bytes
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], words: &[&[u8]], random: &mut Random) {
    let (from, to) = stretch(bytes.len(), random);
    match random.below(13) {
        0 => {
            if let Some(byte) = bytes.get_mut(from) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(from) {
                *byte = random.bits() as u8;
            }
        }
        2 => write(bytes, from, &[*pick(BYTES, random)]),
        3 => bytes.truncate(from),
        4 => drop(bytes.drain(from..to)),
        5 => {
            let part = bytes[from..to].to_vec();
            insert(bytes, to, &part);
        }
        6 => {
            let word = if words.is_empty() { &b"\0"[..] } else { pick(words, random) };
            insert(bytes, from, word);
        }
        7 => {
            let word = if words.is_empty() { &b"\xFF"[..] } else { pick(words, random) };
            write(bytes, from, word);
        }
        8 => {
            // Splice: the beginning of one file with the end of another.
            let (cut, _) = stretch(other.len(), random);
            bytes.truncate(from);
            bytes.extend_from_slice(&other[cut..]);
        }
        9 => {
            let page = from / PAGE * PAGE;
            let from = if random.below(2) == 0 { page } else { from };
            bytes.iter_mut().skip(from).take(PAGE).for_each(|byte| *byte = 0);
        }
        10 => {
            let number = pick(&NUMBERS, random).wrapping_add(random.below(2));
            let width = 1 << random.below(4);
            let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
            write(bytes, from, if random.below(2) == 0 { &little[..width] } else { &big[8 - width..] });
        }
        11 => {
            // Repeats a range many times, so that small costs add up.
            let times = random.below(2_000) as usize;
            let part: Vec<_> =
                bytes[from..to].iter().copied().cycle().take(LONGEST.min(times * (to - from))).collect();
            insert(bytes, to, &part);
        }
        _ => number(bytes, from, random),
    }
}

/// Replaces the first decimal number after `from`.
fn number(bytes: &mut Vec<u8>, from: usize, random: &mut Random) {
    let digit = |byte: &u8| byte.is_ascii_digit();
    let Some(start) = bytes[from..].iter().position(digit).map(|at| from + at) else { return };
    let length = bytes[start..].iter().take_while(|byte| digit(byte)).count();
    let number = pick(&NUMBERS, random).wrapping_sub(random.below(2));
    bytes.splice(start..start + length, number.to_string().into_bytes());
}

/// A random range of `length` bytes, usually short.
fn stretch(length: usize, random: &mut Random) -> (usize, usize) {
    let from = random.below(length as u64 + 1) as usize;
    let most = if random.below(2) == 0 { 16 } else { u64::MAX };
    (from, from + random.below(((length - from) as u64).min(most) + 1) as usize)
}

fn write(bytes: &mut [u8], at: usize, word: &[u8]) {
    bytes.iter_mut().skip(at).zip(word).for_each(|(byte, new)| *byte = *new);
}

fn insert(bytes: &mut Vec<u8>, at: usize, word: &[u8]) {
    bytes.splice(at..at, word.iter().copied());
}

pub(super) fn pick<'a, T>(of: &'a [T], random: &mut Random) -> &'a T {
    &of[random.below(of.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_changes_each_time_and_most_seeds_make_others() {
        let change = |seed| mutated(b"[1, 23, 456]", b"{}", &[b"null"], &mut Random::new(seed));
        let mut all: Vec<_> = (0..1000).map(change).collect();
        assert_eq!(all, (0..1000).map(change).collect::<Vec<_>>());
        all.sort();
        all.dedup();
        assert!(500 < all.len(), "{} of 1000", all.len());
    }

    #[test]
    fn nothing_at_all_can_be_changed_as_well() {
        for seed in 0..1000 {
            mutated(b"", b"", &[], &mut Random::new(seed));
        }
    }
}
