//! Accuracy on the device against the one of `regimen::metric`, and the cross-entropy by hand.

use crate::support::{Outcome, device, message};
use regimen::metric::{Accuracy, Measure};
use regimen::random::Random;
use regimen_burn::burn::tensor::{FloatDType, Int, Tensor, TensorData};
use regimen_burn::{accuracy, correct, cross_entropy, place};

const CLASSES: usize = 5;

/// Logits with many ties, some rows with a NaN or an infinity, and targets.
fn samples(count: usize) -> (Vec<f32>, Vec<usize>) {
    let mut random = Random::new(1);
    let values = [-1.5, 0.25, 0.0, -0.0, 2.0, f32::INFINITY, f32::NEG_INFINITY];
    let mut logits: Vec<f32> = (0..count * CLASSES).map(|_| values[random.below(7) as usize]).collect();
    logits.iter_mut().step_by(23).for_each(|logit| *logit = f32::NAN);
    (logits, (0..count).map(|_| random.below(CLASSES as u64) as usize).collect())
}

fn tensors(logits: &[f32], targets: &[usize]) -> (Tensor<2>, Tensor<1, Int>) {
    let logits = TensorData::new(logits.to_vec(), [targets.len(), logits.len() / targets.len()]);
    let targets: Vec<i64> = targets.iter().map(|&target| target as i64).collect();
    (Tensor::from_data(logits, &device()), Tensor::from_data(&*targets, &device()))
}

#[test]
fn it_is_the_accuracy_of_the_host_with_ties_and_nan() -> Outcome {
    let (logits, targets) = samples(300);
    let (on_device, classes) = tensors(&logits, &targets);
    for k in 1..=CLASSES {
        let mut expected = Accuracy::top(k)?;
        expected.update_logits(&logits, &targets)?;
        // As in training, where gradients are recorded.
        let pair = (on_device.clone(), classes.clone());
        let (tracked, beside) = place(pair.clone(), &device().autodiff())?;
        for (logits, classes) in [pair, (tracked.require_grad(), beside)] {
            let count = correct(k, &logits, &classes)?;
            assert!(!count.is_tracked());
            assert_eq!(count.into_scalar::<f64>(), expected.correct() as f64, "top-{k}");
            let share = accuracy(k)(&logits, &classes)?;
            assert_eq!(share.dims(), [1]);
            assert_eq!(Some(share.into_scalar::<f32>()), expected.compute().map(|share| share as f32));
        }
    }
    Ok(())
}

#[test]
fn it_is_in_single_precision_beside_logits_in_half() -> Outcome {
    let (logits, targets) = tensors(&[0.0, 1.0].repeat(3000), &[1; 3000]);
    let count = correct(1, &logits.cast(FloatDType::BF16), &targets)?;
    assert_eq!(count.into_scalar::<f32>(), 3000.0);
    Ok(())
}

#[test]
fn mistakes_are_errors_that_say_what_to_give() {
    let (logits, targets) = tensors(&[0.0; 6], &[0, 1]);
    let check = |k, targets: &Tensor<1, Int>, expected: &str| {
        assert_eq!(message(accuracy(k)(&logits, targets)), expected);
    };
    check(0, &targets, "top-0 accuracy counts nothing as correct; give 1 or more");
    check(4, &targets, "top-4 accuracy of logits for 3 classes is always 1");
    let few = targets.clone().narrow(0, 0, 1);
    check(1, &few, "2 rows of logits for 1 targets; as many are needed");
}

#[test]
fn the_cross_entropy_is_the_mean_of_minus_the_logarithms() {
    let (logits, targets) = tensors(&[0.0, 3_f32.ln(), 0.0, 0.0], &[1, 0]);
    // 3 of 4, and 1 of 2.
    let expected = -(0.75_f32.ln() + 0.5_f32.ln()) / 2.0;
    let loss = cross_entropy(&logits, &targets);
    assert_eq!(loss.dims(), [1]);
    assert!((loss.into_scalar::<f32>() - expected).abs() < 1e-6);
}
