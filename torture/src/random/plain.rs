//! A hand-written unit whose steps change no state before they succeed.

use regimen::auto_unit::{EVAL_LOSS, TRAIN_LOSS};
use regimen::metric::Key;
use regimen::random::Random;
use regimen::saved::AppState;
use regimen::state::Phase;
use regimen::unit::{EvalUnit, PredictUnit, TrainUnit};
use regimen::{BoxError, State};

use super::case::Item;
use super::world::{Place, Shared};

/// Two numbers that follow the batches with noise.
#[derive(AppState)]
pub(super) struct Plain {
    weights: Vec<f64>,
    #[app_state(skip)]
    accumulate: u64,
    #[app_state(skip)]
    shared: Shared,
}

impl Plain {
    pub(super) fn new(accumulate: u64, shared: &Shared) -> Self {
        Plain { weights: vec![0.5, -0.5], accumulate, shared: shared.clone() }
    }

    fn point(&self, name: &'static str, state: &mut State) -> Result<(), BoxError> {
        self.shared.visit_with(Place::Unit(name), Some(state))
    }

    fn loss(&self, x: f64) -> f64 {
        (self.weights[0] * x + self.weights[1] - x.sin()).powi(2)
    }
}

/// Logs `value` with every reduction.
fn log(state: &mut State, first: Key, value: f64, weight: f64) {
    let others = [Key::sum("sum"), Key::min("min"), Key::max("max"), Key::last("last")];
    std::iter::once(first).chain(others).for_each(|key| state.log(key, value, weight));
}

macro_rules! hooks {
    ($($hook:ident)*) => {$(
        fn $hook(&mut self, state: &mut State) -> Result<(), BoxError> {
            self.point(stringify!($hook), state)
        }
    )*};
}

impl TrainUnit for Plain {
    type Batch = Item;

    fn train_step(&mut self, state: &mut State, (id, x, weight): Item) -> Result<(), BoxError> {
        self.point("step", state)?;
        let loss = self.loss(x);
        self.shared.saw(Phase::Train, state.train_progress().steps, id, loss, weight);
        log(state, TRAIN_LOSS, loss, weight);
        let noise = 0.1 * Random::new(state.step_seed()).uniform();
        self.point("end of a step", state)?;
        if weight > 0.0 && loss.is_finite() {
            self.weights[0] -= 0.05 * (loss.sqrt() * x + noise);
            self.weights[1] -= 0.05 * loss.sqrt();
        }
        if (state.train_progress().steps + 1).is_multiple_of(self.accumulate) {
            // From here on the step counts as done.
            state.count_update();
            self.point("end of an update", state)?;
        }
        Ok(())
    }

    hooks!(on_train_start on_train_epoch_start on_train_epoch_end on_train_end);
}

impl EvalUnit for Plain {
    type Batch = Item;

    fn eval_step(&mut self, state: &mut State, (id, x, weight): Item) -> Result<(), BoxError> {
        self.point("eval step", state)?;
        let loss = self.loss(x);
        self.shared.saw(Phase::Eval, state.eval_progress().steps, id, loss, weight);
        log(state, EVAL_LOSS, loss, weight);
        self.point("end of an eval step", state)
    }

    hooks!(on_eval_start on_eval_epoch_start on_eval_epoch_end on_eval_end);
}

impl PredictUnit for Plain {
    type Batch = Item;
    type Output = u64;

    fn predict_step(&mut self, state: &mut State, (id, x, weight): Item) -> Result<u64, BoxError> {
        state.log(Key::sum("predicted"), x, weight);
        self.point("predict step", state)?;
        Ok(id)
    }

    hooks!(on_predict_start on_predict_epoch_start on_predict_epoch_end on_predict_end);
}
