//! The edit distance of two sequences.

/// The edit distance of two sequences: the fewest insertions, deletions and substitutions of single elements that
/// make one of the other (Levenshtein, "Binary codes capable of correcting deletions, insertions, and reversals",
/// 1966).
///
/// Its time is the product of both lengths, and its memory the length of `b`.
///
/// ```
/// use regimen::metric::edit_distance;
///
/// let chars = |text: &str| text.chars().collect::<Vec<_>>();
/// assert_eq!(edit_distance(&chars("kitten"), &chars("sitting")), 3);
/// assert_eq!(edit_distance(&["the", "cat"], &["the", "old", "cat"]), 1);
/// ```
pub fn edit_distance<T: PartialEq>(a: &[T], b: &[T]) -> u64 {
    // Distances of the elements of `a` so far to each beginning of `b`.
    let mut row: Vec<u64> = (0..=b.len() as u64).collect();
    for (before, x) in (0..).zip(a) {
        let (mut diagonal, mut left) = (before, before + 1);
        row[0] = left;
        for (y, above) in b.iter().zip(&mut row[1..]) {
            left = (diagonal + u64::from(x != y)).min(left.min(*above) + 1);
            diagonal = std::mem::replace(above, left);
        }
    }
    row.last().copied().unwrap_or(0)
}
