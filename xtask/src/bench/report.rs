//! `report`: the report page of 1, 10 and 100 runs of 100,000 values each.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Options;
use super::figures::{Figure, Figures};
use crate::BoxError;
use crate::workspace::{Workspace, run};

const RUNS: [usize; 3] = [1, 10, 100];
/// Values per run: a loss and a learning rate per step, which an evaluation replaces every 1,000 steps.
const VALUES: u64 = 100_000;

/// Measures the time, the peak memory and the size of the page.
pub(crate) fn report(workspace: &Workspace, _: &Options, figures: &mut Figures) -> Result<(), BoxError> {
    run(&mut workspace.cargo(&["build", "--release", "--package", "regimen-cli"]))?;
    let program = workspace.target.join("release").join(format!("regimen{}", std::env::consts::EXE_SUFFIX));
    let folder = workspace.scratch("report")?;
    let most = RUNS.iter().copied().max().unwrap_or_default();
    let folders: Vec<PathBuf> = (0..most).map(|n| folder.join(format!("run-{n:03}"))).collect();
    for (n, run) in folders.iter().enumerate() {
        fs::create_dir(run)?;
        fs::write(run.join("metrics.jsonl"), metrics(n as u64))?;
        let settings =
            format!("{{\"learning_rate\": {}, \"width\": {}}}\n", 1e-3 * (n + 1) as f64, 64 << (n % 4));
        fs::write(run.join("hyper_parameters.json"), settings)?;
    }
    for count in RUNS {
        let page = folder.join("report.html");
        let mut command = workspace.program(&program);
        command.arg("report").args(folders.iter().take(count)).arg("--output").arg(&page);
        let begun = Instant::now();
        let mut child = command.stdout(Stdio::null()).spawn()?;
        let peak = peak_of(&mut child)?;
        let seconds = begun.elapsed().as_secs_f64();
        let mib = fs::metadata(&page)?.len() as f64 / f64::from(1 << 20);
        let case = format!("report/{count} runs");
        for (metric, value, unit) in
            [("wall", Some(seconds), "s"), ("peak memory", peak, "MiB"), ("page", Some(mib), "MiB")]
        {
            match value {
                Some(value) => figures.push(Figure {
                    case: case.clone(),
                    metric: metric.into(),
                    value,
                    unit: unit.into(),
                }),
                None => figures.miss(&format!("{case} {metric}"), "the system does not report it"),
            }
        }
    }
    Ok(fs::remove_dir_all(folder)?)
}

/// Waits for the end of a program, and returns the most memory that it had, in MiB.
fn peak_of(child: &mut Child) -> Result<Option<f64>, BoxError> {
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak = None;
    loop {
        peak = peak_in(&status).or(peak);
        if let Some(ended) = child.try_wait()? {
            return if ended.success() {
                Ok(peak)
            } else {
                Err(format!("`regimen report` ended with {ended}").into())
            };
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn peak_in(status: &Path) -> Option<f64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? / 1024.0)
}

/// The log of a run.
fn metrics(run: u64) -> String {
    let mut text = String::new();
    let mut line = |step: u64, phase: &str, name: &str, value: f64, epoch: Option<u64>| {
        let epoch = epoch.map_or_else(|| "null".to_owned(), |epoch| epoch.to_string());
        let _ = writeln!(
            text,
            "{{\"step\":{step},\"phase\":\"{phase}\",\"name\":\"{name}\",\"value\":{value:?},\"epoch\":{epoch}}}"
        );
    };
    for step in 1..=VALUES / 2 {
        let part = step as f64 / VALUES as f64;
        // Sixteen bits of a linear congruence as noise.
        let noise =
            (step.wrapping_add(run << 32).wrapping_mul(6_364_136_223_846_793_005) >> 48) as f64 / 65_536.0;
        line(step, "train", "train/loss", 2.0 / (1.0 + 20.0 * part) + 0.2 * noise, None);
        if step % 1000 == 0 {
            line(step, "eval", "eval/loss", 2.1 / (1.0 + 20.0 * part), Some(step / 1000));
        } else {
            line(step, "train", "learning_rate/default", 1e-3 * (1.0 - part), None);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_as_many_values_as_are_told() {
        let log = metrics(3);
        assert_eq!(log.lines().count() as u64, VALUES);
        let line: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        assert_eq!((&line["name"], &line["epoch"]), (&"eval/loss".into(), &50.into()));
    }

    #[test]
    fn the_memory_of_a_program_is_read_while_it_runs() {
        if cfg!(target_os = "linux") {
            let mut child = std::process::Command::new("sleep").arg("0.1").spawn().unwrap();
            assert!(peak_of(&mut child).unwrap().unwrap() > 0.1);
        }
    }
}
