//! Accuracy on the device against the one of `regimen::metric`, and the cross-entropy by hand.

#![allow(clippy::unwrap_used)]

use regimen::BoxError;
use regimen::metric::{Accuracy, Measure};
use regimen::random::Random;
use regimen_torch::tch::{Kind, Tensor};
use regimen_torch::{accuracy, correct, cross_entropy};

const CLASSES: usize = 5;

/// Logits with many ties, some rows with a NaN or an infinity, and targets.
fn samples(count: usize) -> (Vec<f32>, Vec<usize>) {
    let mut random = Random::new(1);
    let values = [-1.5, 0.25, 0.0, -0.0, 2.0, f32::INFINITY, f32::NEG_INFINITY];
    let mut logits: Vec<f32> = (0..count * CLASSES).map(|_| values[random.below(7) as usize]).collect();
    logits.iter_mut().step_by(23).for_each(|logit| *logit = f32::NAN);
    (logits, (0..count).map(|_| random.below(CLASSES as u64) as usize).collect())
}

fn tensors(logits: &[f32], targets: &[usize]) -> (Tensor, Tensor) {
    let targets: Vec<i64> = targets.iter().map(|&target| target as i64).collect();
    (Tensor::from_slice(logits).view([targets.len() as i64, -1]), Tensor::from_slice(&targets))
}

#[test]
fn it_is_the_accuracy_of_the_host_with_ties_and_nan() -> Result<(), BoxError> {
    let (logits, targets) = samples(300);
    let (on_device, classes) = tensors(&logits, &targets);
    for k in 1..=CLASSES {
        let mut expected = Accuracy::top(k)?;
        expected.update_logits(&logits, &targets)?;
        // As in training, where gradients are recorded.
        let tracked = on_device.copy().set_requires_grad(true);
        for logits in [&on_device, &tracked] {
            let (count, share) = (correct(k, logits, &classes)?, accuracy(k)(logits, &classes)?);
            assert!(!count.requires_grad());
            assert_eq!(count.double_value(&[]), expected.correct() as f64, "top-{k}");
            let expected = expected.compute().map(|share| f64::from(share as f32));
            assert_eq!(Some(share.double_value(&[])), expected);
        }
    }
    Ok(())
}

#[test]
fn it_is_in_single_precision_beside_logits_in_half() -> Result<(), BoxError> {
    let (logits, targets) = tensors(&[0.0, 1.0].repeat(3000), &[1; 3000]);
    let count = correct(1, &logits.to_kind(Kind::BFloat16), &targets)?;
    assert_eq!((count.kind(), count.double_value(&[])), (Kind::Float, 3000.0));
    Ok(())
}

#[test]
fn mistakes_are_errors_that_say_what_to_give() {
    let (logits, targets) = tensors(&[0.0; 6], &[0, 1]);
    let check = |k, targets: &Tensor, expected: &str| {
        assert_eq!(accuracy(k)(&logits, targets).unwrap_err().to_string(), expected);
    };
    check(0, &targets, "top-0 accuracy counts nothing as correct; give 1 or more");
    check(4, &targets, "top-4 accuracy of logits for 3 classes is always 1");
    check(1, &targets.narrow(0, 0, 1), "2 rows of logits for 1 targets; as many are needed");
    check(
        1,
        &targets.unsqueeze(1),
        "logits of shape [2, 3] for targets of shape [2, 1]; they are [samples, classes] and [samples]",
    );
    check(1, &(&targets + 3), "index 3 is out of bounds for dimension 1 with size 3");
}

#[test]
fn the_cross_entropy_is_the_mean_of_minus_the_logarithms() -> Result<(), BoxError> {
    let (logits, targets) = tensors(&[0.0, 3_f32.ln(), 0.0, 0.0], &[1, 0]);
    // 3 of 4, and 1 of 2.
    let expected = -(0.75_f64.ln() + 0.5_f64.ln()) / 2.0;
    assert!((cross_entropy(&logits, &targets)?.double_value(&[]) - expected).abs() < 1e-6);
    let error = cross_entropy(&logits, &targets.unsqueeze(1)).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    Ok(())
}
