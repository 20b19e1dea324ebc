//! A measure counted at once, and in parts that are merged.

use std::fmt::Debug;
use std::ops::Range;

use regimen::BoxError;
use regimen::metric::Measure;
use regimen::random::Random;

/// Returns the measure of samples 0 to `samples`, and the same of 2 to 5 parts that are merged. Each part is counted
/// in two batches, and is saved and loaded between them.
pub(crate) fn at_once_and_merged<M: Measure + Debug>(
    empty: &M,
    samples: usize,
    random: &mut Random,
    count: impl Fn(&mut M, Range<usize>) -> Result<(), BoxError>,
) -> Result<[M; 2], BoxError> {
    let mut whole = empty.clone();
    count(&mut whole, 0..samples)?;
    let mut cuts: Vec<usize> =
        (0..1 + random.below(4)).map(|_| random.below(samples as u64 + 1) as usize).collect();
    cuts.extend([0, samples]);
    cuts.sort_unstable();
    let mut merged = empty.clone();
    for part in cuts.windows(2) {
        let middle = part[0] + random.below((part[1] - part[0]) as u64 + 1) as usize;
        let (mut first, mut second) = (empty.clone(), empty.clone());
        count(&mut first, part[0]..middle)?;
        second.check_state_dict(&first.state_dict()?)?;
        second.load_state_dict(&first.state_dict()?)?;
        count(&mut second, middle..part[1])?;
        merged.merge(&second)?;
    }
    Ok([whole, merged])
}
