//! Overhead of `AutoUnit` per training step on Burn, compared with the same step written by hand.
//!
//! `autounit time` measures every case; `autounit list` prints their names;
//! `autounit steps CASE WHO N` makes N steps and prints nothing, for instruction counters.

mod by_hand;
mod by_unit;
mod network;

use std::time::Instant;

use network::{Mlp, Network};
use regimen::BoxError;
use regimen_bench::{figure, median, rounds};
use regimen_examples::network::ConvNet;

/// A benchmark case: network, batch and step.
#[derive(Clone, Copy, Debug)]
struct Case {
    network: &'static str,
    batch: usize,
    /// Gradient accumulation over two steps, with clipping by norm.
    accumulated: bool,
    by_hand: fn(Case, usize) -> Result<f64, BoxError>,
    by_unit: fn(Case, usize) -> Result<f64, BoxError>,
    /// Steps per measurement, for about a tenth of a second.
    steps: usize,
}

const CASES: [Case; 6] = [
    Case::of::<ConvNet>(8, false, 100),
    Case::of::<ConvNet>(64, false, 40),
    Case::of::<ConvNet>(64, true, 40),
    Case::of::<Mlp>(8, false, 1_000),
    Case::of::<Mlp>(64, false, 1_000),
    Case::of::<Mlp>(64, true, 1_000),
];

const ROUNDS: usize = 9;
const SEED: u64 = 7;
const LEARNING_RATE: f64 = 1e-3;
const MAX_NORM: f64 = 1.0;
/// Steps per epoch. Even, so that the epoch ends with a complete window.
const BATCHES: usize = 20;

fn main() -> Result<(), BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["time"] => CASES.into_iter().try_for_each(time),
        ["list"] => Ok(CASES.iter().try_for_each(|case| regimen_bench::line(&case.name()))?),
        ["steps", name, who, steps] => {
            let case = CASES.into_iter().find(|case| case.name() == *name);
            let case = case.ok_or_else(|| format!("unknown case `{name}`"))?;
            let run = if *who == "hand" { case.by_hand } else { case.by_unit };
            run(case, steps.parse()?).map(drop)
        }
        _ => Err("usage: autounit time | list | steps CASE (hand|autounit) N".into()),
    }
}

/// Measures both in turns. The result is the median of the ratios of the rounds.
fn time(case: Case) -> Result<(), BoxError> {
    let seconds = |run: fn(Case, usize) -> Result<f64, BoxError>| {
        let begun = Instant::now();
        run(case, case.steps).map(|_| begun.elapsed().as_secs_f64())
    };
    let times = rounds(ROUNDS, &mut [&mut || seconds(case.by_hand), &mut || seconds(case.by_unit)])?;
    let name = format!("{}/autounit_over_hand", case.name());
    let ratios = times[0].iter().zip(&times[1]).map(|(hand, unit)| unit / hand).collect();
    figure(&name, "time_ratio", median(ratios), "ratio")?;
    Ok(figure(&name, "hand_ms_per_step", median(times[0].clone()) / case.steps as f64 * 1e3, "ms")?)
}

impl Case {
    const fn of<N: Network>(batch: usize, accumulated: bool, steps: usize) -> Case {
        let (by_hand, by_unit) = (by_hand::train::<N>, by_unit::train::<N>);
        Case { network: N::NAME, batch, accumulated, by_hand, by_unit, steps }
    }

    fn name(&self) -> String {
        let accumulated = if self.accumulated { "/accumulate=2,clip" } else { "" };
        format!("{}/batch={}{accumulated}", self.network, self.batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hand_and_the_unit_do_the_same_work() {
        for case in CASES {
            let [hand, unit] = [case.by_hand, case.by_unit].map(|run| run(case, 6).unwrap());
            assert_eq!(hand, unit, "the loss of {}", case.name());
        }
    }
}
