//! A scheduled momentum.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::one_weight::{Slope, Unit, unit, weight};
use regimen_core::auto_unit::NonFinite;
use regimen_core::run::Train;
use regimen_core::saved::{load_parts, save_parts};
use regimen_core::schedule::LearningRates;
use regimen_core::{AutoUnit, Error, Run};
use regimen_test::toy::{ToyEngine, ToyOptimizer, ToyVars};

fn scheduled(momenta: &'static [f64]) -> Unit {
    unit(0.9).momentum(|n: u64| momenta[n as usize])
}

#[test]
fn an_update_has_the_momentum_that_is_scheduled_for_it() {
    let mut unit = scheduled(&[0.0, 0.5, 0.25, 0.125]);
    Run::new(&mut unit).train(&[1.0, 2.0, 4.0], Train::epochs(1)).unwrap();
    // The velocities are 1, 0.5 * 1 + 2 and 0.25 * 2.5 + 4.
    assert_eq!(weight(unit.engine()), 1.0 - 1.0 - 2.5 - 4.625);
    assert_eq!(unit.scheduled_momentum(), Some(0.125));
    assert_eq!(self::unit(0.9).scheduled_momentum(), None);
}

#[test]
fn a_skipped_update_leaves_the_schedule_where_it_was() {
    let mut unit = scheduled(&[0.0, 0.5, 0.25]).non_finite(NonFinite::Skip);
    Run::new(&mut unit).train(&[1.0, f64::NAN, 2.0], Train::epochs(1)).unwrap();
    assert_eq!(weight(unit.engine()), 1.0 - 1.0 - 2.5);
}

fn cause(error: &Error) -> String {
    std::error::Error::source(error).unwrap().to_string()
}

#[test]
fn a_momentum_that_cannot_be_used_is_an_error() {
    for (momentum, told) in [(1.0, "1"), (-0.5, "-0.5"), (f64::NAN, "NaN")] {
        let mut unit = self::unit(0.9).momentum(momentum);
        let error = Run::new(&mut unit).train(&[1.0], Train::epochs(1)).unwrap_err();
        let expected = format!(
            "the momentum is {told} after 0 updates; give a schedule that returns numbers from 0 to less than 1"
        );
        assert_eq!(cause(&error), expected);
        assert_eq!(weight(unit.engine()), 1.0);
    }
    // Later it is an error of its update.
    let mut later = scheduled(&[0.5, 1.5]);
    let error = Run::new(&mut later).train(&[1.0, 2.0], Train::epochs(1)).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "unit failed in train_step in train at epoch 0 step 1: the momentum is 1.5 after 1 update; give a schedule that \
         returns numbers from 0 to less than 1"
    );
    let mut vars = ToyVars::new();
    let module = crate::one_weight::Weight(vars.parameter("weight", &[], 0.0));
    let engine = ToyEngine::new(vars, module, ToyOptimizer::adam_w(0.0));
    let mut adam = AutoUnit::new(engine, Slope { weight: 1.0, refuse: None }).momentum(0.5);
    let error = Run::new(&mut adam).train(&[1.0], Train::epochs(1)).unwrap_err();
    let expected = "`momentum`: the toy AdamW has no momentum that can be changed; use SGD";
    assert_eq!(cause(&error), expected);
}

#[test]
fn another_momentum_than_that_of_the_checkpoint_is_told() {
    let notices = |first: Unit, second: Unit| {
        let (mut first, mut second) = (first, second);
        Run::new(&mut first).train(&[1.0, 2.0], Train::epochs(1)).unwrap();
        load_parts(&mut second, &save_parts(&mut first).unwrap()).unwrap();
        Run::new(&mut second).train(&[1.0], Train::epochs(1)).unwrap().notices
    };
    assert_eq!(notices(scheduled(&[0.5, 0.25]), scheduled(&[0.75, 0.25])), [""; 0]);
    assert_eq!(
        notices(scheduled(&[0.5, 0.25]), unit(0.9).momentum(0.5)),
        ["the momentum was 0.25 at update 2, and would be 0.5 now"]
    );
    assert_eq!(
        notices(unit(0.9), unit(0.9).momentum(0.5)),
        ["`momentum` is scheduled now, and was not set in the checkpoint"]
    );
}
