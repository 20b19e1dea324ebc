//! Sums over ranks.

use regimen_core::BoxError;
use regimen_core::engine::Bucket;
use regimen_core::peers::Peers;
use regimen_core::random::Random;

use super::ensure;

/// None, few, and more than any transport sends at once.
const LENGTHS: [usize; 5] = [0, 1, 3, 1_000, 20_001];

/// The numbers of one rank. Their sizes differ so much that their sum depends on its order.
fn numbers(rank: u64, length: usize) -> Vec<f64> {
    let mut random = Random::new(rank);
    (0..length).map(|i| random.normal() * [1.0, 1e-3, 1e3][i % 3] * [1.0, 1e2][(rank % 2) as usize]).collect()
}

/// A sum adds up each element over all ranks, in both types and for any length.
pub fn a_sum_is_of_all_ranks(peers: &dyn Peers) -> Result<(), BoxError> {
    let rank = peers.rank();
    for length in LENGTHS {
        let all: Vec<Vec<f64>> = (0..rank.count).map(|rank| numbers(rank, length)).collect();
        let mut double = all[rank.index as usize].clone();
        let mut single: Vec<f32> = double.iter().map(|&number| number as f32).collect();
        peers.sum(Bucket::F32(&mut single))?;
        peers.sum(Bucket::F64(&mut double))?;
        for i in 0..length {
            let (mut sum, mut size) = (0.0, 0.0);
            for own in &all {
                sum += own[i];
                size += own[i].abs();
            }
            for (found, relative) in [(f64::from(single[i]), 1e-6), (double[i], 1e-15)] {
                let bound = size * relative * rank.count as f64;
                let wrong = format!("element {i} of {length} is {found}, and not {sum}");
                ensure((found - sum).abs() <= bound, wrong)?;
            }
        }
    }
    Ok(())
}

/// NaN and infinity of one rank are in the sum of all.
pub fn a_sum_is_not_finite_if_one_is_not(peers: &dyn Peers) -> Result<(), BoxError> {
    let is_last = peers.rank().index + 1 == peers.rank().count;
    let mut values = if is_last { [f64::NAN, f64::INFINITY, 1.0] } else { [1.0; 3] };
    peers.sum(Bucket::F64(&mut values))?;
    let sum = peers.rank().count as f64;
    let right = values[0].is_nan() && values[1..] == [f64::INFINITY, sum];
    ensure(right, format!("NaN, infinity and {sum} became {values:?}"))
}

/// The bits of a sum are the same on every rank, and the same if the sum is made again.
pub fn a_sum_has_the_same_bits_on_all_and_each_time(peers: &dyn Peers) -> Result<(), BoxError> {
    for length in LENGTHS {
        let own = numbers(peers.rank().index, length);
        let once = || -> Result<Vec<u8>, BoxError> {
            let mut double = own.clone();
            let mut single: Vec<f32> = double.iter().map(|&number| number as f32).collect();
            peers.sum(Bucket::F32(&mut single))?;
            peers.sum(Bucket::F64(&mut double))?;
            let single = single.iter().flat_map(|number| number.to_le_bytes());
            Ok(single.chain(double.iter().flat_map(|number| number.to_le_bytes())).collect())
        };
        let bits = once()?;
        for (rank, others) in peers.gather(&bits)?.iter().enumerate() {
            ensure(*others == bits, format!("the sum of {length} has other bits on rank {rank}"))?;
        }
        // No rank may leave before the others while they still compare.
        peers.gather(&[])?;
        ensure(once()? == bits, format!("the sum of {length} has other bits when it is made again"))?;
    }
    Ok(())
}
