//! Keyed permutation: a shuffled order that needs no memory.
//!
//! Large orders are a Feistel network over a nearly square grid of indices, with cycle walking
//! (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002); small ones are a table.

use regimen_core::random::Random;

/// A permutation of `0..n`, one of many, chosen by a key.
///
/// Any position is answered in constant time and the whole takes constant memory, so a shuffled
/// epoch can be entered anywhere at no cost.
///
/// ```
/// use regimen::data::Permutation;
/// let order = Permutation::new(1_000_000_000_000, 42);
/// assert!(order.index(999_999_999_999) < 1_000_000_000_000);
/// ```
#[derive(Clone, Debug)]
pub struct Permutation {
    len: u64,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    /// Every index by its position. A network over so few indices would mix too slowly: some
    /// orders would come up more often than others.
    Table(Box<[u8]>),
    /// An index is `row * columns + column`; each key moves the row or the column in turn.
    Network { rows: u64, columns: u64, keys: [u64; ROUNDS] },
}

/// Up to this many indices are kept as a table.
const SMALL: u64 = 256;

const ROUNDS: usize = 8;

impl Permutation {
    /// The permutation of `0..len` that belongs to `key`.
    pub fn new(len: u64, key: u64) -> Self {
        let mut random = Random::new(key);
        let shape = if len <= SMALL {
            let mut table: Box<[u8]> = (0..len).map(|index| index as u8).collect();
            for last in (1..table.len()).rev() {
                table.swap(last, random.below(last as u64 + 1) as usize);
            }
            Shape::Table(table)
        } else {
            let columns = len.isqrt();
            Shape::Network {
                rows: len.div_ceil(columns),
                columns,
                keys: std::array::from_fn(|_| random.bits()),
            }
        };
        Permutation { len, shape }
    }

    /// The number of indices.
    #[allow(clippy::len_without_is_empty, reason = "an order of nothing is of no use to ask for")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The index at `position`, which is below [`len`](Self::len); a position beyond has none,
    /// and is given back as it is.
    pub fn index(&self, position: u64) -> u64 {
        if position >= self.len {
            return position;
        }
        match &self.shape {
            Shape::Table(table) => u64::from(table[position as usize]),
            Shape::Network { rows, columns, keys } => {
                let (mut row, mut column) = (position / columns, position % columns);
                // The grid has a few cells more than there are indices. Walking on from such a
                // cell ends at an index, because the walk is a cycle and began at one.
                loop {
                    for pair in keys.chunks_exact(2) {
                        column = add(column, Random::new(pair[0] ^ row).below(*columns), *columns);
                        row = add(row, Random::new(pair[1] ^ column).below(*rows), *rows);
                    }
                    match row.checked_mul(*columns).and_then(|start| start.checked_add(column)) {
                        Some(index) if index < self.len => return index,
                        _ => {}
                    }
                }
            }
        }
    }
}

/// `a + b` modulo `n`, of numbers below `n`. Both are far below 2^63: they are rows or columns.
fn add(a: u64, b: u64, n: u64) -> u64 {
    let sum = a + b;
    if sum < n { sum } else { sum - n }
}

#[cfg(test)]
mod tests {
    use regimen_core::random::keyed;

    use super::Permutation;

    /// The unevenness of counts: chi-squared in deviations from its mean.
    fn unevenness(counts: &[u64]) -> f64 {
        let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
        let chi: f64 = counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum();
        let freedom = (counts.len() - 1) as f64;
        (chi - freedom) / (2.0 * freedom).sqrt()
    }

    fn keyed_by(len: u64, trial: u64) -> Permutation {
        Permutation::new(len, keyed(7, "test", len, trial))
    }

    #[test]
    fn every_index_comes_up_once() {
        for len in [0, 1, 2, 3, 255, 256, 257, 258, 272, 289, 290, 1000, 4096, 65_535, 65_537, 99_991] {
            for trial in 0..3 {
                let order = keyed_by(len, trial);
                let mut seen = vec![false; len as usize];
                (0..len).for_each(|position| seen[order.index(position) as usize] = true);
                assert!(seen.iter().all(|&seen| seen), "length {len}");
            }
        }
    }

    #[test]
    fn the_largest_lengths_are_walked_without_overflow() {
        for len in [u64::from(u32::MAX), 1 << 40, u64::MAX - 1, u64::MAX] {
            let order = keyed_by(len, 0);
            for position in [0, 1, len / 2, len - 1] {
                assert!(order.index(position) < len);
            }
        }
    }

    #[test]
    fn every_order_of_five_is_as_likely_as_any_other() {
        let mut counts = std::collections::BTreeMap::new();
        for trial in 0..24_000 {
            let order = keyed_by(5, trial);
            let order: Vec<u64> = (0..5).map(|position| order.index(position)).collect();
            *counts.entry(order).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 120);
        let counts: Vec<u64> = counts.into_values().collect();
        assert!(unevenness(&counts).abs() < 4.0);
    }

    #[test]
    fn any_position_holds_any_index_equally_often() {
        for len in [7, 100, 257, 300, 1000] {
            for position in [0, 1, len / 2, len - 1] {
                let mut counts = vec![0; len as usize];
                (0..len * 100).for_each(|trial| counts[keyed_by(len, trial).index(position) as usize] += 1);
                assert!(unevenness(&counts).abs() < 4.5, "position {position} of {len}");
            }
        }
    }

    #[test]
    fn neighbours_end_up_any_distance_apart_equally_often() {
        for len in [257_u64, 1000] {
            // In the same column, in the same row, and across the rows of the network.
            for (a, b) in [(0, 1), (0, len.isqrt()), (len - 2, len - 1)] {
                let mut counts = vec![0; len as usize - 1];
                for trial in 0..len * 200 {
                    let order = keyed_by(len, trial);
                    let distance = (order.index(a) + len - order.index(b)) % len;
                    counts[distance as usize - 1] += 1;
                }
                assert!(unevenness(&counts).abs() < 4.5, "{a} and {b} of {len}");
            }
        }
    }

    /// A random permutation has about ln n cycles and one fixed point: short cycles would be a
    /// sign of a network that leaves parts of the order in place.
    #[test]
    fn cycles_are_as_few_as_those_of_a_random_permutation() {
        let (len, trials) = (1000, 2000);
        let (mut cycles, mut fixed) = (0, 0);
        for trial in 0..trials {
            let order = keyed_by(len, trial);
            let mut seen = vec![false; len as usize];
            for start in 0..len {
                let mut at = start;
                cycles += u64::from(!seen[at as usize]);
                fixed += u64::from(order.index(at) == at);
                while !std::mem::replace(&mut seen[at as usize], true) {
                    at = order.index(at);
                }
            }
        }
        let harmonic: f64 = (1..=len).map(|k| 1.0 / k as f64).sum();
        let mean = cycles as f64 / trials as f64;
        assert!((mean - harmonic).abs() < 5.0 * (harmonic / trials as f64).sqrt(), "{mean} cycles");
        let fixed = fixed as f64 / trials as f64;
        assert!((fixed - 1.0).abs() < 5.0 / (trials as f64).sqrt(), "{fixed} fixed points");
    }
}
