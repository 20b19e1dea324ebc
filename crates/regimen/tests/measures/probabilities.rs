//! Measures of probabilities against scikit-learn, and calibration errors against numpy.

use regimen::BoxError;
use regimen::metric::{BrierScore, CalibrationError, LogLoss, Measure};
use regimen::random::Random;
use regimen::saved::Stateful;
use serde::{Deserialize, Serialize};

use super::parts::at_once_and_merged;
use super::reference::{answers, assert_close};

#[derive(Serialize)]
struct Case {
    /// 1 for probabilities of class 1 alone.
    columns: usize,
    bins: usize,
    probabilities: Vec<f64>,
    targets: Vec<usize>,
}

/// Probabilities of which some are 0, 1, equal or at the edge of a bin.
fn cases() -> Vec<Case> {
    let mut random = Random::new(8);
    let case = |number: usize| {
        let columns = [1, 2, 3, 6][random.below(4) as usize];
        let samples = random.below(if number.is_multiple_of(50) { 2 } else { 30 });
        let targets: Vec<usize> =
            (0..samples).map(|_| random.below(columns.max(2) as u64) as usize).collect();
        let is_coarse = random.below(2) == 0;
        let mut probabilities = Vec::new();
        for _ in &targets {
            let mut draw = || if is_coarse { random.below(11) as f64 / 10.0 } else { random.uniform() };
            let mut row: Vec<f64> = (0..columns).map(|_| draw()).collect();
            let sum: f64 = row.iter().sum();
            match (columns, sum > 0.0) {
                (1, _) => {}
                (_, true) => row.iter_mut().for_each(|probability| *probability /= sum),
                (_, false) => row[0] = 1.0,
            }
            probabilities.extend(row);
        }
        Case { columns, bins: 1 + random.below(15) as usize, probabilities, targets }
    };
    (0..1_000).map(case).collect()
}

impl Case {
    fn brier(&self) -> Result<BrierScore, BoxError> {
        if self.columns == 1 { Ok(BrierScore::binary()) } else { BrierScore::new(self.columns) }
    }

    fn log_loss(&self) -> Result<LogLoss, BoxError> {
        if self.columns == 1 { Ok(LogLoss::binary()) } else { LogLoss::new(self.columns) }
    }

    fn calibration(&self) -> Result<CalibrationError, BoxError> {
        let bins = self.bins;
        if self.columns == 1 {
            CalibrationError::binary(bins)
        } else {
            CalibrationError::new(self.columns, bins)
        }
    }

    fn at_once_and_merged<M>(&self, empty: &M, random: &mut Random) -> Result<[M; 2], BoxError>
    where
        M: std::fmt::Debug + for<'b> Measure<Batch<'b> = (&'b [f64], &'b [usize])>,
    {
        at_once_and_merged(empty, self.targets.len(), random, |measure, part| {
            let probabilities = &self.probabilities[part.start * self.columns..part.end * self.columns];
            measure.update((probabilities, &self.targets[part]))
        })
    }
}

#[derive(Deserialize)]
struct Answer {
    brier: Option<f64>,
    log_loss: Option<f64>,
    expected: Option<f64>,
    maximum: Option<f64>,
}

#[test]
fn reference_values_are_those_of_scikit_learn() -> Result<(), BoxError> {
    let (cases, mut random) = (cases(), Random::new(9));
    let Some(expected) = answers::<Vec<Answer>>("probabilities.py", &cases) else { return Ok(()) };
    for (number, (case, expected)) in cases.iter().zip(expected).enumerate() {
        for brier in case.at_once_and_merged(&case.brier()?, &mut random)? {
            assert_close(brier.compute(), expected.brier, &format!("Brier score of case {number}"));
        }
        for log_loss in case.at_once_and_merged(&case.log_loss()?, &mut random)? {
            assert_close(log_loss.compute(), expected.log_loss, &format!("log loss of case {number}"));
        }
        for error in case.at_once_and_merged(&case.calibration()?, &mut random)? {
            assert_close(error.compute(), expected.expected, &format!("expected error of case {number}"));
            assert_close(error.maximum(), expected.maximum, &format!("maximum error of case {number}"));
        }
    }
    Ok(())
}

#[test]
fn values_by_hand() -> Result<(), BoxError> {
    let (mut brier, mut loss) = (BrierScore::binary(), LogLoss::binary());
    let mut error = CalibrationError::binary(2)?;
    assert_eq!((brier.compute(), loss.compute(), error.compute(), error.maximum()), (None, None, None, None));
    let (probabilities, targets) = ([0.5_f32, 0.0, 1.0, 0.25], [1, 0, 0, 0]);
    brier.update_probabilities(&probabilities, &targets)?;
    loss.update_probabilities(&probabilities, &targets)?;
    error.update_probabilities(&probabilities, &targets)?;
    assert_eq!(brier.compute(), Some((0.25 + 0.0 + 1.0 + 0.0625) / 4.0));
    assert_close(loss.compute(), Some((2_f64.ln() + 52.0 * 2_f64.ln() - 0.75_f64.ln()) / 4.0), "log loss");
    // All four are in the bin above 0.5, two of them right: the tie predicts class 0.
    assert_eq!(error.compute(), Some((2.0_f64 - (0.5 + 1.0 + 1.0 + 0.75)).abs() / 4.0));
    assert_eq!(error.maximum(), error.compute());
    let mut of_rows = BrierScore::new(3)?;
    of_rows.update((&[0.5, 0.25, 0.25], &[0]))?;
    assert_eq!(of_rows.compute(), Some(0.375));
    Ok(())
}

#[test]
fn bad_input_is_an_error_and_counts_nothing() -> Result<(), BoxError> {
    let check = |result: Result<(), BoxError>, expected: &str| {
        assert_eq!(result.map_err(|error| error.to_string()), Err(expected.to_owned()));
    };
    let (mut brier, mut loss) = (BrierScore::binary(), LogLoss::new(3)?);
    let mut error = CalibrationError::new(2, 10)?;
    check(BrierScore::new(1).map(drop), "probabilities of 1 classes; give 2 or more");
    check(CalibrationError::binary(0).map(drop), "a calibration error of 0 bins; give 1 to 1048576");
    check(brier.update((&[0.5, f64::NAN], &[0, 1])), "probability 1 is NaN, not from 0 to 1");
    check(brier.update((&[0.5, -0.5], &[0, 1])), "probability 1 is -0.5, not from 0 to 1");
    check(brier.update((&[0.5], &[2])), "target 2 is out of range: there are 2 classes, numbered from 0");
    check(loss.update((&[0.5; 4], &[0, 1])), "4 probabilities are not 3 for each of 2 targets");
    check(loss.update((&[0.5; 3], &[0])), "the probabilities of row 0 have the sum 1.5, not 1");
    check(error.update((&[0.5; 2], &[2])), "target 2 is out of range: there are 2 classes, numbered from 0");
    check(
        loss.merge(&LogLoss::binary()),
        "probabilities of 3 classes and of a binary class cannot be merged",
    );
    check(error.merge(&CalibrationError::new(2, 5)?), "calibration errors of 10 and 5 bins cannot be merged");
    check(
        brier.load_state_dict(&BrierScore::new(2)?.state_dict()?),
        "the saved measure has 2 columns, this one 1",
    );
    assert_eq!((brier.compute(), loss.compute(), error.compute()), (None, None, None));
    Ok(())
}
