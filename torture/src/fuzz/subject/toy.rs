//! A unit small enough to train thousands of times per second.

use regimen::auto_unit::{EVAL_LOSS, TRAIN_LOSS};
use regimen::saved::AppState;
use regimen::unit::{EvalUnit, TrainUnit};
use regimen::{BoxError, State};

/// A weight that moves towards the batches.
#[derive(AppState, Debug, Default)]
pub(super) struct Toy {
    weight: f64,
    moments: Vec<f64>,
}

/// The batches of one epoch.
pub(super) const DATA: [f64; 5] = [1.0, 2.0, 4.0, -1.0, 0.5];

impl TrainUnit for Toy {
    type Batch = f64;

    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        let error = batch - self.weight;
        self.weight += 0.25 * error;
        self.moments.resize(2, 0.0);
        self.moments.rotate_left(1);
        state.log(TRAIN_LOSS, error * error, 1.0);
        state.count_update();
        Ok(())
    }
}

impl EvalUnit for Toy {
    type Batch = f64;

    fn eval_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(EVAL_LOSS, (batch - self.weight).abs(), 1.0);
        Ok(())
    }
}
