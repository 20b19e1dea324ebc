//! Measures how long the ranks take to add up numbers: `mpirun -n 2 sum-times [ROUNDS]`.
#![allow(clippy::print_stdout, reason = "a program talks to a terminal")]

use std::time::Instant;

use regimen_core::BoxError;
use regimen_core::engine::Bucket;
use regimen_dist::{barrier, init};

fn main() -> Result<(), BoxError> {
    let rounds = std::env::args().nth(1).map_or(Ok(100), |rounds| rounds.parse())?;
    let peers = init()?;
    let rank = peers.rank();
    for length in [1, 10_000, 1_000_000] {
        let mut numbers = vec![rank.index as f32; length];
        let mut times = Vec::new();
        for _ in 0..rounds {
            barrier(&*peers)?;
            let begun = Instant::now();
            peers.sum(Bucket::F32(&mut numbers))?;
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        times.sort_by(f64::total_cmp);
        // Ranks that wait keep a core busy, so only the fastest round is not of the others on the machine.
        if let (0, [fastest, ..]) = (rank.index, &times[..]) {
            let (median, ranks) = (times[times.len() / 2], rank.count);
            println!("{ranks} ranks, {length:7} f32: median {median:8.1} us, fastest {fastest:8.1} us");
        }
    }
    Ok(())
}
