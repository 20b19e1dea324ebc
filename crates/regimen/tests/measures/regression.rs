//! Measures of predicted numbers against scikit-learn and scipy.

use regimen::BoxError;
use regimen::metric::{GoodnessOfFit, MeanError, Measure, Spearman};
use regimen::random::Random;
use regimen::saved::Stateful;
use serde::{Deserialize, Serialize};

use super::parts::at_once_and_merged;
use super::reference::{answers, assert_close};

#[derive(Serialize)]
struct Case {
    predictions: Vec<f64>,
    targets: Vec<f64>,
}

#[derive(Deserialize)]
struct Answer {
    mse: Option<f64>,
    rmse: Option<f64>,
    mae: Option<f64>,
    mape: Option<f64>,
    r2: Option<f64>,
    explained_variance: Option<f64>,
    pearson: Option<f64>,
    spearman: Option<f64>,
}

const MEAN_ERRORS: [fn() -> MeanError; 4] =
    [MeanError::mse, MeanError::rmse, MeanError::mae, MeanError::mape];
const FITS: [fn() -> GoodnessOfFit; 3] =
    [GoodnessOfFit::r2, GoodnessOfFit::explained_variance, GoodnessOfFit::pearson];

/// Up to 40 samples of unrelated normal numbers, of predictions near their targets, of few different numbers, or of
/// one.
fn cases() -> Vec<Case> {
    let mut random = Random::new(3);
    let mut case = |number| {
        let samples = random.below(40);
        let mut sample = |_| {
            let (a, b) = (random.normal(), random.normal());
            match number % 8 {
                0 => (0.1, b),
                1 => (a, 0.1),
                2 => ((3.0 * a).round(), (3.0 * b).round()),
                3 => (2.0 + b + 0.01 * a, 3.0 + b),
                4 => (1e3 * a, 1e-3 * b),
                _ => (a, b),
            }
        };
        let (predictions, targets) = (0..samples).map(&mut sample).unzip();
        Case { predictions, targets }
    };
    (0..1_600).map(&mut case).collect()
}

#[test]
fn reference_values_are_those_of_scikit_learn_and_scipy() -> Result<(), BoxError> {
    let cases = cases();
    let Some(expected) = answers::<Vec<Answer>>("regression.py", &cases) else { return Ok(()) };
    assert_eq!(expected.len(), cases.len());
    let mut random = Random::new(4);
    for (number, (case, expected)) in cases.iter().zip(expected).enumerate() {
        let Case { predictions, targets } = case;
        let samples = targets.len();
        let of_errors = [expected.mse, expected.rmse, expected.mae, expected.mape];
        for (new, expected) in MEAN_ERRORS.iter().zip(of_errors) {
            let both = at_once_and_merged(&new(), samples, &mut random, |measure, part| {
                measure.update((&predictions[part.clone()], &targets[part]))
            })?;
            for found in both {
                assert_close(found.compute(), expected, &format!("case {number}: {found:?}"));
            }
        }
        let of_fits = [expected.r2, expected.explained_variance, expected.pearson];
        for (new, expected) in FITS.iter().zip(of_fits) {
            let both = at_once_and_merged(&new(), samples, &mut random, |measure, part| {
                measure.update((&predictions[part.clone()], &targets[part]))
            })?;
            for found in both {
                assert_close(found.compute(), expected, &format!("case {number}: {found:?}"));
            }
        }
        let [whole, merged] = at_once_and_merged(&Spearman::new(), samples, &mut random, |measure, part| {
            measure.update((&predictions[part.clone()], &targets[part]))
        })?;
        assert_eq!(merged.compute(), whole.compute());
        assert_close(whole.compute(), expected.spearman, &format!("case {number}: {whole:?}"));
    }
    Ok(())
}

#[test]
fn values_are_those_computed_by_hand() -> Result<(), BoxError> {
    let value = |new: fn() -> MeanError| {
        let (mut measure, mut other) = (new(), new());
        measure.update((&[4.0], &[2.0]))?;
        other.update((&[2.0, 4.0, 9.0], &[2.0, 4.0, 10.0]))?;
        measure.merge(&other)?;
        Ok::<_, BoxError>(measure.compute())
    };
    // Errors are 2, 0, 0 and -1.
    assert_eq!(value(MeanError::mse)?, Some(1.25));
    assert_eq!(value(MeanError::rmse)?, Some(1.25_f64.sqrt()));
    assert_eq!(value(MeanError::mae)?, Some(0.75));
    assert_eq!(value(MeanError::mape)?, Some((1.0 + 0.1) / 4.0));

    let (predictions, targets) = ([1.0, 2.0, 4.0, 9.0], [2.0, 2.0, 4.0, 8.0]);
    let value = |new: fn() -> GoodnessOfFit| {
        let mut measure = new();
        measure.update((&predictions, &targets))?;
        Ok::<_, BoxError>(measure.compute())
    };
    // Deviations of the targets are -2, -2, 0 and 4, those of the predictions -3, -2, 0 and 5, and the residuals' mean
    // is 0.
    assert_eq!(value(GoodnessOfFit::r2)?, Some(1.0 - 2.0 / 24.0));
    assert_eq!(value(GoodnessOfFit::explained_variance)?, Some(1.0 - 2.0 / 24.0));
    assert_eq!(value(GoodnessOfFit::pearson)?, Some(30.0 / (24_f64.sqrt() * 38_f64.sqrt())));

    let mut spearman = Spearman::new();
    spearman.update((&predictions, &targets))?;
    // Ranks are 1, 2, 3, 4 and 1.5, 1.5, 3, 4.
    assert_close(spearman.compute(), Some(4.5 / (5.0 * 4.5_f64).sqrt()), "ties");
    Ok(())
}

/// Numbers far from 0 for their deviation, where a sum of squares would lose everything.
#[test]
fn the_error_of_merged_parts_is_as_stated() -> Result<(), BoxError> {
    const BATCHES: usize = 100;
    let mut random = Random::new(5);
    // Multiples of 1/8, so that numbers with the offset are exact.
    let mut draw = || (0..50 * BATCHES).map(|_| random.below(64) as f64 / 8.0).collect::<Vec<_>>();
    let (predictions, targets) = (draw(), draw());
    for offset in [1e3, 1e6, 1e9, 1e12] {
        let moved = |numbers: &[f64]| numbers.iter().map(|number| number + offset).collect::<Vec<_>>();
        for new in FITS {
            let (mut expected, mut found) = (new(), new());
            expected.update((&predictions, &targets))?;
            for (predictions, targets) in predictions.chunks(50).zip(targets.chunks(50)) {
                let mut batch = new();
                batch.update((&moved(predictions), &moved(targets)))?;
                found.merge(&batch)?;
            }
            let (expected, found) = (expected.compute().unwrap(), found.compute().unwrap());
            // The deviation is 2.3, and that of the predictions alike.
            let bound = BATCHES as f64 * (offset / 2.3) * 2_f64.powi(-53) * (1.0 + expected.abs());
            assert!((found - expected).abs() < bound, "{offset:e}: {found} instead of {expected}");
        }
    }
    Ok(())
}

#[test]
fn what_does_not_vary_has_no_goodness_of_fit() -> Result<(), BoxError> {
    let value = |new: fn() -> GoodnessOfFit, predictions: &[f64], targets: &[f64]| {
        let mut measure = new();
        for (prediction, target) in predictions.iter().zip(targets) {
            measure.update((&[*prediction], &[*target]))?;
        }
        Ok::<_, BoxError>(measure.compute())
    };
    for new in FITS {
        assert_eq!(value(new, &[], &[])?, None);
        assert_eq!(value(new, &[1.0], &[2.0])?, None);
        assert_eq!(value(new, &[1.0, 2.0, 3.0], &[0.1; 3])?, None);
    }
    // Of constant predictions.
    let varied = [1.0, 2.0, 3.0];
    let r2 = 1.0 - (0.81 + 3.61 + 8.41) / 2.0;
    assert_close(value(GoodnessOfFit::r2, &[0.1; 3], &varied)?, Some(r2), "r2");
    assert_close(value(GoodnessOfFit::explained_variance, &[0.1; 3], &varied)?, Some(0.0), "variance");
    assert_eq!(value(GoodnessOfFit::pearson, &[0.1; 3], &varied)?, None);
    let mut spearman = Spearman::new();
    assert_eq!(spearman.compute(), None);
    spearman.update((&[1.0, 2.0], &[0.0, -0.0]))?;
    assert_eq!(spearman.compute(), None);
    for new in MEAN_ERRORS {
        assert_eq!(new().compute(), None);
    }
    Ok(())
}

#[test]
fn a_relative_error_of_a_target_of_0_is_that_of_the_smallest_step() -> Result<(), BoxError> {
    let mut mape = MeanError::mape();
    mape.update((&[1.0, 3.0], &[0.0, 3.0]))?;
    assert_eq!(mape.compute(), Some(2_f64.powi(51)));
    Ok(())
}

#[test]
fn numbers_of_32_bits_are_those_of_64() -> Result<(), BoxError> {
    let (mut narrow, mut wide) = (MeanError::mse(), MeanError::mse());
    narrow.update_values(&[0.1_f32, 0.7], &[0.3, 0.9])?;
    let wider = |numbers: [f32; 2]| numbers.map(f64::from);
    wide.update((&wider([0.1, 0.7]), &wider([0.3, 0.9])))?;
    assert_eq!(narrow, wide);
    Ok(())
}

#[test]
fn bad_numbers_are_an_error_and_count_nothing() -> Result<(), BoxError> {
    let check = |result: Result<(), BoxError>, expected: &str| {
        assert_eq!(result.map_err(|error| error.to_string()), Err(expected.to_owned()));
    };
    let (mut error, mut fit, mut spearman) = (MeanError::mse(), GoodnessOfFit::r2(), Spearman::new());
    let (good, nan, infinite) = ([1.0, 2.0], [1.0, f64::NAN], [f64::NEG_INFINITY, 1.0]);
    for (predictions, targets, expected) in [
        (&nan[..], &good[..], "prediction 1 of the batch is NaN"),
        (&good, &infinite, "target 0 of the batch is -inf"),
        (&good, &[1.0], "2 predictions for 1 targets; as many are needed"),
    ] {
        check(error.update((predictions, targets)), expected);
        check(fit.update((predictions, targets)), expected);
        check(spearman.update((predictions, targets)), expected);
    }
    assert_eq!((error, fit, &spearman), (MeanError::mse(), GoodnessOfFit::r2(), &Spearman::new()));

    check(error.merge(&MeanError::mae()), "mse and mae cannot be merged");
    check(fit.merge(&GoodnessOfFit::pearson()), "r2 and pearson cannot be merged");
    let saved = MeanError::mape().state_dict()?;
    check(error.check_state_dict(&saved), "the saved measure is mape, this one mse");
    let saved = GoodnessOfFit::explained_variance().state_dict()?;
    check(fit.check_state_dict(&saved), "the saved measure is explained_variance, this one r2");
    Ok(())
}
