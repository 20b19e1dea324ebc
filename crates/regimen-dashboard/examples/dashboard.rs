//! A slow training in the dashboard, without a tensor library. Press `?` for the keys.
//!
//! `dashboard RUN` keeps everything in the folder RUN, from which it goes on. `regimen watch RUN` in another terminal
//! shows the same. Its numbers are the epochs, and the milliseconds of a step: `dashboard RUN 12 20`.

use std::thread::sleep;
use std::time::Duration;

use regimen::callback::{Every, SystemMonitor, Throughput};
use regimen::data::DataExt;
use regimen::folder::RunFolder;
use regimen::metric::Key;
use regimen::random::Random;
use regimen::saved::AppState;
use regimen::signal::Signals;
use regimen::unit::{EvalUnit, TrainUnit};
use regimen::{BoxError, Fit, Run, State};
use regimen_dashboard::Dashboard;

/// The line y = 3 x - 1, learned from noisy points.
#[derive(AppState)]
struct Line {
    slope: f64,
    offset: f64,
    #[app_state(skip)]
    step: Duration,
}

impl Line {
    /// The squared error at `POINTS` points, and how much of them are off by less than 0.5. It learns at `rate`.
    fn fit(&mut self, seed: u64, rate: f64) -> (f64, f64) {
        sleep(self.step);
        let (mut random, mut loss, mut near) = (Random::new(seed), 0.0, 0.0);
        let (mut slope, mut offset) = (0.0, 0.0);
        for _ in 0..POINTS {
            let x = random.normal();
            let error = self.slope * x + self.offset - (3.0 * x - 1.0 + 0.3 * random.normal());
            loss += error * error;
            near += f64::from(error.abs() < 0.5);
            (slope, offset) = (slope + error * x, offset + error);
        }
        let count = POINTS as f64;
        self.slope -= rate * slope / count;
        self.offset -= rate * offset / count;
        (loss / count, near / count)
    }
}

const POINTS: u64 = 16;

impl TrainUnit for Line {
    /// The seed of the points.
    type Batch = u64;

    fn train_step(&mut self, state: &mut State, seed: u64) -> Result<(), BoxError> {
        let rate = 0.02 / (1.0 + state.train_progress().steps as f64 / 1000.0);
        let (loss, _) = self.fit(seed, rate);
        state.log(Key::mean("train/loss"), loss, 1.0);
        state.log(Key::last("learning_rate/line"), rate, 1.0);
        Ok(())
    }
}

impl EvalUnit for Line {
    type Batch = u64;

    fn eval_step(&mut self, state: &mut State, seed: u64) -> Result<(), BoxError> {
        let (loss, near) = self.fit(seed, 0.0);
        state.log(Key::mean("eval/loss"), loss, 1.0);
        state.log(Key::mean("eval/accuracy"), near, 1.0);
        Ok(())
    }
}

fn main() -> Result<(), BoxError> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next();
    let epochs = arguments.next().map_or(Ok(2), |epochs| epochs.parse())?;
    let milliseconds = arguments.next().map_or(Ok(1), |milliseconds| milliseconds.parse())?;
    let data = |from| (from..from + 100).collect::<Vec<u64>>().count_samples(|_| POINTS);

    let mut unit = Line { slope: 0.0, offset: 0.0, step: Duration::from_millis(milliseconds) };
    let mut run = Run::new(&mut unit)
        .callback(Throughput::new())
        .callback(SystemMonitor::new().interval(Duration::from_secs(1)));
    let mut dashboard = Dashboard::new();
    if let Some(folder) = folder {
        dashboard = dashboard.title(&folder).checkpoints(&folder);
        run = RunFolder::new(&folder)
            .checkpoints(|saver| saver.every(Every::epochs(1)).keep_last(5))
            .open(run)?;
    }
    let mut run = run.callback(dashboard);
    let _signals = Signals::pause(&run.pause_handle())?;
    run.fit(&data(0), &data(1000), Fit::epochs(epochs))?;
    Ok(())
}
