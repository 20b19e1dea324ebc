//! Statistics and quantiles of numbers against numpy.

use regimen::BoxError;
use regimen::metric::{Measure, Quantile, Running};
use regimen::random::Random;
use regimen::saved::{Array, Stateful};
use serde::{Deserialize, Serialize};

use super::parts::at_once_and_merged;
use super::reference::{answers, assert_close};

#[derive(Serialize)]
struct Case {
    values: Vec<f64>,
    q: f64,
}

#[derive(Deserialize)]
struct Answer {
    mean: Option<f64>,
    variance: Option<f64>,
    sample_variance: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    quantile: Option<f64>,
}

fn cases() -> Vec<Case> {
    let mut random = Random::new(10);
    let mut case = |number| {
        let mut value = |_| match number % 4 {
            0 => 0.1,
            1 => (3.0 * random.normal()).round(),
            2 => 10.0 + random.normal(),
            _ => random.normal(),
        };
        let values = (0..number % 41).map(&mut value).collect();
        let q = [0.0, 0.5, 0.95, 1.0, random.uniform()][random.below(5) as usize];
        Case { values, q }
    };
    (0..1_200).map(&mut case).collect()
}

#[test]
fn reference_values_are_those_of_numpy() -> Result<(), BoxError> {
    let cases = cases();
    let Some(expected) = answers::<Vec<Answer>>("running.py", &cases) else { return Ok(()) };
    assert_eq!(expected.len(), cases.len());
    let mut random = Random::new(11);
    for (number, (Case { values, q }, expected)) in cases.iter().zip(expected).enumerate() {
        let both = at_once_and_merged(&Running::new(), values.len(), &mut random, |running, part| {
            running.update(&values[part])
        })?;
        for found in both {
            assert_eq!(found.count(), values.len() as u64);
            assert_close(found.compute(), expected.mean, &format!("mean of case {number}"));
            assert_close(found.variance(), expected.variance, &format!("variance of case {number}"));
            let estimate = expected.sample_variance;
            assert_close(found.sample_variance(), estimate, &format!("sample variance of case {number}"));
            assert_eq!((found.min(), found.max()), (expected.min, expected.max), "case {number}");
        }
        let [whole, merged] =
            at_once_and_merged(&Quantile::new(*q)?, values.len(), &mut random, |quantile, part| {
                quantile.update(&values[part])
            })?;
        assert_eq!(merged, whole);
        assert_close(whole.compute(), expected.quantile, &format!("quantile {q} of case {number}"));
    }
    Ok(())
}

#[test]
fn statistics_are_those_computed_by_hand() -> Result<(), BoxError> {
    let (mut running, mut other) = (Running::new(), Running::new());
    running.update(&[4.0, 4.0, 4.0, 9.0])?;
    other.update(&[2.0, 5.0, 5.0, 7.0])?;
    running.merge(&other)?;
    assert_eq!((running.count(), running.compute()), (8, Some(5.0)));
    assert_eq!((running.variance(), running.sample_variance()), (Some(4.0), Some(32.0 / 7.0)));
    other.merge(&running)?;
    assert_eq!((running.min(), running.max()), (Some(2.0), Some(9.0)));
    assert_eq!((other.min(), other.max()), (Some(2.0), Some(9.0)));
    Ok(())
}

#[test]
fn equal_values_have_no_variance_in_any_parts() -> Result<(), BoxError> {
    let mut running = Running::new();
    assert_eq!(
        (running.compute(), running.variance(), running.min(), running.max()),
        (None, None, None, None)
    );
    for batch in [&[0.1; 3][..], &[], &[0.1; 7]] {
        running.update(batch)?;
    }
    assert_eq!((running.count(), running.compute()), (10, Some(0.1)));
    assert_eq!((running.variance(), running.sample_variance()), (Some(0.0), Some(0.0)));
    let mut one = Running::new();
    one.update_values(&[1.5_f32])?;
    assert_eq!((one.variance(), one.sample_variance(), one.max()), (Some(0.0), None, Some(1.5)));
    Ok(())
}

/// Numbers far from 0 for their deviation, whose statistics are known.
#[test]
fn the_error_of_the_variance_is_as_stated() -> Result<(), BoxError> {
    const BATCHES: u32 = 1_000;
    for offset in [1e3, 1e6, 1e9, 1e12] {
        let mut running = Running::new();
        for _ in 0..BATCHES {
            let mut batch = Running::new();
            batch.update(&[offset - 1.0, offset, offset + 1.0, offset + 4.0])?;
            running.merge(&batch)?;
        }
        let bound = f64::from(BATCHES) * (offset / 3.5_f64.sqrt()) * 2_f64.powi(-53);
        let variance = running.variance().unwrap();
        assert!((variance / 3.5 - 1.0).abs() < bound, "{offset:e}: {variance}");
    }
    Ok(())
}

/// Values over 600 orders of magnitude, of both signs, with zeros.
#[test]
fn quantiles_of_many_values_are_within_a_percent_in_any_parts() -> Result<(), BoxError> {
    let mut random = Random::new(12);
    let mut value = |index| match index % 10 {
        0 => 0.0,
        1..4 => -(100.0 * random.normal()).exp(),
        4..7 => random.normal(),
        _ => (100.0 * random.normal()).exp(),
    };
    let mut values: Vec<f64> = (0..5_000).map(&mut value).collect();
    values.extend([f64::MAX, f64::MIN, f64::MIN_POSITIVE, -f64::MIN_POSITIVE]);
    let mut sorted = values.clone();
    sorted.sort_by(f64::total_cmp);
    for percent in 0..=100 {
        let q = f64::from(percent) / 100.0;
        let empty = Quantile::new(q)?.exact_up_to(1_000);
        let [whole, merged] = at_once_and_merged(&empty, values.len(), &mut random, |quantile, part| {
            quantile.update(&values[part])
        })?;
        assert_eq!(merged, whole);
        assert!(!whole.is_exact());
        assert_eq!(whole.count(), 5_004);
        let place = q * 5_003.0;
        let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
        let expected = below + (above - below) * place.fract();
        let bound = 0.010_000_001 * below.abs().max(above.abs());
        let found = whole.compute().unwrap();
        assert!((found - expected).abs() <= bound, "{q}: {found:e} instead of {expected:e}");
    }
    Ok(())
}

#[test]
fn quantiles_are_exact_up_to_the_number_of_values_kept() -> Result<(), BoxError> {
    let mut median = Quantile::new(0.5)?.exact_up_to(3);
    assert_eq!(median.compute(), None);
    median.update(&[7.0, -1.0])?;
    median.update_values(&[2.5_f32])?;
    assert_eq!((median.is_exact(), median.compute()), (true, Some(2.5)));
    let mut other = Quantile::new(0.5)?.exact_up_to(3);
    other.update(&[2.5])?;
    median.merge(&other)?;
    assert!(!median.is_exact());
    assert!((median.compute().unwrap() - 2.5).abs() <= 0.025);
    median.reset();
    assert_eq!((median.count(), median.is_exact()), (0, true));
    Ok(())
}

#[test]
fn a_damaged_quantile_is_an_error() -> Result<(), BoxError> {
    let mut median = Quantile::new(0.5)?.exact_up_to(0);
    median.update(&[1.0, 2.0])?;
    let damaged = "`buckets` or `counts` is damaged";
    for (name, array, expected) in [
        ("buckets", Array::from_slice(&[40_000, i32::MIN]), damaged),
        ("buckets", Array::from_slice(&[40_000]), damaged),
        ("counts", Array::from_slice(&[1, u64::MAX]), damaged),
        ("values", Array::from_slice(&[f64::NAN]), "value 0 of the batch is NaN"),
    ] {
        let mut saved = median.state_dict()?;
        saved.remove(name)?;
        saved.insert(name, array)?;
        let found = median.clone().load_state_dict(&saved).map_err(|error| error.to_string());
        assert_eq!(found, Err(expected.to_owned()), "{name}");
    }
    Ok(())
}

#[test]
fn bad_values_and_other_settings_are_errors_and_count_nothing() -> Result<(), BoxError> {
    let check = |result: Result<(), BoxError>, expected: &str| {
        assert_eq!(result.map_err(|error| error.to_string()), Err(expected.to_owned()));
    };
    let (mut running, mut median) = (Running::new(), Quantile::new(0.5)?);
    check(running.update(&[0.0, f64::INFINITY]), "value 1 of the batch is inf");
    check(median.update(&[f64::NAN]), "value 0 of the batch is NaN");
    assert_eq!((running, median.count()), (Running::new(), 0));
    check(Quantile::new(1.5).map(drop), "a quantile is from 0 to 1, not 1.5");
    check(Quantile::new(f64::NAN).map(drop), "a quantile is from 0 to 1, not NaN");
    for other in [Quantile::new(0.9)?, Quantile::new(0.5)?.exact_up_to(8)] {
        check(median.merge(&other), "quantiles with other settings cannot be merged");
        check(median.check_state_dict(&other.state_dict()?), "the saved quantile has other settings");
    }
    Ok(())
}
