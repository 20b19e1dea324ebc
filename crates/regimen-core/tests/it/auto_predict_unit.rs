//! `AutoPredictUnit`: the predictions of a task without a loss.

use regimen_core::auto_unit::{AutoPredictUnit, PredictTask};
use regimen_core::engine::{Engine, Mode, Part, Precision};
use regimen_core::run::{Predict, predict};
use regimen_core::saved::{Dtype, StateDict, load_parts, save_parts};
use regimen_core::{BoxError, Run, Step};
use regimen_test::toy::{ToyArray, ToyDevice, ToyEngine, ToyMlp, ToyOptimizer, ToyVars};

use crate::one_weight;

/// Predicts the elements of the output, and checks that the batch was moved.
struct Forward;

impl PredictTask<ToyEngine<ToyMlp>> for Forward {
    type Input = ToyArray;
    type Prediction = Vec<f64>;

    fn predict(&mut self, step: &Step, mlp: &ToyMlp, x: ToyArray) -> Result<Vec<f64>, BoxError> {
        assert_eq!((step.mode, x.device()), (Mode::Predict, ToyDevice(1)));
        Ok(mlp.forward(&x).values())
    }
}

/// With weights of 1, biases of 0, a running mean of 0, and dropout.
fn unit() -> AutoPredictUnit<ToyEngine<ToyMlp>, Forward> {
    let mut vars = ToyVars::on(ToyDevice(1));
    let mlp = ToyMlp::regularized(&mut vars, [1, 2, 1], 0.5);
    let mut engine = ToyEngine::new(vars, mlp, ToyOptimizer::sgd(0.0));
    let mut ones = StateDict::new();
    for (name, array) in engine.state(Part::Module).unwrap() {
        let one: f64 = if name.ends_with("weight") { 1.0 } else { 0.0 };
        let bytes = one.to_le_bytes().repeat(array.shape().iter().product());
        let array = regimen_core::saved::Array::new(Dtype::F64, array.shape().to_vec(), bytes).unwrap();
        ones.insert(name, array).unwrap();
    }
    engine.load_state(Part::Module, &ones).unwrap();
    AutoPredictUnit::new(engine, Forward)
}

fn predictions(unit: &mut AutoPredictUnit<ToyEngine<ToyMlp>, Forward>) -> Vec<Vec<f64>> {
    let mut outputs = Vec::new();
    let batches = [ToyArray::new(&[2, 1], &[0.0, 0.3]), ToyArray::new(&[1, 1], &[-0.7])];
    predict(unit, &batches, Predict::whole(), |output| {
        outputs.push(output);
        Ok(())
    })
    .unwrap();
    outputs
}

#[test]
fn predictions_are_those_of_the_evaluation_view() {
    // Dropout would double a hidden unit or remove it.
    let tanh = f64::tanh;
    assert_eq!(predictions(&mut unit()), [vec![0.0, 2.0 * tanh(0.3)], vec![2.0 * tanh(-0.7)]]);
}

#[test]
fn the_precision_is_set_when_the_run_starts() {
    // With eight binary digits 0.3 is 0.30078125, and its tanh is 0.29296875.
    let rounded = predictions(&mut unit().precision(Precision::BF16))[0][1];
    assert_eq!(rounded, 0.585_937_5);
}

#[test]
fn the_weights_of_an_auto_unit_are_its_one_part() {
    let mut trained = one_weight::unit(0.0);
    let mut saved = save_parts(&mut trained).unwrap();
    saved.retain(|part, _| part == "module");
    let mut vars = ToyVars::new();
    let weight = one_weight::Weight(vars.parameter("weight", &[], 5.0));
    let engine = ToyEngine::new(vars, weight, ToyOptimizer::sgd(0.0));
    let task = one_weight::Slope { weight: 1.0, refuse: None };
    let mut unit = AutoPredictUnit::new(engine, task);
    load_parts(&mut unit, &saved).unwrap();
    assert_eq!(one_weight::weight(unit.engine()), 1.0);
    assert_eq!(save_parts(&mut unit).unwrap(), saved);
}

#[test]
fn a_failed_prediction_is_an_error_with_its_place() {
    let (engine, _) = one_weight::unit(0.0).into_parts();
    let mut unit = AutoPredictUnit::new(engine, one_weight::Slope { weight: 1.0, refuse: Some(false) });
    let error = Run::new(&mut unit).predict(&[1.0], Predict::whole(), |_| Ok(())).unwrap_err();
    assert_eq!(format!("{error:#}"), "unit failed in predict_step in predict at epoch 0 step 0: on purpose");
}
