//! Autocast and anomaly detection.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};

use regimen_core::engine::{Engine, Mode, Precision};
use regimen_core::run::Train;
use regimen_core::{AutoUnit, BoxError, Loss, Run, Step, Task};
use regimen_torch::tch::nn::{Init, Path};
use regimen_torch::tch::{Device, Kind, Tensor};
use regimen_torch::{Sgd, Torch, initialize, watch};

/// A weight of `[2, 2]`.
struct Weight(Tensor);

impl Weight {
    fn new(root: &Path<'_>) -> Self {
        Weight(root.var("weight", &[2, 2], Init::Const(0.5)))
    }

    fn product(&self) -> Tensor {
        self.0.matmul(&ones())
    }
}

fn ones() -> Tensor {
    Tensor::ones([2, 2], (Kind::Float, Device::Cpu))
}

fn engine() -> Torch<Weight> {
    let (vars, weight) = initialize(1, Device::Cpu, Weight::new);
    Torch::new(vars, weight, Sgd::new()).unwrap()
}

fn kind(engine: &mut Torch<Weight>, mode: Mode) -> Kind {
    engine.with_module(mode, |weight| weight.product().kind())
}

#[test]
fn products_are_in_the_type_of_the_precision_inside_of_the_module_and_nowhere_else() {
    let mut engine = engine();
    for (precision, expected) in
        [(Precision::BF16, Kind::BFloat16), (Precision::F16, Kind::Half), (Precision::F32, Kind::Float)]
    {
        engine.set_precision(precision).unwrap();
        for mode in [Mode::Train, Mode::Eval, Mode::Predict] {
            assert_eq!(kind(&mut engine, mode), expected, "{precision} {mode:?}");
        }
        assert_eq!(engine.module().product().kind(), Kind::Float, "{precision}");
        let panics = || engine.with_module(Mode::Train, |_| panic!("on purpose"));
        catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
        assert_eq!(engine.module().product().kind(), Kind::Float, "{precision}, after a panic");
    }
}

#[test]
fn a_step_is_seen_by_the_next_forward_pass() {
    let mut engine = engine();
    engine.set_precision(Precision::BF16).unwrap();
    let sum = |engine: &mut Torch<Weight>| {
        let loss = engine.with_module(Mode::Train, |weight| weight.product().sum(Kind::Float));
        engine.backward(&loss, None).unwrap();
        engine.value(&loss).unwrap()
    };
    assert_eq!(sum(&mut engine), 4.0);
    // Each weight has a gradient of 2.
    engine.step(&[0.125]).unwrap();
    assert_eq!(sum(&mut engine), 2.0);
}

#[test]
fn tf32_is_refused_on_the_cpu_when_the_run_starts() {
    let mut unit = AutoUnit::new(engine(), Root).precision(Precision::TF32);
    assert_eq!(
        cause(Run::new(&mut unit).train(&[1.0], Train::epochs(1)).unwrap_err()),
        "tf32 is of CUDA devices, and the model is on Cpu"
    );
}

/// The sum of the roots of batch times weight. At a batch of 0 the loss is 0, the gradient of the root
/// infinite, and that of the weight NaN.
struct Root;

impl Task<Torch<Weight>> for Root {
    type Batch = f64;
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        weight: &Weight,
        batch: &f64,
    ) -> Result<(Loss<Tensor>, ()), BoxError> {
        let product = watch("product", &weight.0 * *batch);
        Ok((Loss::mean(watch("root", product.sqrt()).sum(Kind::Float), 1.0), ()))
    }
}

fn cause(error: regimen_core::Error) -> String {
    error.source().unwrap().to_string()
}

fn train(batches: &[f64], detects: bool) -> Result<f64, String> {
    let mut unit = AutoUnit::new(engine(), Root).detect_anomaly(detects).learning_rate(0.1);
    Run::new(&mut unit).train(batches, Train::epochs(1)).map_err(cause)?;
    Ok(unit.engine().module().0.sum(Kind::Float).double_value(&[]))
}

#[test]
fn the_operation_whose_gradient_became_nan_is_named_with_the_parameter() {
    assert_eq!(
        train(&[1.0, 0.0, 1.0], true).unwrap_err(),
        "Function 'MulBackward1' returned nan values in its 0th output; gradient `weight` is not finite"
    );
    // Without looking, the next loss is the first that shows it.
    assert_eq!(
        train(&[1.0, 0.0, 1.0], false).unwrap_err(),
        "the loss is not finite: NaN; parameter or buffer `weight` is not finite"
    );
    assert_eq!(train(&[1.0, 0.5, 1.0], true), train(&[1.0, 0.5, 1.0], false));
}

#[test]
fn a_scaled_gradient_that_is_not_finite_is_skipped_while_anomalies_are_looked_for() {
    let mut unit = AutoUnit::new(engine(), Root).precision(Precision::F16).detect_anomaly(true);
    Run::new(&mut unit).train(&[0.0], Train::epochs(1)).unwrap();
    assert_eq!((unit.skipped(), unit.gradient_scale()), (1, Some(32768.0)));
}

#[test]
fn the_first_output_that_is_not_finite_is_named() {
    assert_eq!(
        train(&[-1.0], true).unwrap_err(),
        "the loss is not finite: NaN; the first output that was not finite is that of `root`"
    );
    assert!(train(&[f64::INFINITY], true).unwrap_err().ends_with("that of `product`"));
}
