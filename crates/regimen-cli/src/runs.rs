//! `regimen runs`: the runs below a directory, beside each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use regimen::BoxError;
use regimen::text::Short;
use regimen_report::{Curve, FoundRuns, RunState, StoredRun, find_runs, names};
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
    /// A sentence per directory that cannot be read.
    damage: Vec<String>,
    #[serde(skip)]
    metrics: Vec<String>,
    /// Whether the table shows the largest values and not the smallest.
    #[serde(skip)]
    max: bool,
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
    min: Number,
    min_step: u64,
    max: Number,
    max_step: u64,
}

/// Lists the runs below `dir`.
pub(crate) fn runs(
    dir: &Path,
    metrics: Vec<String>,
    sort: Option<String>,
    max: bool,
    json: bool,
) -> Result<ExitCode, BoxError> {
    let FoundRuns { folders, mut damage, .. } = find_runs(dir)?;
    let (mut rows, mut known) = (Vec::new(), BTreeSet::new());
    for (folder, name) in folders.iter().zip(names(&folders)) {
        match StoredRun::without_pictures(folder) {
            Ok(run) => {
                known.extend(run.curves.iter().map(|curve| curve.key().name.clone()));
                rows.push(Row::of(name, run));
            }
            // Others can still be read.
            Err(cause) => damage.push(cause.to_string()),
        }
    }
    let asked = metrics.iter().chain(&sort);
    if let Some(unknown) = asked.into_iter().find(|metric| !known.contains(*metric)) {
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        return Err(format!("no run has a metric `{unknown}`; there are {known}").into());
    }
    if let Some(metric) = &sort {
        let best =
            |row: &Row| row.metrics.get(metric).map(|values| if max { -values.max.0 } else { values.min.0 });
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
    output::write(&Runs { runs: rows, differing, damage, metrics, max }, json)?;
    Ok(ExitCode::SUCCESS)
}

impl Row {
    fn of(name: String, run: StoredRun) -> Self {
        let known: BTreeSet<&String> = run.curves.iter().map(|curve| &curve.key().name).collect();
        // Of one phase, the curve over epochs is the better measure.
        let values = |name: &String| Some((name.clone(), Values::of(run.curve(name, true)?)?));
        let metrics = known.into_iter().filter_map(values).collect();
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
    fn of(curve: &Curve) -> Option<Self> {
        let ((_, last), (min_step, min), (max_step, max)) = (curve.last()?, curve.min()?, curve.max()?);
        Some(Values { last: Number(last), min: Number(min), min_step, max: Number(max), max_step })
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
        let edge = if self.max { "max" } else { "min" };
        heads.extend(
            self.metrics.iter().flat_map(|metric| [metric.clone(), edge.to_owned(), "at".to_owned()]),
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
                    Some(values) => {
                        let (edge, step) = match self.max {
                            true => (values.max, values.max_step),
                            false => (values.min, values.min_step),
                        };
                        [Short(values.last.0).to_string(), Short(edge.0).to_string(), step.to_string()]
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
        self.damage.iter().try_for_each(|damage| writeln!(f, "{damage}"))
    }
}
