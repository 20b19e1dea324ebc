//! A clock that stands still until a test moves it, and a run whose times are known.
#![cfg(test)]

use std::cell::Cell;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use crate::callback::{Event, Every};
use crate::data::DataExt;
use crate::log::{MetricLog, Record};
use crate::unit::{EvalUnit, TrainUnit};
use crate::{BoxError, Callback, Fit, Run, State};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

// Each test has a thread.
thread_local!(static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) });

pub(in super::super) fn now() -> Instant {
    *START + PASSED.get()
}

pub(in super::super) fn pass(seconds: u64) {
    PASSED.set(PASSED.get() + Duration::from_secs(seconds));
}

/// A unit whose steps take as many seconds as their batch says.
pub(in super::super) struct Takes;

impl TrainUnit for Takes {
    type Batch = u64;

    fn train_step(&mut self, _: &mut State, batch: u64) -> Result<(), BoxError> {
        pass(batch);
        Ok(())
    }
}

impl EvalUnit for Takes {
    type Batch = u64;

    fn eval_step(&mut self, _: &mut State, batch: u64) -> Result<(), BoxError> {
        pass(batch);
        Ok(())
    }
}

/// The log of `name`, behind the phase, in two epochs of three training steps of 1, 3 and 5 seconds, on as
/// many samples. Each waits 10 seconds for its batch, and is followed by 100 seconds in another callback.
/// Every second is followed by an evaluation of two steps of 2 and 4 seconds, which wait 20 for each batch.
///
/// A row is the step and the value, or the phase, the epoch and the value over it, with three decimals.
pub(in super::super) fn logged(callback: impl Callback<Takes>, name: &str) -> String {
    let rows = Mutex::new(Vec::new());
    let write = |records: &[Record<'_>]| {
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
    };
    let batches = |batches: &'static [u64], wait| {
        let slow = batches.map_batches(move |batch| {
            pass(wait);
            batch
        });
        slow.count_samples(|&samples| samples)
    };
    Run::new(&mut Takes)
        .callback(callback)
        .on(Event::TrainStepEnd, |_: &mut State, _: &mut Takes| pass(100))
        .callback(MetricLog::to(write).every(Every::steps(1).or(Every::epochs(1))))
        .fit(&batches(&[1, 3, 5], 10), &batches(&[2, 4], 20), Fit::epochs(2).eval_every(Every::steps(2)))
        .unwrap();
    rows.into_inner().unwrap().join(", ")
}
