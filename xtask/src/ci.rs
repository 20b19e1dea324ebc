//! `cargo xtask ci [STEP ...]`: runs every step, or the named ones, and prints a table of results.

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

/// Runs every step, or the `named` ones, even after a failure, so that one call reports all failures.
///
/// If [all is required](crate::requires_all), a step that cannot run counts as failed.
pub(crate) fn run(named: &[&str]) -> Result<(), BoxError> {
    if let Some(unknown) = named.iter().find(|name| steps::STEPS.iter().all(|step| step.name != **name)) {
        let steps: Vec<_> = steps::STEPS.iter().map(|step| step.name).collect();
        return Err(format!("no step is called `{unknown}`: the steps are {}", steps.join(", ")).into());
    }
    let chosen = steps::STEPS.iter().filter(|step| named.is_empty() || named.contains(&step.name));
    let workspace = Workspace::open()?;
    println!("building in {}", workspace.target.display());
    let ends = run_steps(chosen, &workspace);
    print!("\n{}\n{}", show(&ends), slowest(&ends));
    verdict(&ends, crate::requires_all())
}

struct Ended {
    step: &'static str,
    took: Duration,
    end: End,
}

fn run_steps<'s, W: 's>(steps: impl IntoIterator<Item = &'s Step<W>>, workspace: &W) -> Vec<Ended> {
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

/// The three steps that took longest, and how long all took.
fn slowest(ends: &[Ended]) -> String {
    let mut by_time: Vec<&Ended> = ends.iter().collect();
    by_time.sort_by_key(|ended| std::cmp::Reverse(ended.took));
    let longest = by_time.iter().take(3).map(|ended| format!("{} {}", ended.step, minutes(ended.took)));
    let all = ends.iter().map(|ended| ended.took).sum();
    format!("all took {}; longest: {}\n", minutes(all), longest.collect::<Vec<_>>().join(", "))
}

/// Minutes and seconds, as `2:05`.
fn minutes(took: Duration) -> String {
    let seconds = took.as_secs_f64().round() as u64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
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
    fn the_three_longest_steps_are_told_and_the_time_of_all() {
        let times = [("build", 100.4), ("lint", 65.6), ("tests", 200.0), ("docs", 0.2)];
        let ends = times.map(|(step, seconds)| Ended {
            step,
            took: Duration::from_secs_f64(seconds),
            end: End::Ran(String::new()),
        });
        assert_eq!(slowest(&ends), "all took 6:06; longest: tests 3:20, build 1:40, lint 1:06\n");
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
