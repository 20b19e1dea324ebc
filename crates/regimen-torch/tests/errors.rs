//! A failure inside libtorch is an error with a remedy, and the process continues.

#![allow(clippy::unwrap_used)]

use regimen::data::each_epoch;
use regimen::engine::ToDevice;
use regimen::error::ErrorKind;
use regimen::run::Train;
use regimen::{AutoUnit, BoxError, Loss, Run, Step, Task};
use regimen_torch::tch::nn::{self, Init, Module};
use regimen_torch::tch::{self, Device, Tensor};
use regimen_torch::{Sgd, Torch, TorchDevice, device, failure, initialize};

/// The fault of the task in its third step.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Shape,
    Memory,
    Detached,
    Returned,
}

struct Faulty(Option<Fault>);

impl Task<Torch<nn::Linear>> for Faulty {
    type Batch = Tensor;
    type Output = ();

    fn compute_loss(
        &mut self,
        step: &Step,
        layer: &nn::Linear,
        batch: &Tensor,
    ) -> Result<(Loss<Tensor>, ()), BoxError> {
        let loss = match self.0.filter(|_| step.index == 2) {
            None => layer.forward(batch).mean(None),
            Some(Fault::Shape) => layer.forward(&batch.transpose(0, 1)).mean(None),
            Some(Fault::Memory) => layer.forward(batch).expand([1 << 45, 2, 1], false).exp().mean(None),
            Some(Fault::Returned) => batch.f_matmul(batch).map_err(failure)?,
            Some(Fault::Detached) => layer.forward(batch).mean(None).detach(),
        };
        Ok((Loss::mean(loss, 2.0), ()))
    }
}

fn engine() -> Torch<nn::Linear> {
    // Not drawn: the tests of a program share one generator.
    let constant =
        nn::LinearConfig { ws_init: Init::Const(0.5), bs_init: Some(Init::Const(0.0)), bias: true };
    let (vars, layer) = initialize(1, Device::Cpu, |root| nn::linear(root, 3, 1, constant));
    Torch::new(vars, layer, Sgd::new().momentum(0.9)).unwrap()
}

/// Trains with a fault in the third step, and then on without it. The weights must be those of five steps
/// without faults.
#[track_caller]
fn check(fault: Fault, is_panic: bool, text: &str) {
    let batch = |n| Tensor::full([2, 3], f64::from(n), (tch::Kind::Float, Device::Cpu));
    let data = each_epoch(|_| (1..6).map(batch));
    let train = |fault| {
        let mut unit = AutoUnit::new(engine(), Faulty(fault));
        let mut run = Run::new(&mut unit);
        let error = run.train(&data, Train::steps(5)).err();
        if error.is_some() {
            run.unit_mut().task_mut().0 = None;
            run.train(&data, Train::steps(5)).unwrap();
        }
        drop(run);
        (error, unit.into_parts().0.vars().variables()["weight"].shallow_clone())
    };
    let (error, weights) = train(Some(fault));
    let error = error.unwrap();
    assert_eq!(*error.kind(), ErrorKind::Unit("train_step"));
    assert_eq!((error.is_panic(), error.place().step), (is_panic, 2));
    assert_eq!(format!("{error:#}").lines().count(), 1, "{error}");
    assert!(format!("{error:#}").contains(text), "{error}");
    assert_eq!(weights, train(None).1);
}

#[test]
fn a_shape_error_inside_the_module_is_one_line_with_its_place() {
    check(Fault::Shape, true, "mat1 and mat2 shapes cannot be multiplied (3x2 and 3x1)");
}

#[test]
fn an_error_that_the_task_returns_is_one_line_too() {
    check(Fault::Returned, false, "mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)");
}

#[test]
fn running_out_of_memory_says_what_helps() {
    check(Fault::Memory, true, "; a smaller batch needs less");
}

#[test]
fn a_loss_that_no_parameter_has_a_part_in_says_so() {
    check(Fault::Detached, false, "the loss does not depend on a trained parameter");
}

#[test]
fn a_batch_goes_to_no_device_that_is_not_there() {
    let error = device("cuda:7").map_err(|error| format!("{error:#}")).unwrap_err();
    assert!(error.contains("there is no device `cuda:7`") && error.contains("there is: cpu"), "{error}");
    // Who names it past `device` gets libtorch's own words, and no abort.
    let batch = Tensor::ones([2], (tch::Kind::Float, Device::Cpu));
    let moved = batch.move_to(&TorchDevice(Device::Cuda(7)));
    assert_eq!(moved.map_err(|error| format!("{error:#}")).unwrap_err().lines().count(), 1);
}
