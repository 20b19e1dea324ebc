//! `regimen runs`: the runs below a directory, beside each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use regimen::BoxError;
use regimen::text::Short;
use regimen_report::{Curve, RunState, StoredRun, find_runs, names};
use serde::Serialize;
use serde_json::Value;

use crate::output;
use crate::output::Number;
use crate::table::Table;

#[derive(Serialize)]
struct Runs {
    runs: Vec<Row>,
    /// Names of hyper-parameters that differ between the runs.
    differing: BTreeSet<String>,
    #[serde(skip)]
    metrics: Vec<String>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    path: String,
    state: RunState,
    step: u64,
    epoch: Option<u64>,
    /// Seconds of training, without pauses.
    seconds: Option<f64>,
    metrics: BTreeMap<String, Values>,
    hyper_parameters: BTreeMap<String, Value>,
    damage: Vec<String>,
}

#[derive(Clone, Copy, Serialize)]
struct Values {
    last: Number,
    best: Number,
    best_step: u64,
}

/// Lists the runs below `dir`.
pub(crate) fn runs(
    dir: &Path,
    metrics: Vec<String>,
    sort: Option<String>,
    max: bool,
    json: bool,
) -> Result<ExitCode, BoxError> {
    let found = find_runs(dir)?;
    if found.is_empty() {
        return Err(format!("`{}` has no run: no directory with metrics.jsonl", dir.display()).into());
    }
    let (mut rows, mut known) = (Vec::new(), BTreeSet::new());
    for (folder, name) in found.iter().zip(names(&found)) {
        let run = StoredRun::read(folder)?;
        known.extend(run.curves.iter().map(|curve| curve.key().name.clone()));
        rows.push(Row::of(name, run, max));
    }
    let asked = metrics.iter().chain(&sort);
    if let Some(unknown) = asked.into_iter().find(|metric| !known.contains(*metric)) {
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        return Err(format!("no run has a metric `{unknown}`; there are {known}").into());
    }
    if let Some(metric) = &sort {
        let best = |row: &Row| {
            row.metrics.get(metric).map(|values| if max { -values.best.0 } else { values.best.0 })
        };
        // Runs without a value are behind the others.
        rows.sort_by(|a, b| {
            best(a)
                .is_none()
                .cmp(&best(b).is_none())
                .then_with(|| best(a).unwrap_or(0.0).total_cmp(&best(b).unwrap_or(0.0)))
        });
    }
    let mut metrics = metrics;
    if metrics.is_empty() {
        metrics = known.into_iter().filter(|name| name.contains("loss")).collect();
    }
    metrics.extend(sort.filter(|metric| !metrics.contains(metric)));
    let differing = differing(&rows);
    output::write(&Runs { runs: rows, differing, metrics }, json)?;
    Ok(ExitCode::SUCCESS)
}

impl Row {
    fn of(name: String, run: StoredRun, max: bool) -> Self {
        let mut metrics: BTreeMap<String, Values> = BTreeMap::new();
        for curve in &run.curves {
            // The curve over epochs is behind that of steps, and is the better measure.
            metrics.extend(Values::of(curve, max).map(|values| (curve.key().name.clone(), values)));
        }
        Row {
            name,
            path: run.folder.display().to_string(),
            state: run.state,
            step: run.step,
            epoch: run.epochs(),
            seconds: run.axes.seconds.last(),
            metrics,
            hyper_parameters: run.hyper_parameters,
            damage: run.damage,
        }
    }
}

impl Values {
    fn of(curve: &Curve, max: bool) -> Option<Self> {
        let (_, last) = curve.last()?;
        let (best_step, best) = if max { curve.max() } else { curve.min() }?;
        Some(Values { last: Number(last), best: Number(best), best_step })
    }
}

/// Names whose values are not the same in all rows.
fn differing(rows: &[Row]) -> BTreeSet<String> {
    let all: BTreeSet<&String> = rows.iter().flat_map(|row| row.hyper_parameters.keys()).collect();
    let differs = |name: &&String| {
        let mut values = rows.iter().map(|row| row.hyper_parameters.get(*name));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    all.into_iter().filter(differs).cloned().collect()
}

/// Hours, minutes and seconds.
fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut heads = vec!["run".to_owned(), "state".to_owned()];
        heads.extend(self.differing.iter().cloned());
        heads.extend(["step", "epoch", "time"].map(str::to_owned));
        heads.extend(
            self.metrics.iter().flat_map(|metric| [metric.clone(), "best".to_owned(), "at".to_owned()]),
        );
        let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
        let mut table = Table::new(&heads, 3 + 3 * self.metrics.len());
        for row in &self.runs {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let setting = |name| row.hyper_parameters.get(name).map(text).unwrap_or_default();
            let mut cells = vec![row.name.clone(), row.state.name().to_owned()];
            cells.extend(self.differing.iter().map(setting));
            cells.push(row.step.to_string());
            cells.push(row.epoch.map(|epoch| epoch.to_string()).unwrap_or_default());
            cells.push(row.seconds.map(clock).unwrap_or_default());
            for metric in &self.metrics {
                cells.extend(match row.metrics.get(metric) {
                    Some(Values { last, best, best_step }) => {
                        [Short(last.0).to_string(), Short(best.0).to_string(), best_step.to_string()]
                    }
                    None => [String::new(), String::new(), String::new()],
                });
            }
            table.row(cells);
        }
        write!(f, "{table}")?;
        for row in &self.runs {
            row.damage.iter().try_for_each(|damage| writeln!(f, "{}: {damage}", row.name))?;
        }
        Ok(())
    }
}
