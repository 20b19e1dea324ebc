//! Rules that PyTorch has too, compared with its results for the same numbers: the gradient scaler, and
//! rates that fall on a plateau.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::one_weight::{Unit, rows, unit, weight};
use regimen_core::auto_unit::{EVAL_LOSS, GradientScaler, Plateau, TRAIN_LOSS};
use regimen_core::callback::Every;
use regimen_core::engine::{Engine, Precision};
use regimen_core::run::Train;
use regimen_core::saved::{load_parts, save_parts};
use regimen_core::schedule::LearningRates;
use regimen_core::state::Phase;
use regimen_core::{Fit, Run};

fn scaler() -> GradientScaler {
    GradientScaler::new().initial(1024.0).growth(3.0).back_off(0.25).growth_interval(4)
}

/// A unit whose gradients overflow on request.
fn scaled(scaler: GradientScaler) -> (Unit, Arc<AtomicBool>) {
    let overflows = Arc::new(AtomicBool::new(false));
    let told = overflows.clone();
    let unit =
        unit(0.9).precision(Precision::F16).gradient_scaler(scaler).after_backward(move |engine, _| {
            if told.load(Ordering::Relaxed) { engine.scale_gradients(f64::INFINITY) } else { Ok(()) }
        });
    (unit, overflows)
}

#[test]
fn the_scale_goes_as_pytorchs_does_and_a_skipped_update_moves_nothing() {
    let (mut unit, overflows) = scaled(scaler());
    let rates = Arc::new(std::sync::Mutex::new(Vec::new()));
    let asked = rates.clone();
    unit = unit.learning_rate(move |n: u64| {
        asked.lock().unwrap().push(n);
        0.125
    });
    let (mut skipped, mut updates) = (0, 0);
    for (n, row) in rows(include_str!("../reference/scaler.csv")).enumerate() {
        let overflow = row[0] == "1";
        overflows.store(overflow, Ordering::Relaxed);
        let before = save_parts(&mut unit).unwrap();
        Run::new(&mut unit).train(&[0.5], Train::epochs(1)).unwrap();
        let after = save_parts(&mut unit).unwrap();
        let own = &after["auto_unit"];
        assert_eq!(unit.gradient_scale(), Some(row[1].parse().unwrap()), "update {n}");
        assert_eq!(own.get::<u64>("scaler.streak").unwrap(), row[2].parse::<u64>().unwrap(), "update {n}");
        skipped += u64::from(overflow);
        updates += u64::from(!overflow);
        assert_eq!(unit.skipped(), skipped);
        for part in ["module", "optimizer"] {
            assert_eq!(before[part] == after[part], overflow, "update {n}: {part}");
        }
        // Every new run counts its updates from 0.
        assert_eq!(std::mem::take(&mut *rates.lock().unwrap()), vec![0; usize::from(!overflow)]);
    }
    assert!(skipped > 15 && updates > 60);
}

#[test]
fn a_scaled_update_is_the_unscaled_one() {
    let (mut scaled, _) = scaled(GradientScaler::new().initial(1024.0));
    let mut plain = unit(0.9);
    // Numbers that half precision holds, and whose products it holds too.
    for unit in [&mut scaled, &mut plain] {
        Run::new(unit).train(&[0.5, 0.25, -0.125, 0.5], Train::epochs(3)).unwrap();
    }
    assert_eq!(weight(scaled.engine()), weight(plain.engine()));
}

#[test]
fn the_scale_is_saved_and_a_precision_without_one_passes_it_over() {
    let (mut first, overflows) = scaled(scaler());
    overflows.store(true, Ordering::Relaxed);
    Run::new(&mut first).train(&[0.5], Train::epochs(1)).unwrap();
    let saved = save_parts(&mut first).unwrap();
    let (mut second, _) = scaled(scaler());
    load_parts(&mut second, &saved).unwrap();
    assert_eq!(second.gradient_scale(), Some(256.0));
    let mut plain = unit(0.9);
    load_parts(&mut plain, &saved).unwrap();
    assert_eq!((plain.gradient_scale(), plain.skipped()), (None, 1));
    let saved = save_parts(&mut plain).unwrap();
    load_parts(&mut second, &saved).unwrap();
    assert_eq!(second.gradient_scale(), Some(256.0));
}

#[test]
fn a_window_goes_on_in_another_precision() {
    // Four steps of the gradients 0.5, 0.25, 0.25 and 1, two of them before the change.
    let batches = [0.5, 0.25, 0.25, 1.0];
    let make = |is_half: bool| {
        let (half, _) = scaled(GradientScaler::new().initial(1024.0));
        if is_half { half.accumulate(4) } else { unit(0.9).accumulate(4) }
    };
    for (before, after) in [(true, false), (false, true), (true, true)] {
        let (mut first, mut second) = (make(before), make(after));
        let mut run = Run::new(&mut first);
        run.train(&batches, Train::steps(2)).unwrap();
        let state = run.run_state().unwrap();
        drop(run);
        load_parts(&mut second, &save_parts(&mut first).unwrap()).unwrap();
        let mut run = Run::new(&mut second);
        run.load_run_state(&state).unwrap();
        run.train(&batches, Train::epochs(1)).unwrap();
        drop(run);
        assert_eq!((weight(second.engine()), second.skipped()), (0.5, 0), "{before} {after}");
    }
}

#[test]
fn the_scale_alone_decides_what_overflows_however_heavy_the_batches_are() {
    let (mut unit, _) = scaled(GradientScaler::new().initial(1024.0));
    unit = unit.accumulate(2);
    unit.task_mut().weight = 8192.0;
    Run::new(&mut unit).train(&[0.5, 0.25], Train::epochs(1)).unwrap();
    assert_eq!((weight(unit.engine()), unit.skipped()), (1.0 - 0.375, 0));
}

#[test]
fn an_overflow_that_no_scale_ends_is_an_error() {
    let (mut unit, overflows) = scaled(GradientScaler::new());
    overflows.store(true, Ordering::Relaxed);
    let error = Run::new(&mut unit).train(&vec![0.5; 100], Train::epochs(1)).unwrap_err();
    let text = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(
        text,
        "the gradient is not finite even at a scale of 0.000000059604645; the scale is not the cause"
    );
    assert_eq!(weight(unit.engine()), 1.0);
}

#[test]
fn rules_that_cannot_be_used_are_errors_when_training_starts() {
    let check = |scaler: GradientScaler, expected: &str| {
        let (mut unit, _) = scaled(scaler);
        let error = Run::new(&mut unit).train(&[1.0], Train::epochs(1)).unwrap_err();
        let text = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(text, format!("gradient scaler: {expected}"));
    };
    check(scaler().initial(0.0), "the scale is 0; give one of at least 0.000000059604645");
    check(scaler().growth(1.0), "the growth is 1; give one above 1");
    check(scaler().back_off(1.0), "the back-off is 1; give one between 0 and 1");
    check(scaler().growth_interval(0), "it cannot grow every 0 updates; give 1 or more");
}

fn plateaus(phase: Phase) -> [Plateau; 4] {
    let key = if phase == Phase::Train { TRAIN_LOSS } else { EVAL_LOSS };
    [
        Plateau::min(key.clone()),
        Plateau::min(key.clone()).factor(0.5).patience(2).cooldown(3).minimum(1e-3),
        Plateau::max(key.clone()).factor(0.3).patience(0).threshold(0.05),
        Plateau::max(key).factor(0.5).patience(1).threshold_absolute(0.02).cooldown(1),
    ]
    .map(|plateau| plateau.phase(phase))
}

#[test]
fn rates_fall_on_a_plateau_as_pytorchs_do() {
    let reference: Vec<_> = rows(include_str!("../reference/plateau.csv")).collect();
    for (number, plateau) in plateaus(Phase::Eval).into_iter().enumerate() {
        let fresh = || unit(0.0).learning_rate(0.1).reduce_on_plateau(plateau.clone());
        let mut unit = fresh();
        let mut checks = 0;
        for row in reference.iter().filter(|row| row[0] == number.to_string()) {
            // The weight stays 1, so the loss of an evaluation is its batch.
            let metric: f64 = row[1].parse().unwrap_or(f64::NAN);
            Run::new(&mut unit).fit(&[0.0], &[metric], Fit::epochs(1)).unwrap();
            let found = unit.learning_rates()[0].1;
            let expected: f64 = row[2].parse().unwrap();
            checks += 1;
            assert!(
                (found - expected).abs() <= 1e-12 * expected,
                "{number} {checks}: {found}, not {expected}"
            );
            // A new unit goes on from what was saved.
            let saved = save_parts(&mut unit).unwrap();
            unit = fresh();
            load_parts(&mut unit, &saved).unwrap();
        }
        assert_eq!(checks, 60);
    }
}

#[test]
fn a_plateau_looks_at_what_it_is_told_and_at_no_evaluation_outside_of_fit() {
    let impatient = |phase: Phase| {
        let key = if phase == Phase::Train { TRAIN_LOSS } else { EVAL_LOSS };
        unit(0.0).learning_rate(0.1).reduce_on_plateau(Plateau::min(key).patience(0).phase(phase))
    };
    let rate = |unit: &Unit| unit.learning_rates()[0].1;
    let mut unit = impatient(Phase::Train);
    let mut run = Run::new(&mut unit);
    run.fit(&[0.0], &[1.0], Fit::epochs(2).eval_every(Every::steps(100))).unwrap();
    drop(run);
    assert_eq!(rate(&unit), 0.1 * 0.1);
    let mut unit = impatient(Phase::Eval);
    let mut run = Run::new(&mut unit);
    (0..3).for_each(|_| drop(run.evaluate(&[1.0], regimen_core::run::Evaluate::whole()).unwrap()));
    drop(run);
    assert_eq!(rate(&unit), 0.1);
    let mut unit = impatient(Phase::Eval).reduce_on_plateau(Plateau::min(TRAIN_LOSS));
    let error = Run::new(&mut unit).fit(&[0.0], &[1.0], Fit::epochs(1)).unwrap_err();
    let text = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(text, "plateau: `train/loss` was not logged in eval; logged there: eval/loss");
}
