//! Microseconds in which ranks add up numbers, headers included: `sums ROUNDS`.

use std::time::Instant;

use regimen::BoxError;
use regimen::engine::Bucket;
use regimen_bench::{figure, median};
use regimen_dist::{barrier, init};

/// The lengths of `bench/peers/distributed.py` and `bench/peers/mpi.py` too.
const LENGTHS: [usize; 4] = [1, 10_000, 100_000, 1_000_000];

fn main() -> Result<(), BoxError> {
    let rounds: usize = std::env::args().nth(1).ok_or("usage: sums ROUNDS")?.parse()?;
    let peers = init()?;
    for length in LENGTHS {
        let mut numbers = vec![0.0; length];
        let mut times = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            barrier(&*peers)?;
            let begun = Instant::now();
            peers.sum(Bucket::F32(&mut numbers))?;
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        if peers.rank().is_first() {
            figure(&format!("{length} f32"), "us_per_sum", median(times), "us")?;
        }
    }
    Ok(())
}
