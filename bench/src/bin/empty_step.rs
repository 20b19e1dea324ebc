//! Nanoseconds and allocations of an empty step, with callbacks and without.
//!
//! Both are the difference between a long and a short run, divided by the difference in steps. The
//! fixed cost of a run cancels. Called with numbers of callbacks and steps, it makes one such run, whose instructions
//! are counted.

use std::time::Instant;

use regimen::Error;
use regimen_bench::{CALLBACKS, Counting, allocations, empty_run, figure, median, profiled_run, rounds};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SHORT: usize = 1_000;
const LONG: usize = 501_000;
const ROUNDS: usize = 9;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let [callbacks, steps] = &*std::env::args().skip(1).collect::<Vec<_>>() {
        return Ok(empty_run(callbacks.parse()?, steps.parse()?)?);
    }
    let mut contestants = CALLBACKS.map(|callbacks| move || per_step(callbacks, nanoseconds));
    let mut contestants: Vec<_> = contestants.iter_mut().map(|run| run as &mut dyn FnMut() -> _).collect();
    let times = rounds::<Error>(ROUNDS, &mut contestants)?;
    for (callbacks, times) in CALLBACKS.into_iter().zip(times) {
        figure(&format!("empty/{callbacks}"), "ns_per_step", median(times), "ns")?;
        let allocated = per_step(callbacks, allocated)?;
        figure(&format!("empty/{callbacks}"), "allocs_per_step", allocated, "allocations")?;
    }
    let mut contestants = CALLBACKS.map(|callbacks| move || per_step(callbacks, profiled));
    let mut contestants: Vec<_> = contestants.iter_mut().map(|run| run as &mut dyn FnMut() -> _).collect();
    let times = rounds::<Error>(ROUNDS, &mut contestants)?;
    for (callbacks, times) in CALLBACKS.into_iter().zip(times) {
        figure(&format!("empty/{callbacks}/profile"), "ns_per_step", median(times), "ns")?;
    }
    Ok(())
}

fn profiled(callbacks: usize, steps: usize) -> Result<f64, Error> {
    let begun = Instant::now();
    profiled_run(callbacks, steps)?;
    Ok(begun.elapsed().as_secs_f64() * 1e9)
}

fn per_step(callbacks: usize, cost: fn(usize, usize) -> Result<f64, Error>) -> Result<f64, Error> {
    Ok((cost(callbacks, LONG)? - cost(callbacks, SHORT)?) / (LONG - SHORT) as f64)
}

fn nanoseconds(callbacks: usize, steps: usize) -> Result<f64, Error> {
    let begun = Instant::now();
    empty_run(callbacks, steps)?;
    Ok(begun.elapsed().as_secs_f64() * 1e9)
}

fn allocated(callbacks: usize, steps: usize) -> Result<f64, Error> {
    let before = allocations();
    empty_run(callbacks, steps)?;
    Ok((allocations() - before) as f64)
}
