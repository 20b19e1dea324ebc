//! A unit with one weight w, at first 1, whose loss is the batch times w: its gradient is the batch.

use regimen_core::auto_unit::PredictTask;
use regimen_core::engine::{Engine, Part};
use regimen_core::{AutoUnit, BoxError, Loss, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyOptimizer, ToyVars};

pub(crate) struct Slope {
    /// The weight of each batch.
    pub(crate) weight: f64,
    /// Whether evaluation and prediction fail, and by a panic.
    pub(crate) refuse: Option<bool>,
}

pub(crate) struct Weight(pub(crate) ToyArray);

impl Task<ToyEngine<Weight>> for Slope {
    type Batch = f64;
    type Output = ();

    fn compute_loss(
        &mut self,
        step: &Step,
        module: &Weight,
        batch: &f64,
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        if !step.is_train() {
            self.fail()?;
        }
        Ok((Loss::mean(watch(module.0.scale(*batch)).mean(), self.weight), ()))
    }
}

impl PredictTask<ToyEngine<Weight>> for Slope {
    type Input = f64;
    type Prediction = f64;

    fn predict(&mut self, _: &Step, module: &Weight, input: f64) -> Result<f64, BoxError> {
        self.fail()?;
        Ok(module.0.values()[0] * input)
    }
}

impl Slope {
    fn fail(&self) -> Result<(), BoxError> {
        match self.refuse {
            None => Ok(()),
            Some(false) => Err("on purpose".into()),
            Some(true) => panic!("on purpose"),
        }
    }
}

/// The use of [`regimen_core::engine::note_unless_finite`] in an engine crate.
fn watch(output: ToyArray) -> ToyArray {
    regimen_core::engine::note_unless_finite("product", || {
        output.values().iter().all(|value| value.is_finite())
    });
    output
}

pub(crate) type Unit = AutoUnit<ToyEngine<Weight>, Slope>;

/// With a learning rate of 1: a step subtracts its batch from the weight.
pub(crate) fn unit(momentum: f64) -> Unit {
    let mut vars = ToyVars::new();
    let weight = Weight(vars.parameter("weight", &[], 0.0));
    let mut engine = ToyEngine::new(vars, weight, ToyOptimizer::sgd(momentum));
    let mut one = engine.state(Part::Module).unwrap();
    one.remove("weight").unwrap();
    one.insert("weight", 1_f64).unwrap();
    engine.load_state(Part::Module, &one).unwrap();
    AutoUnit::new(engine, Slope { weight: 1.0, refuse: None }).learning_rate(1.0)
}

pub(crate) fn weight(engine: &ToyEngine<Weight>) -> f64 {
    engine.module().0.values()[0]
}

#[allow(dead_code, reason = "not every test reads one")]
/// The lines of a reference file after its head, split at the commas.
pub(crate) fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().skip(1).map(|line| line.split(',').collect())
}
