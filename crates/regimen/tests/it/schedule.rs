//! Schedules against the rates of PyTorch's schedulers, and refused arguments.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail and report as tests do")]

use regimen::BoxError;
use regimen::schedule::Schedule;
use regimen::schedule::*;

/// Written by `reference/schedules.py`: schedule, count, rate.
const PYTORCH: &str = include_str!("../reference/schedules.csv");

fn pytorch(name: &str) -> Vec<f64> {
    let rows = PYTORCH.lines().skip(1).map(|row| row.split(',').collect::<Vec<_>>());
    let rows = rows.filter(|row| row[0] == name).enumerate();
    rows.map(|(count, row)| {
        assert_eq!(row[1], count.to_string(), "the rows of {name} are not in order");
        row[2].parse().unwrap()
    })
    .collect()
}

/// PyTorch computes most rates from the one before, so the two differ by rounding.
fn check(name: &str, schedule: impl Schedule) {
    let expected = pytorch(name);
    assert_eq!(expected.len(), 31, "{name} is not in the reference");
    for (count, expected) in expected.into_iter().enumerate() {
        let rate = schedule.rate(count as u64);
        assert!((rate - expected).abs() <= 1e-12, "{name} at {count}: {rate}, PyTorch has {expected}");
    }
}

#[test]
fn rates_are_those_of_pytorch() -> Result<(), BoxError> {
    check("constant", Constant::new(0.1)?);
    check("constant", 0.1);
    check("step", StepDecay::new(0.1, 0.3, 7)?);
    check("multi_step", MultiStep::new(0.1, 0.5, [11, 20, 3, 11])?);
    check("exponential", Exponential::new(0.1, 0.9)?);
    check("linear_down", Linear::new(0.1, 0.01, 20)?);
    check("linear_up", Linear::new(0.025, 0.1, 9)?);
    check("cosine", Cosine::new(0.1, 30)?);
    check("cosine_minimum", Cosine::new(0.1, 30)?.minimum(0.002)?);
    check("polynomial", Polynomial::new(0.1, 2.0, 24)?);
    check("polynomial_line", Polynomial::new(0.1, 1.0, 24)?);
    check("polynomial_line", Linear::new(0.1, 0.0, 24)?);
    check("warm_up_cosine", Cosine::new(0.1, 24)?.minimum(0.001)?.warm_up(6));
    check("warm_up_step", StepDecay::new(0.1, 0.5, 4)?.warm_up(5));
    check("one_cycle", OneCycle::new(0.1, 31)?);
    check("one_cycle_linear", OneCycle::new(0.1, 31)?.anneal(Anneal::Linear));
    check("anneal_to", AnnealTo::new(Exponential::new(0.1, 0.9)?, 10, 8, 0.05)?);
    check(
        "anneal_to_linear",
        AnnealTo::new(Exponential::new(0.1, 0.9)?, 10, 8, 0.05)?.anneal(Anneal::Linear),
    );
    check("one_cycle_settings", OneCycle::new(0.1, 31)?.rise(0.45)?.divisors(10.0, 100.0)?);
    Ok(())
}

#[test]
fn schedules_of_a_length_stay_at_their_last_rate() -> Result<(), BoxError> {
    let far = [31, 1_000_000, u64::MAX];
    for count in far {
        assert_eq!(Linear::new(0.1, 0.01, 20)?.rate(count), 0.01);
        assert_eq!(Cosine::new(0.1, 30)?.minimum(0.002)?.rate(count), 0.002);
        assert_eq!(Polynomial::new(0.1, 2.0, 24)?.rate(count), 0.0);
        assert_eq!(Cosine::new(0.1, 3)?.minimum(0.002)?.warm_up(20).rate(count), 0.002);
        let last = OneCycle::new(0.1, 31)?.rate(count);
        assert!((last - 0.1 / 25.0 / 1e4).abs() < 1e-15, "{last}");
    }
    Ok(())
}

#[test]
fn a_warm_up_of_nothing_changes_nothing() {
    let halving = |count: u64| 0.5f64.powf(count as f64);
    for count in [0, 1, 7] {
        assert_eq!(halving.warm_up(0).rate(count), halving(count));
        assert_eq!(halving.warm_up(3).rate(count + 3), halving(count));
    }
}

#[test]
fn bad_arguments_are_errors_that_name_them() {
    fn check<S: Schedule>(schedule: Result<S, BoxError>, expected: &str) {
        let Err(error) = schedule else { panic!("no error, but expected: {expected}") };
        assert_eq!(error.to_string(), expected);
    }
    let rate =
        |what: &str, rate: &str| format!("{what} is {rate}; give a finite number that is not negative");
    check(Constant::new(-1.0), &rate("constant schedule: the rate", "-1"));
    check(Constant::new(f64::NAN), &rate("constant schedule: the rate", "NaN"));
    check(Exponential::new(0.1, f64::INFINITY), &rate("exponential schedule: the factor", "inf"));
    check(StepDecay::new(0.1, -0.5, 3), &rate("step schedule: the factor", "-0.5"));
    check(MultiStep::new(f64::NAN, 0.5, [3]), &rate("multi-step schedule: the rate", "NaN"));
    check(Linear::new(0.1, -0.1, 3), &rate("linear schedule: the last rate", "-0.1"));
    check(
        StepDecay::new(0.1, 0.5, 0),
        "step schedule: the number of counts between two steps is 0; give 1 or more",
    );
    check(Linear::new(0.1, 0.0, 0), "linear schedule: the length is 0; give 1 or more");
    check(Cosine::new(0.1, 0), "cosine schedule: the length is 0; give 1 or more");
    check(Polynomial::new(0.1, 1.0, 0), "polynomial schedule: the length is 0; give 1 or more");
    check(Polynomial::new(0.1, 0.0, 5), "polynomial schedule: the power is 0; give one above 0");
    check(
        Cosine::new(0.1, 3).and_then(|cosine| cosine.minimum(0.2)),
        "cosine schedule: the minimum 0.2 is above the rate 0.1",
    );
    check(AnnealTo::new(0.1, 3, 0, 0.1), "annealing schedule: the length is 0; give 1 or more");
    check(AnnealTo::new(0.1, 3, 1, -0.1), &rate("annealing schedule: the last rate", "-0.1"));
    check(OneCycle::new(0.1, 0), "one-cycle schedule: the length is 0; give 1 or more");
    check(
        OneCycle::new(0.1, 3),
        "one-cycle schedule: a length of 3 leaves no room to rise in 0.3 of it; give a length of 4 or more",
    );
    let cycle = || OneCycle::new(0.1, 100);
    check(
        cycle().and_then(|cycle| cycle.rise(1.0)),
        "one-cycle schedule: the rise is 1; give one between 0 and 1",
    );
    check(
        cycle().and_then(|cycle| cycle.divisors(0.0, 10.0)),
        "one-cycle schedule: a divisor is 0; give one above 0",
    );
}

#[track_caller]
fn check_near(found: &[f64], expected: &[f64]) {
    let is_near = |(found, expected): (&f64, &f64)| (found - expected).abs() < 1e-15;
    assert!(found.iter().zip(expected).all(is_near), "{found:?} is not {expected:?}");
}

#[test]
fn phases_reach_their_last_factor_where_the_next_begins() -> Result<(), BoxError> {
    let rates = |phases: &Phases| (0..=12).map(|count| phases.rate(count)).collect::<Vec<_>>();
    // 4 updates per epoch. A phase may end inside an epoch.
    let phases = Phases::new(2.0, 4)?.linear(1.0, 0.0, 1.0)?.constant(0.5, 0.25)?.linear(0.75, 1.0, 0.25)?;
    check_near(&rates(&phases), &[0.0, 0.5, 1.0, 1.5, 0.5, 0.5, 2.0, 1.5, 1.0, 0.5, 0.5, 0.5, 0.5]);
    // By PyTorch's `CosineAnnealingLR(T_max = 4)`, and powers of 2.
    let phases = Phases::new(1.0, 1)?.cosine(4.0, 1.0, 0.0)?.geometric(4.0, 1.0, 16.0)?;
    let half = std::f64::consts::FRAC_1_SQRT_2 / 2.0;
    let expected = [1.0, 0.5 + half, 0.5, 0.5 - half, 1.0, 2.0, 4.0, 8.0, 16.0, 16.0, 16.0, 16.0, 16.0];
    check_near(&rates(&phases), &expected);
    assert_eq!(rates(&Phases::new(0.5, 3)?), [0.5; 13]);
    Ok(())
}

#[test]
fn unusable_phases_are_refused() {
    let phases = || Phases::new(1.0, 10).unwrap();
    for (made, expected) in [
        (Phases::new(-1.0, 10), "phases: the rate is -1; give a finite number that is not negative"),
        (Phases::new(1.0, 0), "phases: the number of updates per epoch is 0; give 1 or more"),
        (phases().linear(0.0, 0.0, 1.0), "phases: a phase of 0 epochs; give a finite number above 0"),
        (phases().cosine(-2.0, 0.0, 1.0), "phases: a phase of -2 epochs; give a finite number above 0"),
        (
            phases().linear(1.0, f64::NAN, 1.0),
            "phases: the factor is NaN; give a finite number that is not negative",
        ),
        (
            phases().geometric(1.0, 0.0, 1.0),
            "phases: a geometric phase from or to 0 never changes; give small factors",
        ),
    ] {
        assert_eq!(made.unwrap_err().to_string(), expected);
    }
}
