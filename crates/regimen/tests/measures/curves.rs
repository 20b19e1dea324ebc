//! Curves of scores against scikit-learn.

use std::collections::BTreeMap;

use regimen::BoxError;
use regimen::metric::{Average, ClassCurves, Measure, PrecisionRecallPoint, RocPoint, Score, ScoreCurve};
use regimen::random::Random;
use regimen::saved::Stateful;
use serde::{Deserialize, Serialize};

use super::parts::at_once_and_merged;
use super::reference::{answers, assert_close};

#[derive(Serialize)]
struct Case {
    scores: Vec<f64>,
    targets: Vec<bool>,
}

/// Scores with few and with many ties, of which positive ones are larger on the whole.
fn cases() -> Vec<Case> {
    let mut random = Random::new(5);
    let case = |number| {
        let samples = random.below(if number % 20 == 0 { 3 } else { 40 });
        let levels = [2.0, 5.0, 20.0, 1e6][random.below(4) as usize];
        let positive = random.uniform();
        let targets: Vec<bool> = (0..samples).map(|_| random.uniform() < positive).collect();
        let score = |&is_positive: &bool| {
            let score = 0.8 * random.uniform() + if is_positive { 0.2 } else { 0.0 };
            (score * levels).round() / levels
        };
        Case { scores: targets.iter().map(score).collect(), targets }
    };
    (0..1_000).map(case).collect()
}

#[derive(Deserialize)]
struct Answer {
    auroc: Option<f64>,
    average_precision: Option<f64>,
    best: Option<(f64, f64)>,
    /// Thresholds, false positive rates, true positive rates.
    roc: [Vec<Option<f64>>; 3],
    /// Thresholds, precisions, recalls.
    precision_recall: [Vec<f64>; 3],
}

#[test]
fn reference_curves_are_those_of_scikit_learn() -> Result<(), BoxError> {
    let cases = cases();
    let Some(expected) = answers::<Vec<Answer>>("curves.py", &cases) else { return Ok(()) };
    for (number, (Case { scores, targets }, expected)) in cases.iter().zip(expected).enumerate() {
        let mut curve = ScoreCurve::new();
        curve.update((scores, targets))?;
        assert_close(curve.auroc(), expected.auroc, &format!("AUROC of case {number}"));
        let average_precision = format!("average precision of case {number}");
        assert_close(curve.average_precision(), expected.average_precision, &average_precision);
        let (threshold, best) = curve.best_f_beta(1.0).unzip();
        let (expected_threshold, expected_best) = expected.best.unzip();
        assert_close(threshold, expected_threshold, &format!("best threshold of case {number}"));
        assert_close(best, expected_best, &format!("F1 score of case {number}"));

        let (roc, curve) = (curve.roc(), curve.precision_recall());
        let (of_roc, of_curve) = (expected.roc, expected.precision_recall);
        assert_eq!((roc.len(), curve.len()), (of_roc[0].len(), of_curve[0].len()), "case {number}");
        for (index, RocPoint { threshold, false_positive_rate, true_positive_rate }) in
            roc.into_iter().enumerate()
        {
            let finite = Some(threshold).filter(|threshold| *threshold < f64::INFINITY);
            assert_close(finite, of_roc[0][index], &format!("case {number}"));
            assert_close(Some(false_positive_rate), of_roc[1][index], &format!("case {number}"));
            assert_close(Some(true_positive_rate), of_roc[2][index], &format!("case {number}"));
        }
        for (index, PrecisionRecallPoint { threshold, precision, recall }) in curve.into_iter().enumerate() {
            assert_close(Some(threshold), Some(of_curve[0][index]), &format!("case {number}"));
            assert_close(Some(precision), Some(of_curve[1][index]), &format!("case {number}"));
            assert_close(Some(recall), Some(of_curve[2][index]), &format!("case {number}"));
        }
    }
    Ok(())
}

#[test]
fn parts_merge_to_the_same_bits() -> Result<(), BoxError> {
    let mut random = Random::new(6);
    for Case { scores, targets } in cases() {
        for empty in [ScoreCurve::new(), ScoreCurve::binned(7)?] {
            let [whole, merged] = at_once_and_merged(&empty, targets.len(), &mut random, |curve, part| {
                curve.update((&scores[part.clone()], &targets[part]))
            })?;
            assert_eq!(merged.auroc(), whole.auroc());
            assert_eq!(merged.average_precision(), whole.average_precision());
            assert_eq!((merged.roc(), merged.precision_recall()), (whole.roc(), whole.precision_recall()));
            assert_eq!(merged.best_f_beta(0.5), whole.best_f_beta(0.5));
        }
    }
    Ok(())
}

/// The share of pairs in the right order, counted one by one.
fn ordered_pairs(scores: &[f64], targets: &[bool]) -> Option<f64> {
    let (mut right, mut pairs) = (0.0, 0.0);
    for (positive, _) in scores.iter().zip(targets).filter(|(_, target)| **target) {
        for (negative, _) in scores.iter().zip(targets).filter(|(_, target)| !**target) {
            pairs += 1.0;
            right += f64::from(u8::from(positive >= negative)) / 2.0
                + f64::from(u8::from(positive > negative)) / 2.0;
        }
    }
    (pairs > 0.0).then_some(right / pairs)
}

#[test]
fn the_area_under_the_roc_curve_is_the_share_of_ordered_pairs() -> Result<(), BoxError> {
    for (number, Case { scores, targets }) in cases().into_iter().enumerate() {
        let mut curve = ScoreCurve::new();
        curve.update((&scores, &targets))?;
        assert_close(curve.auroc(), ordered_pairs(&scores, &targets), &format!("case {number}"));
    }
    Ok(())
}

/// Bins as the documentation has them: the samples whose scores are between two edges.
#[test]
fn areas_of_bins_are_within_the_stated_errors() -> Result<(), BoxError> {
    let mut largest = (0.0_f64, 0.0_f64);
    for Case { scores, targets } in cases() {
        for bins in [1, 2, 3, 10, 100] {
            let (mut exact, mut binned) = (ScoreCurve::new(), ScoreCurve::binned(bins)?);
            exact.update((&scores, &targets))?;
            binned.update((&scores, &targets))?;
            let edge = |bin: usize| bin as f64 / bins as f64;
            let from = |low: f64, high: f64, wanted: bool| {
                let is_in =
                    |(score, target): &(&f64, &bool)| low <= **score && **score < high && **target == wanted;
                scores.iter().zip(&targets).filter(is_in).count() as f64
            };
            let (positives, negatives) = (from(0.0, 2.0, true), from(0.0, 2.0, false));
            let (mut auroc, mut average_precision) = (0.0, 0.0);
            for bin in 0..bins {
                let high = if bin + 1 == bins { 2.0 } else { edge(bin + 1) };
                let (p, n) = (from(edge(bin), high, true), from(edge(bin), high, false));
                let above = from(edge(bin), 2.0, true) + from(edge(bin), 2.0, false);
                auroc += p * n / (2.0 * positives * negatives);
                if p > 0.0 {
                    average_precision += p / positives * (p + n) / above;
                }
            }
            if let (Some(exact), Some(binned)) = (exact.auroc(), binned.auroc()) {
                assert!((exact - binned).abs() <= auroc + 1e-12, "{exact} {binned} {auroc}");
                largest.0 = largest.0.max((exact - binned).abs() / auroc.max(1e-12));
            }
            if let (Some(exact), Some(binned)) = (exact.average_precision(), binned.average_precision()) {
                assert!((exact - binned).abs() <= average_precision + 1e-12, "{exact} {binned}");
                largest.1 = largest.1.max((exact - binned).abs() / average_precision);
            }
            // The points are exact.
            for point in binned.roc() {
                let rate = |wanted, of| from(point.threshold, 2.0, wanted) / of;
                assert_eq!(point.true_positive_rate, rate(true, positives));
                assert_eq!(point.false_positive_rate, rate(false, negatives));
            }
        }
    }
    // The errors are not stated larger than they can be.
    assert!(largest.0 > 0.99 && largest.1 > 0.5, "{largest:?}");
    Ok(())
}

#[test]
fn curves_of_one_class_and_of_infinite_scores() -> Result<(), BoxError> {
    let mut curve = ScoreCurve::new();
    assert_eq!((curve.auroc(), curve.average_precision(), curve.best_f_beta(1.0)), (None, None, None));
    assert_eq!((curve.roc(), curve.precision_recall()), (vec![], vec![]));
    curve.update((&[1.0, 2.0], &[false, false]))?;
    assert_eq!((curve.auroc(), curve.average_precision(), curve.best_f_beta(1.0)), (None, None, None));
    curve.reset();
    curve.update((&[1.0, 2.0], &[true, true]))?;
    assert_eq!((curve.auroc(), curve.average_precision()), (None, Some(1.0)));
    assert_eq!((curve.best_f_beta(1.0), curve.best_f_beta(-1.0)), (Some((1.0, 1.0)), None));
    curve.update_scores(&[f32::INFINITY, f32::NEG_INFINITY], &[true, false])?;
    assert_eq!(curve.auroc(), Some(1.0));
    // The zeros are equal, so the pair counts half.
    curve.reset();
    curve.update((&[-0.0, 0.0], &[true, false]))?;
    assert_eq!((curve.auroc(), curve.roc().len()), (Some(0.5), 2));
    Ok(())
}

#[test]
fn bad_input_is_an_error_and_counts_nothing() -> Result<(), BoxError> {
    let check = |result: Result<(), BoxError>, expected: &str| {
        assert_eq!(result.map_err(|error| error.to_string()), Err(expected.to_owned()));
    };
    let (mut exact, mut binned) = (ScoreCurve::new(), ScoreCurve::binned(3)?);
    check(ScoreCurve::binned(0).map(drop), "a curve of 0 bins; give 1 to 16777216");
    check(exact.update((&[0.5], &[])), "1 predictions for 0 targets; as many are needed");
    check(exact.update((&[0.5, f64::NAN], &[true, false])), "score 1 is NaN");
    check(
        binned.update((&[0.5, f64::NAN], &[true, false])),
        "score 1 is NaN; bins are of scores from 0 to 1",
    );
    check(binned.update((&[0.5, 1.5], &[true, false])), "score 1 is 1.5; bins are of scores from 0 to 1");
    check(exact.merge(&binned), "curves of all scores and of 3 bins cannot be merged");
    check(binned.merge(&ScoreCurve::binned(4)?), "curves of 3 bins and of 4 bins cannot be merged");
    let of_bins = ScoreCurve::binned(4)?.state_dict()?;
    check(exact.load_state_dict(&of_bins), "expected F64, found U64");
    check(
        binned.load_state_dict(&of_bins),
        "`negatives` is U64[4], not U64[3]; `positives` is U64[4], not U64[3]",
    );
    assert_eq!((exact.positives(), exact.negatives(), binned.positives()), (0, 0, 0));

    let mut curves = ClassCurves::new(2, ScoreCurve::new())?;
    check(ClassCurves::new(1, ScoreCurve::new()).map(drop), "curves of 1 classes; give 2 or more");
    check(curves.update((&[0.5; 3], &[0; 3])), "3 scores are not 2 for each of 3 targets");
    check(curves.update((&[0.5; 2], &[2])), "target 2 is out of range: there are 2 classes, numbered from 0");
    check(curves.update((&[f64::NAN; 2], &[1])), "score 0 is NaN");
    let other = ClassCurves::new(3, ScoreCurve::new())?;
    check(curves.merge(&other), "curves of 2 and 3 classes cannot be merged");
    check(curves.load_state_dict(&other.state_dict()?), "the saved curves are of 3 classes, these of 2");
    assert_eq!(curves.curve(0).map(|curve| curve.positives() + curve.negatives()), Some(0));
    Ok(())
}

#[derive(Serialize)]
struct ClassCase {
    classes: usize,
    scores: Vec<f64>,
    targets: Vec<usize>,
}

#[test]
fn reference_one_vs_rest_is_that_of_scikit_learn() -> Result<(), BoxError> {
    let mut random = Random::new(7);
    let case = |number: usize| {
        let classes = 2 + random.below(4) as usize;
        let samples = random.below(if number.is_multiple_of(50) { 2 } else { 30 });
        let targets: Vec<usize> = (0..samples).map(|_| random.below(classes as u64) as usize).collect();
        let mut scores = Vec::new();
        for &target in &targets {
            let mut row: Vec<f64> = (0..classes).map(|_| 1.0 + random.below(8) as f64).collect();
            row[target] += 3.0;
            let sum: f64 = row.iter().sum();
            scores.extend(row.into_iter().map(|score| score / sum));
        }
        ClassCase { classes, scores, targets }
    };
    let cases: Vec<ClassCase> = (0..1_000).map(case).collect();
    let expected = answers::<Vec<BTreeMap<String, Option<f64>>>>("class_curves.py", &cases);
    for (number, ClassCase { classes, scores, targets }) in cases.iter().enumerate() {
        let curves = ClassCurves::new(*classes, ScoreCurve::new())?;
        let empty = Score::new(curves, |curves| curves.auroc(Average::Weighted));
        let [whole, merged] = at_once_and_merged(&empty, targets.len(), &mut random, |score, part| {
            score.update((&scores[part.start * classes..part.end * classes], &targets[part]))
        })?;
        assert_eq!(merged.compute(), whole.compute());
        let Some(expected) = &expected else { continue };
        let curves = whole.counts();
        let averages =
            [("macro", Average::Macro), ("weighted", Average::Weighted), ("micro", Average::Micro)];
        for (name, average) in averages {
            let expected = &expected[number];
            assert_close(curves.auroc(average), expected[name], &format!("{name} of case {number}"));
            let name = format!("{name} precision");
            let expected = expected[&name];
            assert_close(curves.average_precision(average), expected, &format!("{name} of case {number}"));
        }
    }
    Ok(())
}
