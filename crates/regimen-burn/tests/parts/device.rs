//! Devices by name and batches on them.

use crate::support::{Outcome, message};
use regimen_burn::burn::tensor::{Bool, Int, Tensor};
use regimen_burn::{BurnDevice, device, devices, place};
use regimen_core::BoxError;
use regimen_core::engine::ToDevice;

#[test]
fn the_cpu_has_two_names() -> Outcome {
    assert_eq!(devices()[..2], ["cpu", "flex"]);
    assert_eq!(device("cpu")?, device("flex")?);
    assert!(!device("cpu")?.is_autodiff());
    Ok(())
}

#[test]
fn an_unknown_device_is_an_error_that_lists_what_there_is() {
    let check = |name: &str, expected: &str| assert_eq!(message(device(name)), expected);
    let known = devices().join(", ");
    check("gpu", &format!("this build has no device `gpu`; it has: {known}"));
    check("gpu:1", &format!("this build has no device `gpu:1`; it has: {known}"));
    check("", &format!("this build has no device ``; it has: {known}"));
    check("cuda:x", "device `cuda:x`: `x` is no index, write `cuda:0`");
    check("cpu:-1", "device `cpu:-1`: `-1` is no index, write `cpu:0`");
    check("cpu:1", "device `cpu:1`: there is one `cpu` only, leave out the index");
}

type Batch = (Tensor<2>, Vec<Option<Tensor<1, Int>>>, [Tensor<1, Bool>; 1], String);

#[test]
fn nested_batches_are_moved_whole_and_change_autodiff_with_the_device() -> Outcome {
    let cpu = device("cpu")?;
    let batch: Batch = (
        Tensor::ones([2, 2], &cpu),
        vec![Some(Tensor::from_data([1_i64, 2], &cpu)), None],
        [Tensor::from_data([true], &cpu)],
        "name".to_owned(),
    );
    let on_autodiff = |batch: &Batch| {
        let ints: Vec<bool> = batch.1.iter().flatten().map(|t| t.is_autodiff()).collect();
        (batch.0.is_autodiff(), ints[0], batch.2[0].is_autodiff())
    };
    let batch = place(batch, &cpu.clone().autodiff())?;
    assert_eq!(on_autodiff(&batch), (true, true, true));
    assert_eq!(batch.0.clone().into_data().try_to_vec::<f32>()?, [1.0; 4]);
    let batch = batch.move_to(&BurnDevice::from(cpu))?;
    assert_eq!(on_autodiff(&batch), (false, false, false));
    assert_eq!(batch.3, "name");
    Ok(())
}

#[test]
fn a_batch_meets_parameters_that_are_checkpointed() -> Result<(), BoxError> {
    let cpu = device("cpu")?.autodiff().gradient_checkpointing();
    let weight = Tensor::<1>::from_data([2.0], &cpu).require_grad();
    let batch = place(Tensor::<1>::from_data([3.0], &device("cpu")?), &cpu)?;
    let gradients = (weight.clone() * batch).backward();
    let gradient: Option<f32> = weight.grad(&gradients).map(|gradient| gradient.into_scalar());
    assert_eq!(gradient, Some(3.0));
    Ok(())
}
