//! Parameter groups of a unit: frozen for a while, or with separate rates.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use regimen_core::auto_unit::{NonFinite, Thaw};
use regimen_core::engine::{Engine, Part, any_of};
use regimen_core::run::Train;
use regimen_core::saved::{load_parts, save_parts};
use regimen_core::schedule::LearningRates;
use regimen_core::{AutoUnit, BoxError, Error, Loss, Run, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};

struct Regress;

impl Task<ToyEngine<ToyMlp>> for Regress {
    type Batch = f64;
    type Output = ();

    fn compute_loss(&mut self, _: &Step, mlp: &ToyMlp, x: &f64) -> Result<(Loss<ToyArray>, ()), BoxError> {
        let (x, y) = (ToyArray::new(&[1, 1], &[*x]), ToyArray::new(&[1, 1], &[x.sin()]));
        Ok((Loss::mean(mlp.forward(&x).mean_squared_error(&y), 1.0), ()))
    }
}

type Unit = AutoUnit<ToyEngine<ToyMlp>, Regress>;

/// With the groups `default`, which has the hidden layer, and `output`. Weight decay and moments
/// would move a parameter that is merely given a rate or a gradient of 0.
fn unit() -> Unit {
    manual_seed(3);
    let mut vars = ToyVars::new();
    let mlp = ToyMlp::plain(&mut vars, [1, 3, 1]);
    let engine = ToyEngine::new(vars, mlp, ToyOptimizer::adam_w(0.1)).group("output", any_of(["output.*"]));
    AutoUnit::new(engine, Regress).learning_rate(0.01)
}

/// Whether each of the two layers, and each state of their optimizers, changes in the steps.
fn moved(unit: &mut Unit, steps: u64, run_state: &mut Option<regimen_core::saved::StateDict>) -> [bool; 4] {
    let before = save_parts(unit).unwrap();
    let mut run = Run::new(unit);
    if let Some(state) = run_state {
        run.load_run_state(state).unwrap();
    }
    run.train(&[0.1, 0.2, 0.3, 0.4], Train::steps(steps)).unwrap();
    *run_state = Some(run.run_state().unwrap());
    drop(run);
    let after = save_parts(unit).unwrap();
    let layer = |part: &str, layer: &str| before[part].under(layer) != after[part].under(layer);
    [
        layer("module", "hidden"),
        layer("optimizer", "hidden"),
        layer("module", "output"),
        layer("optimizer", "output"),
    ]
}

const HIDDEN: [bool; 4] = [true, true, false, false];
const BOTH: [bool; 4] = [true; 4];

#[test]
fn a_frozen_group_stays_with_its_optimizer_until_it_thaws() {
    let (mut never, mut state) = (unit().freeze("output", Thaw::Never), None);
    assert_eq!(moved(&mut never, 4, &mut state), HIDDEN);
    assert_eq!(moved(&mut never, 9, &mut state), HIDDEN);
    // Four steps are an epoch; with windows of two they are two updates.
    let check = |until, accumulate, frozen_steps| {
        let (mut unit, mut state) = (unit().accumulate(accumulate).freeze("output", until), None);
        assert_eq!(moved(&mut unit, frozen_steps, &mut state), HIDDEN, "{until:?}");
        assert_eq!(moved(&mut unit, frozen_steps + accumulate, &mut state), BOTH, "{until:?}");
    };
    check(Thaw::AtUpdate(3), 1, 3);
    check(Thaw::AtUpdate(3), 2, 6);
    check(Thaw::AtEpoch(1), 1, 4);
    check(Thaw::AtEpoch(2), 2, 8);
}

#[test]
fn a_run_that_freezes_goes_on_to_the_bit_wherever_it_is_restarted() {
    let fresh =
        || unit().accumulate(2).freeze("output", Thaw::AtUpdate(3)).freeze("default", Thaw::AtEpoch(0));
    let mut whole = fresh();
    moved(&mut whole, 12, &mut None);
    for stop in 0..12 {
        let (mut first, mut second, mut state) = (fresh(), fresh(), None);
        moved(&mut first, stop, &mut state);
        load_parts(&mut second, &save_parts(&mut first).unwrap()).unwrap();
        moved(&mut second, 12, &mut state);
        assert_eq!(save_parts(&mut second).unwrap(), save_parts(&mut whole).unwrap(), "at {stop}");
    }
}

#[test]
fn rates_and_frozen_groups_are_those_of_the_next_update_after_an_epoch_and_after_a_load() {
    let fresh = || {
        unit()
            .freeze("output", Thaw::AtEpoch(2))
            .learning_rate_by_epoch(|epochs: u64| 0.5_f64.powi(epochs as i32))
    };
    let seen = |unit: &Unit| (unit.is_frozen("output"), unit.learning_rates()[0].1);
    let (mut run, mut loaded) = (Run::owned(fresh()), fresh());
    for (epochs, expected) in [(0, (true, 1.0)), (1, (true, 0.5)), (2, (false, 0.25)), (3, (false, 0.125))] {
        run.train(&[0.1, 0.2], Train::epochs(epochs)).unwrap();
        assert_eq!(seen(run.unit()), expected);
        load_parts(&mut loaded, &save_parts(run.unit_mut()).unwrap()).unwrap();
        assert_eq!(seen(&loaded), expected);
    }
    load_parts(&mut loaded, &save_parts(&mut fresh()).unwrap()).unwrap();
    assert_eq!(seen(&loaded), (true, 1.0));
}

#[test]
fn an_engine_that_is_taken_out_is_not_frozen() {
    let (mut first, mut state) = (unit().freeze("output", Thaw::Never), None);
    assert_eq!(moved(&mut first, 2, &mut state), HIDDEN);
    let (engine, task) = first.into_parts();
    assert_eq!(moved(&mut AutoUnit::new(engine, task), 2, &mut None), BOTH);
}

#[test]
fn a_checkpoint_from_after_the_thaw_goes_into_a_unit_that_is_frozen() {
    let fresh = || unit().accumulate(2).freeze("output", Thaw::AtUpdate(1));
    let (mut later, mut state) = (fresh(), None);
    // In the middle of a window in which all are trained.
    moved(&mut later, 5, &mut state);
    let saved = save_parts(&mut later).unwrap();
    moved(&mut later, 8, &mut state.clone());
    let (mut frozen, mut none) = (fresh(), None);
    moved(&mut frozen, 1, &mut none);
    load_parts(&mut frozen, &saved).unwrap();
    moved(&mut frozen, 8, &mut state);
    assert_eq!(save_parts(&mut frozen).unwrap(), save_parts(&mut later).unwrap());
}

#[test]
fn what_is_frozen_is_not_in_the_norm_that_clips() {
    let norm = |unit: Unit| {
        let (sender, seen) = std::sync::mpsc::channel();
        let mut unit = unit.clip_norm(1e9).before_update(move |engine, _| {
            sender.send((engine.gradient_norm()?, engine.state(Part::Gradients)?.len()))?;
            Ok(())
        });
        Run::new(&mut unit).train(&[0.5], Train::epochs(1)).unwrap();
        seen.recv().unwrap()
    };
    let (all, hidden) = (norm(unit()), norm(unit().freeze("output", Thaw::Never)));
    assert_eq!((all.1, hidden.1), (4, 2));
    assert!(hidden.0 < all.0);
}

#[test]
fn a_factor_scales_the_rate_of_its_group_whatever_that_is() {
    let unit = unit().group_learning_rate("output", 0.5).scale_learning_rate("output", 0.1);
    let unit = unit.scale_learning_rate("default", 0.5).scale_learning_rate("default", 0.5);
    let rates = unit.learning_rates();
    assert_eq!(rates, [("default".to_owned(), 0.01 * 0.25), ("output".to_owned(), 0.05)]);
}

#[test]
fn groups_that_are_not_there_and_factors_that_are_no_factors_are_refused() {
    let refused =
        |mut unit: Unit| -> Error { Run::new(&mut unit).train(&[0.1], Train::epochs(1)).unwrap_err() };
    let text = |unit| std::error::Error::source(&refused(unit)).unwrap().to_string();
    assert_eq!(
        text(unit().freeze("head", Thaw::Never)),
        "`freeze`: there is no group `head`; the engine has: default, output"
    );
    assert_eq!(
        text(unit().freeze("default", Thaw::AtEpoch(1)).freeze("output", Thaw::Never)),
        "`freeze`: all parameter groups are frozen, so there is nothing to train"
    );
    assert_eq!(
        text(unit().scale_learning_rate("head", 1.0)),
        "`scale_learning_rate`: there is no group `head`; the engine has: default, output"
    );
    assert_eq!(
        text(unit().scale_learning_rate("output", -1.0)),
        "`scale_learning_rate`: the factor of `output` is -1; give a finite number of at least 0"
    );
}

#[test]
fn what_is_frozen_and_skipped_otherwise_than_in_a_checkpoint_is_told_when_training_starts() {
    let mut first = unit().freeze("output", Thaw::AtUpdate(3)).non_finite(NonFinite::Skip).skip_limit(20);
    let saved = save_parts(&mut first).unwrap();
    let check = |mut second: Unit, expected: &[&str]| {
        load_parts(&mut second, &saved).unwrap();
        let report = Run::new(&mut second).train(&[0.1], Train::epochs(1)).unwrap();
        assert_eq!(report.notices, expected);
    };
    let skips = |unit: Unit, limit| unit.non_finite(NonFinite::Skip).skip_limit(limit);
    check(skips(unit().freeze("output", Thaw::AtUpdate(3)), 20), &[]);
    check(
        skips(unit().freeze("output", Thaw::Never), 30).hold_frozen_statistics(),
        &[
            "`freeze.output` is Never now, and was AtUpdate(3) in the checkpoint",
            "`skip_limit` is 30 now, and was 20 in the checkpoint",
            "`hold_frozen_statistics` is true now, and was not set in the checkpoint",
        ],
    );
    check(
        unit(),
        &[
            "`freeze.output` is not set now, and was AtUpdate(3) in the checkpoint",
            "`non_finite` is Error now, and was Skip in the checkpoint",
            "`skip_limit` is not set now, and was 20 in the checkpoint",
        ],
    );
}

#[test]
fn a_dry_run_uses_up_no_notice_of_the_run() {
    let saved = save_parts(&mut unit()).unwrap();
    let mut unit = unit().hold_frozen_statistics();
    load_parts(&mut unit, &saved).unwrap();
    let mut run = Run::new(&mut unit);
    let notice = ["`hold_frozen_statistics` is true now, and was not set in the checkpoint"];
    for _ in 0..2 {
        let dry = run.dry_run(|mut dry| dry.train(&[0.1], Train::epochs(1))).unwrap().unwrap();
        assert_eq!(dry.notices, notice);
    }
    assert_eq!(run.train(&[0.1], Train::epochs(1)).unwrap().notices, notice);
    assert_eq!(run.train(&[0.1], Train::epochs(2)).unwrap().notices, [""; 0]);
}

/// Trains with all layers but the last frozen. Returns their running mean after a step
/// that failed, and at the end.
fn statistics(holds: bool, fails: bool) -> [Vec<f64>; 2] {
    manual_seed(3);
    let mut vars = ToyVars::new();
    let mlp = ToyMlp::regularized(&mut vars, [1, 2, 1], 0.0);
    let engine =
        ToyEngine::new(vars, mlp, ToyOptimizer::sgd(0.0)).group("body", |n| !n.starts_with("output"));
    let mut failed = !fails;
    let mut unit = AutoUnit::new(engine, Regress).freeze("body", Thaw::Never).before_update(move |_, _| {
        match std::mem::replace(&mut failed, true) {
            true => Ok(()),
            false => Err("once".into()),
        }
    });
    if holds {
        unit = unit.hold_frozen_statistics();
    }
    let mean = |unit: &mut AutoUnit<ToyEngine<ToyMlp>, Regress>| -> Vec<f64> {
        save_parts(unit).unwrap()["module"].array("centre.running_mean").unwrap().to_vec().unwrap()
    };
    let data = [5.0; 9];
    let mut failure = Vec::new();
    if fails {
        Run::new(&mut unit).train(&data, Train::steps(1)).unwrap_err();
        failure = mean(&mut unit);
    }
    Run::new(&mut unit).train(&data, Train::steps(9)).unwrap();
    [failure, mean(&mut unit)]
}

#[test]
fn the_running_statistics_of_a_frozen_group_are_held_where_that_is_asked_for() {
    assert_eq!(statistics(true, false)[1], [0.0; 2]);
    assert_ne!(statistics(false, false)[1], [0.0; 2]);
}

#[test]
fn a_step_that_fails_leaves_running_statistics_as_they_were() {
    for holds in [true, false] {
        let [failure, end] = statistics(holds, true);
        assert_eq!(failure, [0.0; 2]);
        assert_eq!(end, statistics(holds, false)[1]);
    }
}
