//! Reports of numbers that are not finite.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use crate::one_weight::{Unit, unit, weight};
use regimen_core::Run;
use regimen_core::auto_unit::{Averaging, NonFinite};
use regimen_core::engine::Engine;
use regimen_core::run::Train;

#[track_caller]
fn check(unit: Unit, batches: &[f64], expected: &str, expected_weight: f64) {
    let mut unit = unit;
    let error = Run::new(&mut unit).train(batches, Train::epochs(1)).unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), expected);
    assert_eq!(error.not_finite_step(), Some(error.place().step));
    let found = weight(unit.engine());
    assert!(found == expected_weight || found.is_nan() && expected_weight.is_nan(), "{found}");
}

#[test]
fn a_loss_that_is_not_finite_is_traced_to_what_was_first() {
    let detecting = || unit(0.0).detect_anomaly(true);
    check(unit(0.0), &[f64::NAN], "the loss is not finite: NaN", 1.0);
    check(
        detecting(),
        &[0.5, f64::INFINITY],
        "the loss is not finite: inf; the first output that was not finite is that of `product`",
        0.5,
    );
    // Detection is independent of the policy.
    check(
        detecting().non_finite(NonFinite::Skip),
        &[f64::NAN],
        "the loss is not finite: NaN; the first output that was not finite is that of `product`",
        1.0,
    );
}

#[test]
fn a_gradient_that_is_not_finite_is_named() {
    let spoil = |unit: Unit| unit.after_backward(|engine, _| engine.scale_gradients(f64::NAN));
    check(
        spoil(unit(0.0).clip_norm(1.0)),
        &[0.5],
        "the gradient is not finite: its norm is NaN; gradient `weight` is not finite",
        1.0,
    );
    // Both losses are finite, and their gradients; the sum of the gradients is not.
    check(
        unit(0.0).detect_anomaly(true).accumulate(2),
        &[f64::MAX, f64::MAX],
        "after backward, gradient `weight` is not finite",
        1.0,
    );
}

#[test]
fn a_parameter_that_an_update_spoilt_is_named() {
    let spoilt = |unit: Unit| unit.learning_rate(f64::MAX);
    check(
        spoilt(unit(0.0).detect_anomaly(true)),
        &[2.0, 2.0],
        "after the update, parameter or buffer `weight` is not finite",
        f64::NEG_INFINITY,
    );
    // Without detection the next loss shows it.
    check(
        spoilt(unit(0.0)),
        &[2.0, 2.0],
        "the loss is not finite: -inf; parameter or buffer `weight` is not finite",
        f64::NEG_INFINITY,
    );
}

#[test]
fn detecting_changes_nothing_where_all_is_finite() {
    let batches = [0.5, -0.25, 0.125];
    let train = |unit: Unit| {
        let mut unit = unit.average(Averaging::swa());
        Run::new(&mut unit).train(&batches, Train::epochs(2)).unwrap();
        regimen_core::saved::save_parts(&mut unit).unwrap()
    };
    assert_eq!(train(unit(0.9).detect_anomaly(true)), train(unit(0.9)));
}
