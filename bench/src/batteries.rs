//! A run with all logs, a bar, monitors and checkpoints, whose unit computes nothing and logs a loss.

use std::path::Path;
use std::time::{Duration, Instant};

use regimen::callback::{EarlyStopping, Every, LearningRateMonitor, ProgressBar, SystemMonitor};
use regimen::checkpoint::Checkpointer;
use regimen::log::MetricLog;
use regimen::metric::Key;
use regimen::run::Train;
use regimen::saved::AppState;
use regimen::schedule::LearningRates;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};

const LOSS: Key = Key::mean("train/loss");

/// Trains for `steps` steps of one epoch, each of which computes for the time `work`. Returns the seconds per step
/// that were spent between them. With an `every` everything is on, and the logs are written to `folder` at that
/// cadence.
pub fn batteries_run(
    folder: &Path,
    every: Option<Every>,
    saves: Every,
    steps: usize,
    work: Duration,
) -> Result<f64, BoxError> {
    let mut unit = Unit { weights: vec![0.0; 1000], work, ended: None, between: Duration::ZERO };
    let mut run = Run::new(&mut unit);
    if let Some(every) = every {
        run = run
            .callback(LearningRateMonitor::new())
            .callback(EarlyStopping::min(LOSS, 9))
            .callback(SystemMonitor::new())
            .callback(ProgressBar::new())
            .callback(MetricLog::csv(folder.join("metrics.csv")).every(every))
            .callback(MetricLog::jsonl(folder.join("metrics.jsonl")).every(every))
            .callback(MetricLog::tensorboard(folder.join("tensorboard")).every(every))
            .callback(MetricLog::wandb(folder).every(every))
            .saver(Checkpointer::new(folder.join("checkpoints")).every(saves).keep_last(2));
    }
    run.train(&vec![(); steps], Train::epochs(1))?;
    drop(run);
    Ok(unit.between.as_secs_f64() / steps as f64)
}

#[derive(AppState)]
struct Unit {
    weights: Vec<f32>,
    #[app_state(skip)]
    work: Duration,
    #[app_state(skip)]
    ended: Option<Instant>,
    /// The time between two steps, summed.
    #[app_state(skip)]
    between: Duration,
}

impl TrainUnit for Unit {
    type Batch = ();

    fn train_step(&mut self, state: &mut State, (): ()) -> Result<(), BoxError> {
        let begun = Instant::now();
        self.between += self.ended.map_or(Duration::ZERO, |ended| begun - ended);
        while begun.elapsed() < self.work {}
        let steps = state.train_progress().steps;
        state.log(LOSS, 1.0 / (steps + 1) as f64, 1.0);
        self.ended = Some(Instant::now());
        Ok(())
    }
}

impl LearningRates for Unit {
    fn learning_rates(&self) -> Vec<(String, f64)> {
        vec![("all".to_owned(), 0.1)]
    }
}
