//! An `AutoUnit` on the toy engine. Each of its hooks is a point that can fail.

use regimen::auto_unit::{GradientScaler, NonFinite, PredictTask, StepResults};
use regimen::engine::{Mode, Precision};
use regimen::metric::Key;
use regimen::schedule::Cosine;
use regimen::state::Phase;
use regimen::{AutoUnit, BoxError, Loss, State, Step, Task};
use regimen_test::toy::{
    ToyArray, ToyCentre, ToyDropout, ToyEngine, ToyLinear, ToyOptimizer, ToyVars, manual_seed,
};

use super::case::{Case, Item, Rate};
use super::world::{Place, Shared};

pub(super) type Auto = AutoUnit<ToyEngine<Net>, Learner>;

/// Creates a unit with the settings of `case`.
pub(super) fn auto(case: &Case, shared: &Shared) -> Result<Auto, BoxError> {
    let settings = &case.settings;
    manual_seed(case.seed);
    let mut vars = ToyVars::new();
    let net = Net {
        hidden: ToyLinear::new(&mut vars, "hidden", 1, 3),
        centre: settings.statistics.then(|| ToyCentre::new(&mut vars, "centre", 3)),
        dropout: ToyDropout::new(&vars, 0.3),
        output: ToyLinear::new(&mut vars, "output", 3, 1),
        shared: shared.clone(),
    };
    let engine = ToyEngine::new(vars, net, ToyOptimizer::adam_w(0.01));
    let engine = engine.group("output", |name| name.starts_with("output"));
    let (engine, asks_every) = match settings.reads_later {
        true => (engine.reads_later(), 3),
        false => (engine, 1),
    };
    let mut unit = AutoUnit::new(engine, Learner { shared: shared.clone(), window: 0.0, asks_every })
        .accumulate(settings.accumulate)
        .after_backward(hook(shared, "after_backward"))
        .before_update(hook(shared, "before_update"));
    unit = match settings.rate {
        Rate::Constant => unit.learning_rate(0.05),
        Rate::ByUpdate => unit.learning_rate(Cosine::new(0.05, 9)?),
        Rate::ByEpoch => unit.learning_rate_by_epoch(Cosine::new(0.05, 4)?),
    };
    if settings.skip {
        unit = unit.non_finite(NonFinite::Skip);
    }
    if settings.half {
        unit = unit.precision(Precision::F16).gradient_scaler(GradientScaler::new().growth_interval(3));
    }
    if let Some(norm) = settings.clip_norm {
        unit = unit.clip_norm(norm);
    }
    if let Some(limit) = settings.clip_value {
        unit = unit.clip_value(limit);
    }
    if let Some(averaging) = settings.average {
        unit = unit.average(averaging);
    }
    if let Some(plateau) = settings.plateau.clone() {
        unit = unit.reduce_on_plateau(plateau);
    }
    if let Some(until) = settings.freeze {
        unit = unit.freeze("output", until);
    }
    Ok(unit)
}

fn hook<E>(
    shared: &Shared,
    name: &'static str,
) -> impl FnMut(&mut E, &mut State) -> Result<(), BoxError> + Send + 'static {
    let shared = shared.clone();
    move |_, state| shared.visit_with(Place::Unit(name), Some(state))
}

/// A perceptron whose backward pass can fail after some gradients were accumulated.
pub(super) struct Net {
    hidden: ToyLinear,
    centre: Option<ToyCentre>,
    dropout: ToyDropout,
    output: ToyLinear,
    shared: Shared,
}

impl Net {
    #[expect(clippy::panic, reason = "a case may be told to fail")]
    fn forward(&self, x: f64) -> ToyArray {
        let hidden = self.hidden.forward(&ToyArray::new(&[2, 1], &[x, 0.5 * x])).tanh();
        let hidden = self.centre.as_ref().map_or(hidden.clone(), |centre| centre.forward(&hidden));
        let shared = self.shared.clone();
        let hidden = hidden.on_backward(move || match shared.visit(Place::Unit("backward")) {
            Ok(()) => {}
            // The toy library can only report this by a panic.
            Err(error) => panic!("{error}"),
        });
        self.output.forward(&self.dropout.forward(&hidden))
    }
}

/// Learns a sine.
pub(super) struct Learner {
    shared: Shared,
    /// Weight of the current accumulation window.
    window: f64,
    /// At which steps it asks for the loss.
    asks_every: u64,
}

impl Learner {
    fn hook(&self, name: &'static str, state: &mut State) -> Result<(), BoxError> {
        self.shared.visit_with(Place::Unit(name), Some(state))
    }
}

/// Hooks that log `name` and may then fail.
macro_rules! hooks {
    ($($hook:ident $name:literal)*) => {$(
        fn $hook(&mut self, state: &mut State) -> Result<(), BoxError> {
            state.log(Key::last($name), state.train_progress().steps as f64, 1.0);
            self.hook(stringify!($hook), state)
        }
    )*};
}

/// Hooks that may fail.
macro_rules! quiet_hooks {
    ($($hook:ident)*) => {$(
        fn $hook(&mut self, state: &mut State) -> Result<(), BoxError> {
            self.hook(stringify!($hook), state)
        }
    )*};
}

impl Task<ToyEngine<Net>> for Learner {
    type Batch = Item;
    type Output = ();

    fn compute_loss(
        &mut self,
        step: &Step,
        net: &Net,
        &(id, x, weight): &Item,
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        self.shared.visit(Place::Unit("loss"))?;
        let target = ToyArray::new(&[2, 1], &[x.sin(), (0.5 * x).sin()]);
        let mean = net.forward(x).mean_squared_error(&target);
        let phase = if step.mode == Mode::Train { Phase::Train } else { Phase::Eval };
        self.shared.saw(phase, step.index, id, mean.values()[0], weight);
        self.shared.visit(Place::Unit("loss is computed"))?;
        Ok((Loss::mean(mean, weight), ()))
    }

    fn on_train_step_end(
        &mut self,
        state: &mut State,
        _: &Item,
        results: StepResults<()>,
    ) -> Result<(), BoxError> {
        if state.train_progress().steps.is_multiple_of(self.asks_every) {
            state.log(Key::max("train/largest"), results.loss()?, results.weight);
        }
        self.window += results.weight;
        // The window's weight is not saved, so it is checked only in runs without restarts.
        if results.updated && self.window == 0.0 && self.shared.is_left_alone() {
            self.shared.lock().wrong.push("a window of weight zero made an update".into());
        }
        if results.updated || results.skipped || state.last_in_epoch() {
            self.window = 0.0;
        }
        self.hook("on_train_step_end", state)
    }

    fn on_eval_step_end(
        &mut self,
        state: &mut State,
        _: &Item,
        results: StepResults<()>,
    ) -> Result<(), BoxError> {
        if state.eval_progress().steps.is_multiple_of(self.asks_every) {
            state.log(Key::sum("eval/sum"), results.loss()?, results.weight);
        }
        self.hook("on_eval_step_end", state)
    }

    hooks!(on_train_epoch_end "train/end" on_eval_epoch_end "eval/end");
    quiet_hooks!(on_train_start on_train_epoch_start on_train_end on_eval_start on_eval_epoch_start on_eval_end);
}

impl PredictTask<ToyEngine<Net>> for Learner {
    type Input = Item;
    type Prediction = u64;

    fn predict(&mut self, _: &Step, net: &Net, (id, x, _): Item) -> Result<u64, BoxError> {
        self.shared.visit(Place::Unit("predict"))?;
        let _ = net.forward(x);
        Ok(id)
    }
}
