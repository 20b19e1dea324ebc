//! `cargo xtask bench overlap`: the CNN on libtorch, whose gradients are exchanged after the backward pass and during it,
//! on two ranks of one thread each: over shared memory, over shared memory behind a link of 125 MB/s and 50 us, and as threads
//! of one process behind such a link.

use std::thread;

use super::Options;
use super::distributed::{Contestant, Row, Target, await_quiet, measure, on_ranks, refuse, show};
use super::figures::Figures;
use super::machine;
use super::programs::Programs;
use crate::workspace::Workspace;
use crate::{BoxError, peers};

/// Turns of a process, in each of which every way makes some steps.
const TURNS: &str = "3";

/// A step that overlaps, over one whose backward pass takes as long as the longer of it and the exchange.
const SLOW: Target = Target::AtMost(1.05);

/// A step that overlaps, over one that does not.
const SHARED: Target = Target::AtMost(1.0);

pub(crate) fn overlap(
    workspace: &Workspace,
    _options: &Options,
    figures: &mut Figures,
) -> Result<(), BoxError> {
    let cores = thread::available_parallelism()?.get() as f64;
    refuse(machine::load()?, cores)?;
    let [mpi, _] = peers::mpis(workspace)?;
    let torch = workspace.torch()?;
    let programs = Programs::build_torch(&torch)?;
    let program = programs.command("overlap-torch");
    let mut contestants = ["shared", "slow", "threads"].map(|link| {
        let mut command =
            if link == "threads" { programs.command("overlap-torch") } else { on_ranks(&mpi, 2, &program) };
        command.args([link, TURNS]).env("OMP_NUM_THREADS", "1");
        Contestant { name: "libtorch", command }
    });
    await_quiet(cores, figures)?;
    let mut rows = measure(&mut contestants)?;
    rows.extend(ratios(&rows));
    show(&rows, figures);
    Ok(())
}

/// The ratios of each round.
fn ratios(rows: &[Row]) -> Vec<Row> {
    let of = |link: &str, case: &str| rows.iter().find(|row| row.case == format!("libtorch/{link}: {case}"));
    let ratio = |link: &str, what: &str, target, of_round: &dyn Fn([f64; 5]) -> f64| {
        let cases = ["step alone", "step, exchange after", "step, exchange during", "backward", "exchange"];
        let [alone, after, during, backward, exchange] = cases.map(|case| of(link, case));
        let rows = [alone?, after?, during?, backward?, exchange?];
        let rounds = 0..rows.iter().map(|row| row.values.len()).min().unwrap_or(0);
        Some(Row {
            case: format!("libtorch/{link}: {what}"),
            metric: "ratio".into(),
            unit: "ratio".into(),
            values: rounds.map(|round| of_round(rows.each_ref().map(|row| row.values[round]))).collect(),
            others: rows.iter().map(|row| row.others).fold(0.0, f64::max),
            target,
        })
    };
    let to_after = |[_, after, during, ..]: [f64; 5]| during / after;
    let to_ideal = |[alone, _, during, backward, exchange]: [f64; 5]| {
        during / (alone - backward + backward.max(exchange))
    };
    let (ideal, after) = ("during over the longer of backward and exchange", "during over after");
    let ratios = [
        ratio("shared", after, Some(SHARED), &to_after),
        ratio("slow", after, None, &to_after),
        ratio("slow", ideal, Some(SLOW), &to_ideal),
        ratio("threads", after, None, &to_after),
        ratio("threads", ideal, Some(SLOW), &to_ideal),
    ];
    ratios.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_overlaps_is_held_against_the_longer_of_backward_and_exchange() {
        let row = |case: &str, values: [f64; 2]| Row {
            case: format!("libtorch/slow: {case}"),
            metric: "ms".into(),
            unit: "ms".into(),
            values: values.into(),
            others: 0.1,
            target: None,
        };
        // The backward pass is the longer one in the first round, and the exchange in the second.
        let rows = [
            row("step alone", [70.0, 70.0]),
            row("step, exchange after", [110.0, 150.0]),
            row("step, exchange during", [77.0, 120.0]),
            row("backward", [50.0, 50.0]),
            row("exchange", [40.0, 80.0]),
        ];
        let found: Vec<_> = ratios(&rows).into_iter().map(|row| (row.case, row.values, row.target)).collect();
        let of_round = |[first, second]: [f64; 2]| vec![first, second];
        let expected = [
            ("libtorch/slow: during over after".to_owned(), of_round([0.7, 0.8]), None),
            (
                "libtorch/slow: during over the longer of backward and exchange".to_owned(),
                of_round([1.1, 1.2]),
                Some(SLOW),
            ),
        ];
        assert_eq!(found, expected);
    }
}
