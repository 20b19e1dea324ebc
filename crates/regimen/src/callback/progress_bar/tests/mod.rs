//! Tests of the progress bar, in a terminal and elsewhere.
#![cfg(test)]

mod emulator;
mod lines;
mod terminal;

use super::*;
use crate::State;
use crate::metric::Key;
use crate::unit::{EvalUnit, PredictUnit, TrainUnit};

const LOSS: Key = Key::mean("loss");

/// Logs each batch as the loss, ten times as much in an evaluation.
struct Unit;

impl TrainUnit for Unit {
    type Batch = f64;
    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(LOSS, batch, 1.0);
        Ok(())
    }
}

impl EvalUnit for Unit {
    type Batch = f64;
    fn eval_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(LOSS, 10.0 * batch, 1.0);
        Ok(())
    }
}

impl PredictUnit for Unit {
    type Batch = f64;
    type Output = f64;
    fn predict_step(&mut self, _: &mut State, batch: f64) -> Result<f64, BoxError> {
        Ok(batch)
    }
}

/// `~` for speeds and times, `#` and `-` for the two kinds of blocks.
fn masked(text: &str) -> String {
    let masked = |part: &str| match part {
        part if part.ends_with("/s") || part.ends_with(" s/step") => "~/s".to_owned(),
        part if part.ends_with(" left") => "~ left".to_owned(),
        part => part.replace(" in 0:00", ""),
    };
    let text = text.replace('\u{2588}', "#").replace('\u{2591}', "-");
    text.split(", ").map(masked).collect::<Vec<_>>().join(", ")
}
