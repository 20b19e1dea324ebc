//! Nanoseconds that logs, bars and monitors add to a step on the loop's thread.
//!
//! The unit does nothing but log a loss. Each figure is the difference between a long and a short run,
//! divided by the difference in steps, less the same with no callback at all.

use std::path::Path;
use std::time::Instant;

use regimen::callback::{EarlyStopping, Every, LearningRateMonitor, ProgressBar, SystemMonitor};
use regimen::checkpoint::Checkpointer;
use regimen::log::MetricLog;
use regimen::metric::Key;
use regimen::run::Train;
use regimen::saved::AppState;
use regimen::schedule::LearningRates;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};
use regimen_bench::{figure, median, rounds};

const LOSS: Key = Key::mean("train/loss");
const SHORT: usize = 1_000;
const LONG: usize = 21_000;
const ROUNDS: usize = 5;

fn main() -> Result<(), BoxError> {
    let folder = std::env::current_dir()?.join("batteries");
    let cases = [("none", None), ("every_step", Some(1)), ("every_10_steps", Some(10))];
    let mut contestants = cases.map(|(name, every)| {
        let folder = folder.join(name);
        move || {
            Ok::<f64, BoxError>(
                (seconds(&folder, every, LONG)? - seconds(&folder, every, SHORT)?) / STEPS * 1e9,
            )
        }
    });
    let mut contestants: Vec<_> = contestants.iter_mut().map(|run| run as &mut dyn FnMut() -> _).collect();
    let times = rounds::<BoxError>(ROUNDS, &mut contestants)?;
    let mut medians = times.into_iter().map(median);
    let none = medians.next().unwrap_or_default();
    for ((name, _), time) in cases.into_iter().skip(1).zip(medians) {
        figure(&format!("batteries/{name}"), "ns_per_step", time - none, "ns")?;
    }
    Ok(())
}

const STEPS: f64 = (LONG - SHORT) as f64;

/// The time of a run of so many steps, with everything on if a metric is logged at a cadence.
fn seconds(folder: &Path, every: Option<u64>, steps: usize) -> Result<f64, BoxError> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    let mut unit = Unit { weights: vec![0.0; 1000] };
    let mut run = Run::new(&mut unit);
    if let Some(every) = every.map(Every::steps) {
        run = run
            .callback(LearningRateMonitor::new())
            .callback(EarlyStopping::min(LOSS, 9))
            .callback(SystemMonitor::new())
            .callback(ProgressBar::new())
            .callback(MetricLog::csv(folder.join("metrics.csv")).every(every))
            .callback(MetricLog::jsonl(folder.join("metrics.jsonl")).every(every))
            .callback(MetricLog::tensorboard(folder.join("tensorboard")).every(every))
            .callback(MetricLog::wandb(folder).every(every))
            .saver(Checkpointer::new(folder.join("checkpoints")).every(Every::steps(100)).keep_last(2));
    }
    let begun = Instant::now();
    run.train(&vec![(); steps], Train::epochs(1))?;
    Ok(begun.elapsed().as_secs_f64())
}

#[derive(AppState)]
struct Unit {
    weights: Vec<f32>,
}

impl TrainUnit for Unit {
    type Batch = ();

    fn train_step(&mut self, state: &mut State, (): ()) -> Result<(), BoxError> {
        let steps = state.train_progress().steps;
        state.log(LOSS, 1.0 / (steps + 1) as f64, 1.0);
        Ok(())
    }
}

impl LearningRates for Unit {
    fn learning_rates(&self) -> Vec<(String, f64)> {
        vec![("all".to_owned(), 0.1)]
    }
}
