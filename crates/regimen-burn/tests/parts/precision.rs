//! Half precision and anomaly detection.

use std::collections::BTreeMap;
use std::error::Error;

use regimen::engine::{Engine, Mode, Precision, ToDevice};
use regimen::run::Train;
use regimen::{AutoUnit, BoxError, Loss, Run, Step, Task};
use regimen_burn::burn::module::Module;
use regimen_burn::burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use regimen_burn::burn::optim::SgdConfig;
use regimen_burn::burn::tensor::{DType, Device, Int, Tensor};
use regimen_burn::{Burn, device, initialize, watch};

#[derive(Module, Debug)]
struct Network {
    body: Vec<Block>,
    head: Linear,
}

#[derive(Module, Debug)]
struct Block {
    linear: Linear,
    norm: Option<BatchNorm>,
}

impl Network {
    fn new(norm: bool, device: &Device) -> Self {
        let block = |norm: bool| Block {
            linear: LinearConfig::new(2, 2).init(device),
            norm: norm.then(|| BatchNormConfig::new(2).init(device)),
        };
        Network { body: vec![block(false), block(norm)], head: LinearConfig::new(2, 1).init(device) }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.body.iter().fold(x, |x, block| block.linear.forward(x));
        // The root of a negative number, for any weights.
        watch("root", self.head.forward(watch("body", x)).square().neg().sqrt())
    }
}

fn engine(norm: bool) -> Burn<Network> {
    let device = device("cpu").unwrap();
    let network = initialize(1, &device, |device| Network::new(norm, device)).unwrap();
    Burn::new(network, SgdConfig::new().init(), &device).unwrap()
}

struct Sum;

impl Task<Burn<Network>> for Sum {
    type Batch = Tensor<2>;
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        network: &Network,
        x: &Tensor<2>,
    ) -> Result<(Loss<Tensor<1>>, ()), BoxError> {
        Ok((Loss::mean(network.forward(x.clone()).sum(), 1.0), ()))
    }
}

fn failure(unit: &mut AutoUnit<Burn<Network>, Sum>, x: f32) -> String {
    let x = Tensor::<2>::full([1, 2], x, &device("cpu").unwrap());
    let error = Run::new(unit).train(&[x], Train::epochs(1)).unwrap_err();
    error.source().unwrap().to_string()
}

#[test]
fn the_module_and_its_batches_are_in_half_precision_and_its_parameters_are_not() {
    let mut engine = engine(false);
    let x = Tensor::<2>::ones([3, 2], &device("cpu").unwrap());
    for (precision, expected) in
        [(Precision::BF16, DType::BF16), (Precision::F16, DType::F16), (Precision::F32, DType::F32)]
    {
        engine.set_precision(precision).unwrap();
        for mode in [Mode::Train, Mode::Eval, Mode::Predict] {
            let x = x.clone().move_to(&engine.device(mode)).unwrap();
            let output = engine.with_module(mode, |network| network.forward(x));
            assert_eq!(output.dtype(), expected, "{precision} {mode:?}");
        }
        assert_eq!(engine.module().head.weight.val().dtype(), DType::F32, "{precision}");
    }
}

/// A batch type of a program.
#[derive(Clone, ToDevice)]
struct Own {
    x: Tensor<2>,
    by_name: BTreeMap<String, Tensor<1>>,
    classes: Tensor<1, Int>,
    #[to_device(skip)]
    mask: Tensor<1>,
}

/// Checks that the moved batch has the device and type of the module.
struct Arrived(DType);

impl Task<Burn<Network>> for Arrived {
    type Batch = Own;
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        network: &Network,
        batch: &Own,
    ) -> Result<(Loss<Tensor<1>>, ()), BoxError> {
        let part = &batch.by_name["part"];
        let floats = [batch.x.dtype(), part.dtype(), batch.mask.dtype()];
        assert_eq!((floats, batch.classes.dtype()), ([self.0, self.0, DType::F32], DType::I32));
        let on_autodiff = (batch.x.is_autodiff(), part.is_autodiff(), batch.classes.is_autodiff());
        assert_eq!((on_autodiff, batch.mask.is_autodiff()), ((true, true, true), false));
        Ok((Loss::mean(network.head.forward(batch.x.clone()).sum(), 1.0), ()))
    }
}

#[test]
fn a_batch_of_ones_own_is_moved_as_its_tensors_are() {
    for (precision, expected) in [(Precision::F32, DType::F32), (Precision::BF16, DType::BF16)] {
        let cpu = device("cpu").unwrap();
        let part = Tensor::ones([3], &cpu);
        let batch = Own {
            x: Tensor::ones([3, 2], &cpu),
            by_name: BTreeMap::from([("part".to_owned(), part.clone())]),
            classes: Tensor::from_data([0_i64, 1, 0], &cpu),
            mask: part,
        };
        let mut unit = AutoUnit::new(engine(false), Arrived(expected)).precision(precision);
        Run::new(&mut unit).train(&[batch], Train::epochs(1)).unwrap();
    }
}

#[test]
fn what_cannot_be_computed_in_a_precision_is_refused_when_the_run_starts() {
    let mut unit = AutoUnit::new(engine(true), Sum).precision(Precision::BF16);
    let text = failure(&mut unit, 1.0);
    assert!(text.starts_with("bf16: `body.1.norm` is a batch norm"), "{text}");
    let mut unit = AutoUnit::new(engine(false), Sum).precision(Precision::TF32);
    assert_eq!(failure(&mut unit, 1.0), "Burn has no switch for tf32; choose fp32, bf16 or fp16");
}

#[test]
fn the_first_output_that_is_not_finite_is_named() {
    let mut unit = AutoUnit::new(engine(false), Sum).detect_anomaly(true);
    assert!(failure(&mut unit, 1.0).ends_with("that of `root`"));
    assert!(failure(&mut unit, f32::INFINITY).ends_with("that of `body`"));
}
