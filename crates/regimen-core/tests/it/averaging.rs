//! Averages of the weights: their members, their timing, their state, and their use.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::one_weight::{Unit, rows, unit, weight};
use regimen_core::auto_unit::{Averaging, EVAL_LOSS, NonFinite};
use regimen_core::callback::Every;
use regimen_core::data::Rank;
use regimen_core::run::{Evaluate, Train};
use regimen_core::saved::{load_parts, load_parts_except, save_parts};
use regimen_core::{BoxError, Fit, Run, State};

fn averaged(unit: &mut Unit) -> f64 {
    unit.with_averaged_weights(|engine| weight(engine))
}

#[test]
fn averages_are_those_of_torchtnt() {
    let reference: Vec<_> = rows(include_str!("../reference/averages.csv")).collect();
    // PyTorch counts the members of a mean in single precision.
    for (name, averaging, tolerance) in [
        ("ema", Averaging::ema(0.9), 1e-12),
        ("ramp", Averaging::ema(0.9).ramp(), 1e-12),
        ("swa", Averaging::swa(), 1e-6),
    ] {
        let mut unit = unit(0.0).average(averaging);
        let mut count = 0;
        for row in reference.iter().filter(|row| row[0] == name) {
            let [target, expected]: [f64; 2] = [row[1].parse().unwrap(), row[2].parse().unwrap()];
            let gradient = weight(unit.engine()) - target;
            Run::new(&mut unit).train(&[gradient], Train::epochs(1)).unwrap();
            let found = averaged(&mut unit);
            count += 1;
            assert!((found - expected).abs() < tolerance, "{name} {count}: {found} is not {expected}");
        }
        assert_eq!((count, unit.averaged()), (120, 120));
    }
}

/// Batches in windows of two, of which the third window is skipped, over two epochs with a short last
/// window.
const BATCHES: [f64; 9] = [0.1, 0.3, -0.2, 0.5, 0.1, 0.1, -0.4, 0.2, 0.3];

fn skips(unit: Unit) -> Unit {
    unit.accumulate(2).non_finite(NonFinite::Skip).after_backward(|engine, state: &mut State| {
        use regimen_core::engine::Engine;
        if state.train_progress().steps % 9 == 4 { engine.scale_gradients(f64::NAN) } else { Ok(()) }
    })
}

/// The weight after each update of an epoch, by hand.
fn by_hand(weight: &mut f64) -> Vec<f64> {
    [[0.1, 0.3], [-0.2, 0.5], [-0.4, 0.2], [0.3, 0.3]]
        .map(|[a, b]| {
            *weight -= (a + b) / 2.0;
            *weight
        })
        .to_vec()
}

#[test]
fn updates_are_averaged_not_steps_and_no_skipped_one() {
    let mut weight = 1.0;
    let all = [by_hand(&mut weight), by_hand(&mut weight)].concat();
    let mean = |some: &[f64]| some.iter().sum::<f64>() / some.len() as f64;
    let ema = |some: &[f64]| some.iter().copied().reduce(|a, w| 0.75 * a + 0.25 * w).unwrap();
    let check = |averaging: Averaging, expected: f64, taken: u64| {
        let mut unit = skips(unit(0.0)).average(averaging);
        Run::new(&mut unit).train(&BATCHES, Train::epochs(2)).unwrap();
        assert_eq!((unit.skipped(), unit.averaged()), (2, taken), "{averaging:?}");
        let found = averaged(&mut unit);
        assert!((found - expected).abs() < 1e-12, "{averaging:?}: {found} is not {expected}");
    };
    check(Averaging::swa(), mean(&all), 8);
    check(Averaging::swa().warm_up(3), mean(&all[3..]), 5);
    check(Averaging::swa().every_nth(3), mean(&[all[0], all[3], all[6]]), 3);
    check(Averaging::swa().warm_up(1).every_nth(2), mean(&[all[1], all[3], all[5], all[7]]), 4);
    check(Averaging::ema(0.75), ema(&all), 8);
    check(Averaging::ema(0.75).warm_up(1).every_nth(3), ema(&[all[1], all[4], all[7]]), 3);
    check(Averaging::swa().by_epoch(), mean(&[all[3], all[7]]), 2);
    check(Averaging::swa().by_epoch().warm_up(1), all[7], 1);
    // No average yet: the trained weights are used.
    check(Averaging::swa().warm_up(8), all[7], 0);
}

#[test]
fn an_average_goes_on_to_the_bit_wherever_the_run_is_restarted() {
    for averaging in
        [Averaging::ema(0.9).ramp().warm_up(2).every_nth(2), Averaging::swa(), Averaging::swa().by_epoch()]
    {
        let fresh = || skips(unit(0.9)).average(averaging);
        let mut whole = fresh();
        Run::new(&mut whole).train(&BATCHES, Train::epochs(2)).unwrap();
        let whole = save_parts(&mut whole).unwrap();
        for stop in 0..18 {
            let (mut first, mut second) = (fresh(), fresh());
            let mut run = Run::new(&mut first);
            run.train(&BATCHES, Train::steps(stop)).unwrap();
            let state = run.run_state().unwrap();
            drop(run);
            let saved = save_parts(&mut first).unwrap();
            load_parts(&mut second, &saved).unwrap();
            let mut run = Run::new(&mut second);
            run.load_run_state(&state).unwrap();
            run.train(&BATCHES, Train::epochs(2)).unwrap();
            drop(run);
            assert_eq!(save_parts(&mut second).unwrap(), whole, "{averaging:?} at {stop}");
        }
    }
}

#[test]
fn evaluation_sees_the_average_and_training_never_does() {
    let check = |averaging: Averaging, expected: f64| {
        let mut unit = unit(0.0).average(averaging);
        let mut run = Run::new(&mut unit);
        run.train(&[0.5, 0.25], Train::epochs(1)).unwrap();
        let report = run.evaluate(&[2.0], Evaluate::whole()).unwrap();
        let metric = run.state().metric(EVAL_LOSS).unwrap();
        assert_eq!((metric.last_value(), report.eval.steps), (2.0 * expected, 1));
        let predicted = run.predict(&[2.0], Evaluate::whole(), |found| {
            assert_eq!(found, 2.0 * expected);
            Ok(())
        });
        predicted.unwrap();
        // In `fit`, with an evaluation between two steps.
        run.fit(&[0.5, 0.25], &[2.0], Fit::epochs(2).eval_every(Every::steps(1))).unwrap();
        drop(run);
        assert_eq!(weight(unit.engine()), 1.0 - 0.75 - 0.75);
        assert_eq!(save_parts(&mut unit).unwrap()["module"].get::<f64>("weight").unwrap(), -0.5);
    };
    check(Averaging::swa(), 0.375);
    check(Averaging::swa().evaluate_raw(), 0.25);
    check(Averaging::swa().warm_up(1), 0.25);
    check(Averaging::swa().warm_up(9), 0.25);
}

#[test]
fn weights_that_are_loaded_are_evaluated_and_are_the_first_of_an_average_that_begins_anew() {
    let mut loaded = save_parts(&mut unit(0.0)).unwrap()["module"].clone();
    loaded.remove("weight").unwrap();
    loaded.insert("weight", 2_f64).unwrap();
    // An average that has not begun stays so.
    for (warm_up, taken, expected) in [(0, 2, [2.0, (2.0 + 1.0) / 2.0]), (9, 0, [2.0, 1.0])] {
        let mut unit = unit(0.0).average(Averaging::swa().warm_up(warm_up));
        Run::new(&mut unit).train(&[0.5, 0.25], Train::epochs(1)).unwrap();
        assert_eq!(unit.averaged(), taken);
        unit.load_weights(&loaded).unwrap();
        let evaluated = |unit: &mut Unit| {
            let report = Run::new(unit).evaluate(&[1.0], Evaluate::whole()).unwrap();
            report.metric(EVAL_LOSS).unwrap()
        };
        assert_eq!((evaluated(&mut unit), weight(unit.engine())), (expected[0], 2.0));
        Run::new(&mut unit).train(&[1.0], Train::epochs(1)).unwrap();
        assert_eq!((evaluated(&mut unit), weight(unit.engine())), (expected[1], 1.0));
    }
}

#[test]
fn the_weights_that_are_trained_are_back_after_errors_and_panics() {
    let mut unit = unit(0.0).average(Averaging::swa());
    let mut run = Run::new(&mut unit);
    run.train(&[0.5, 0.25], Train::epochs(1)).unwrap();
    for panics in [false, true] {
        run.unit_mut().task_mut().refuse = Some(panics);
        run.evaluate(&[2.0], Evaluate::whole()).unwrap_err();
        assert_eq!(weight(run.unit().engine()), 0.25);
        run.predict(&[2.0], Evaluate::whole(), |_| Ok(())).unwrap_err();
        assert_eq!(weight(run.unit().engine()), 0.25);
    }
    drop(run);
    let failed: Result<(), BoxError> = unit.with_averaged_weights(|_| Err("on purpose".into()));
    failed.unwrap_err();
    assert_eq!(weight(unit.engine()), 0.25);
    let panicked = catch_unwind(AssertUnwindSafe(|| unit.with_averaged_weights(|_| panic!("on purpose"))));
    panicked.unwrap_err();
    assert_eq!((weight(unit.engine()), averaged(&mut unit)), (0.25, 0.375));
}

#[test]
fn a_checkpoint_says_which_weights_are_which() {
    let mut unit = unit(0.0).average(Averaging::swa().warm_up(1));
    assert!(save_parts(&mut unit).unwrap()["averaged_module"].is_empty());
    Run::new(&mut unit).train(&[0.5, 0.25, 0.25], Train::epochs(1)).unwrap();
    let saved = save_parts(&mut unit).unwrap();
    let names: Vec<&String> = saved.keys().collect();
    assert_eq!(names, ["auto_unit", "averaged_module", "module", "optimizer"]);
    assert_eq!(saved["module"].get::<f64>("weight").unwrap(), 0.0);
    assert_eq!(saved["averaged_module"].get::<f64>("weight").unwrap(), 0.125);
}

#[test]
fn an_average_can_be_added_and_taken_away_at_a_restart_and_either_is_told() {
    let mut without = unit(0.0);
    let mut with = unit(0.0).average(Averaging::swa());
    for unit in [&mut without, &mut with] {
        Run::new(unit).train(&[0.5, 0.25], Train::epochs(1)).unwrap();
    }
    let told =
        load_parts_except(&mut unit(0.0), &save_parts(&mut with).unwrap(), &[], Rank::default()).unwrap();
    assert_eq!(told, ["part `averaged_module` was saved, and is not used"]);
    // One that was under way is dropped too.
    let told =
        load_parts_except(&mut with, &save_parts(&mut without).unwrap(), &[], Rank::default()).unwrap();
    assert_eq!(told, ["part `averaged_module` was not saved, and begins anew"]);
    assert_eq!((with.averaged(), averaged(&mut with)), (0, 0.25));
}

#[test]
fn an_average_that_is_left_out_of_a_restart_keeps_its_own_count() {
    let swa = || unit(0.0).average(Averaging::swa());
    let mut saved = swa();
    Run::new(&mut saved).train(&[0.5, 0.25], Train::epochs(1)).unwrap();
    let saved = save_parts(&mut saved).unwrap();
    // An average without members, and one under way with the weight 1 - 0.25.
    for (before, taken, expected) in [(&[][..], 0, 0.25), (&[0.25], 1, (0.75 + 0.25) / 2.0)] {
        let mut unit = swa();
        if !before.is_empty() {
            Run::new(&mut unit).train(before, Train::epochs(1)).unwrap();
        }
        load_parts_except(&mut unit, &saved, &["averaged_module".to_owned()], Rank::default()).unwrap();
        assert_eq!(unit.averaged(), taken);
        // Its earlier members and the later ones: the weight 0.25 as it was loaded.
        Run::new(&mut unit).train(&[0.0], Train::epochs(1)).unwrap();
        assert_eq!((unit.averaged(), averaged(&mut unit)), (taken + 1, expected));
    }
}

#[test]
fn settings_that_cannot_be_used_are_errors_when_training_starts() {
    let check = |averaging: Averaging, expected: &str| {
        let mut unit = unit(0.0).average(averaging);
        let error = Run::new(&mut unit).train(&[1.0], Train::epochs(1)).unwrap_err();
        let text = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(text, expected);
    };
    check(Averaging::ema(1.5), "averaging: the decay is 1.5; give one from 0 to 1");
    check(Averaging::ema(f64::NAN), "averaging: the decay is NaN; give one from 0 to 1");
    check(Averaging::swa().ramp(), "averaging: `ramp` is for `ema`, and this is `swa`");
    check(Averaging::swa().every_nth(0), "averaging: every 0 updates is never; give 1 or more");
}
