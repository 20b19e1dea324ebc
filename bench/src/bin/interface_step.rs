//! Nanoseconds and allocations that `AutoUnit`, `Runner` and `FitLoop` add to a step written by hand.
//!
//! A step is the difference between a long and a short run, divided by the difference in steps. The fixed cost of a run
//! cancels.

use std::time::Instant;

use regimen::BoxError;
use regimen_bench::{Counting, Interface, allocations, figure, median, rounds, small_run};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SHORT: usize = 1_000;
const LONG: usize = 101_000;
const ROUNDS: usize = 9;

fn main() -> Result<(), BoxError> {
    for metric in [false, true] {
        let mut contestants =
            Interface::ALL.map(|interface| move || per_step(interface, metric, nanoseconds));
        let mut contestants: Vec<_> =
            contestants.iter_mut().map(|run| run as &mut dyn FnMut() -> _).collect();
        let times = rounds::<BoxError>(ROUNDS, &mut contestants)?;
        let [hand, others @ ..] = &times[..] else { return Err("nothing was measured".into()) };
        let case = |name: &str| format!("{name}{}", if metric { ", one metric" } else { "" });
        figure(&case("hand"), "ns_per_step", median(hand.clone()), "ns")?;
        let allocated_by_hand = per_step(Interface::Hand, metric, allocated)?;
        for (interface, times) in Interface::ALL[1..].iter().zip(others) {
            let name = case(&format!("{interface:?}/over_hand"));
            let added = times.iter().zip(hand).map(|(time, hand)| time - hand).collect();
            figure(&name, "ns_per_step", median(added), "ns")?;
            let allocated = per_step(*interface, metric, allocated)? - allocated_by_hand;
            figure(&name, "allocs_per_step", allocated, "allocations")?;
        }
    }
    Ok(())
}

type Cost = fn(Interface, bool, usize) -> Result<f64, BoxError>;

fn per_step(interface: Interface, metric: bool, cost: Cost) -> Result<f64, BoxError> {
    Ok((cost(interface, metric, LONG)? - cost(interface, metric, SHORT)?) / (LONG - SHORT) as f64)
}

fn nanoseconds(interface: Interface, metric: bool, steps: usize) -> Result<f64, BoxError> {
    let begun = Instant::now();
    small_run(interface, metric, steps)?;
    Ok(begun.elapsed().as_secs_f64() * 1e9)
}

fn allocated(interface: Interface, metric: bool, steps: usize) -> Result<f64, BoxError> {
    let before = allocations();
    small_run(interface, metric, steps)?;
    Ok((allocations() - before) as f64)
}
