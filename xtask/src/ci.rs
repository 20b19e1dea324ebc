//! `cargo xtask ci`: runs every step, and prints a table of results.

use std::time::{Duration, Instant};

use crate::workspace::Workspace;
use crate::{BoxError, steps, table};

/// A check in the workspace `W`.
#[derive(Debug)]
pub(crate) struct Step<W = Workspace> {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&W) -> Result<End, BoxError>,
    /// If a gate fails, later steps do not run.
    pub(crate) is_gate: bool,
}

/// The end of a step.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    /// It ran; with a summary.
    Ran(String),
    /// It cannot run here; with the reason.
    NotRun(String),
    /// The check failed; with the reason.
    Failed(String),
}

/// Runs every step, even after a failure, so that one call reports all failures.
///
/// If [all is required](crate::requires_all), a step that cannot run counts as failed.
pub(crate) fn run() -> Result<(), BoxError> {
    let workspace = Workspace::open()?;
    println!("building in {}", workspace.target.display());
    let ends = run_steps(steps::STEPS, &workspace);
    print!("\n{}", show(&ends));
    verdict(&ends, crate::requires_all())
}

struct Ended {
    step: &'static str,
    took: Duration,
    end: End,
}

fn run_steps<W>(steps: &[Step<W>], workspace: &W) -> Vec<Ended> {
    let mut ends = Vec::new();
    let mut shut = None;
    for step in steps {
        println!("\n== {}", step.name);
        let begun = Instant::now();
        let end = match shut {
            Some(gate) => End::NotRun(format!("`{gate}` failed")),
            None => (step.run)(workspace).unwrap_or_else(|error| End::Failed(error.to_string())),
        };
        if let End::Failed(why) = &end {
            println!("{} failed: {why}", step.name);
            shut = shut.or(step.is_gate.then_some(step.name));
        }
        ends.push(Ended { step: step.name, took: begun.elapsed(), end });
    }
    ends
}

fn show(ends: &[Ended]) -> String {
    let head = ["step", "result", "time", "what / why"].map(str::to_owned);
    let row = |Ended { step, took, end }: &Ended| {
        let (result, text) = match end {
            End::Ran(text) => ("ran", text),
            End::NotRun(text) => ("NOT RUN", text),
            End::Failed(text) => ("FAILED", text),
        };
        [step.to_string(), result.to_owned(), format!("{:.1} s", took.as_secs_f64()), text.clone()]
    };
    let rows: Vec<_> = std::iter::once(head).chain(ends.iter().map(row)).collect();
    table::columns([false, false, true, false], &rows)
}

fn verdict(ends: &[Ended], require_all: bool) -> Result<(), BoxError> {
    let bad = |end: &End| match end {
        End::Ran(_) => false,
        End::NotRun(_) => require_all,
        End::Failed(_) => true,
    };
    let bad: Vec<_> = ends.iter().filter(|ended| bad(&ended.end)).map(|ended| ended.step).collect();
    if bad.is_empty() { Ok(()) } else { Err(format!("not passed: {}", bad.join(", ")).into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNS: Step<()> = Step { name: "runs", run: |()| Ok(End::Ran("3 tests".into())), is_gate: true };
    const LACKS: Step<()> =
        Step { name: "lacks", run: |()| Ok(End::NotRun("no disk".into())), is_gate: true };
    const FAILS: Step<()> = Step { name: "fails", run: |()| Err("bad".into()), is_gate: false };
    const SHUTS: Step<()> = Step { name: "shuts", run: |()| Err("worse".into()), is_gate: true };

    fn check(steps: &[Step<()>], require_all: bool, table: &str, verdict_is: &str) {
        let mut ends = run_steps(steps, &());
        ends.iter_mut().for_each(|ended| ended.took = Duration::ZERO);
        assert_eq!(show(&ends).lines().skip(1).collect::<Vec<_>>().join("\n"), table);
        let verdict =
            verdict(&ends, require_all).map_or_else(|error| error.to_string(), |()| "passed".to_owned());
        assert_eq!(verdict, verdict_is);
    }

    #[test]
    fn a_failed_step_does_not_hide_the_next() {
        check(
            &[FAILS, RUNS],
            false,
            "fails  FAILED  0.0 s  bad\nruns   ran     0.0 s  3 tests",
            "not passed: fails",
        );
    }

    #[test]
    fn nothing_is_run_behind_a_gate_that_failed() {
        let table = "shuts  FAILED   0.0 s  worse\nruns   NOT RUN  0.0 s  `shuts` failed";
        check(&[SHUTS, RUNS], false, table, "not passed: shuts");
    }

    #[test]
    fn what_cannot_be_run_fails_only_where_all_is_required() {
        let table = "lacks  NOT RUN  0.0 s  no disk\nruns   ran      0.0 s  3 tests";
        check(&[LACKS, RUNS], false, table, "passed");
        check(&[LACKS, RUNS], true, table, "not passed: lacks");
    }
}
