//! A clock that stands still until a test moves it, and a run whose times are known.
#![cfg(test)]

use std::cell::Cell;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use crate::callback::{Event, Every};
use crate::data::{Data, DataExt};
use crate::log::{MetricLog, Record};
use crate::run::{Evaluate, Predict, Train};
use crate::unit::{EvalUnit, PredictUnit, TrainUnit};
use crate::{BoxError, Callback, Fit, Run, State};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

// Each test has a thread.
thread_local!(static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) });

pub(crate) fn now() -> Instant {
    *START + PASSED.get()
}

pub(crate) fn pass(seconds: u64) {
    PASSED.set(PASSED.get() + Duration::from_secs(seconds));
}

/// A batch whose training step fails.
pub(in super::super) const BROKEN: u64 = 999;

/// A unit whose steps take as many seconds as their batch says.
pub(crate) struct Takes;

impl TrainUnit for Takes {
    type Batch = u64;

    fn train_step(&mut self, _: &mut State, batch: u64) -> Result<(), BoxError> {
        pass(batch);
        if batch == BROKEN { Err("told to fail".into()) } else { Ok(()) }
    }
}

impl EvalUnit for Takes {
    type Batch = u64;

    fn eval_step(&mut self, _: &mut State, batch: u64) -> Result<(), BoxError> {
        pass(batch);
        Ok(())
    }
}

impl PredictUnit for Takes {
    type Batch = u64;
    type Output = ();

    fn predict_step(&mut self, _: &mut State, batch: u64) -> Result<(), BoxError> {
        pass(batch);
        Ok(())
    }
}

/// The life of a run in calls far apart: none of the three training steps of an epoch, two of them, the third,
/// which fails, and an evaluation by hand; then, in another process, the rest of the epoch with an evaluation, and
/// a prediction. Steps take 1, 3 and 5 seconds, those by hand 2, 4 and 6, on as many samples. Each training step
/// waits 10 seconds for its batch, and each other one 20.
pub(in super::super) fn live<'a>(
    start: impl Fn(Run<'a, Takes>) -> Run<'a, Takes>,
    units: &'a mut [Takes; 2],
) {
    let train = |batches: &'static [u64]| slow(batches, 10);
    let [first, second] = units;
    let mut run = start(Run::new(first));
    run.train(&train(&[1, 3, 5]), Train::steps(0)).unwrap();
    pass(1000);
    run.train(&train(&[1, 3, 5]), Train::steps(2)).unwrap();
    pass(1000);
    run.train(&train(&[1, 3, BROKEN]), Train::epochs(1)).unwrap_err();
    pass(1000);
    run.evaluate(&slow(&[2, 4], 20), Evaluate::whole()).unwrap();
    let saved = run.run_state().unwrap();
    drop(run);
    pass(1000);
    let mut run = start(Run::new(second));
    run.load_run_state(&saved).unwrap();
    run.fit(&train(&[1, 3, 5]), &slow(&[2], 20), Fit::epochs(1)).unwrap();
    pass(1000);
    run.predict(&slow(&[6], 20), Predict::whole(), |()| Ok(())).unwrap();
}

/// The log of `name`, behind the phase, in such a life. Rows are those of [`logged`].
pub(in super::super) fn lived<C: Callback<Takes>>(callback: impl Fn() -> C, name: &str) -> String {
    let rows = Mutex::new(Vec::new());
    let log = || MetricLog::to(rows_of(name, &rows)).every(Every::steps(1).or(Every::epochs(1)));
    live(|run| run.callback(callback()).callback(log()), &mut [Takes, Takes]);
    rows.into_inner().unwrap().join(", ")
}

/// Two epochs of three training steps of 1, 3 and 5 seconds, on as many samples. Each waits 10 seconds for its
/// batch, and is followed by 100 seconds between the two callbacks. Every second is followed by an evaluation of two
/// steps of 2 and 4 seconds, which wait 20 for each batch.
pub(in super::super) fn fit(first: impl Callback<Takes>, last: impl Callback<Takes>) {
    Run::new(&mut Takes)
        .callback(first)
        .on(Event::TrainStepEnd, |_: &mut State, _: &mut Takes| pass(100))
        .callback(last)
        .fit(&slow(&[1, 3, 5], 10), &slow(&[2, 4], 20), Fit::epochs(2).eval_every(Every::steps(2)))
        .unwrap();
}

/// The log of `name`, behind the phase, in [`fit`].
///
/// A row is the step and the value, or the phase, the epoch and the value over it, with three decimals.
pub(in super::super) fn logged(callback: impl Callback<Takes>, name: &str) -> String {
    let rows = Mutex::new(Vec::new());
    fit(callback, MetricLog::to(rows_of(name, &rows)).every(Every::steps(1).or(Every::epochs(1))));
    rows.into_inner().unwrap().join(", ")
}

/// Adds the rows of `name` to `rows`.
fn rows_of<'r>(
    name: &str,
    rows: &'r Mutex<Vec<String>>,
) -> impl FnMut(&[Record<'_>]) -> Result<(), BoxError> + Send + use<'r> {
    let name = name.to_owned();
    move |records| {
        for Record { step, phase, name: found, value, epoch } in records {
            if found.split_once('/').is_some_and(|(_, behind)| behind == name) {
                let value = (value * 1000.0).round() / 1000.0;
                let row = match epoch {
                    None => format!("{step}: {value}"),
                    Some(epoch) => format!("{phase} {epoch}: {value}"),
                };
                rows.lock().unwrap().push(row);
            }
        }
        Ok(())
    }
}

/// Batches that take `wait` seconds each, and are as many samples as they say.
fn slow(batches: &'static [u64], wait: u64) -> impl Data<Batch = u64> {
    let slow = batches.map_batches(move |batch| {
        pass(wait);
        batch
    });
    slow.count_samples(|&samples| samples)
}
