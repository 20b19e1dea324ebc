//! Scores of the confusion matrix against scikit-learn.

use std::collections::BTreeMap;

use regimen::BoxError;
use regimen::metric::{Average, ConfusionMatrix, KappaWeights, Measure, Score};
use regimen::random::Random;
use serde::Serialize;

use super::parts::at_once_and_merged;
use super::reference::{answers, assert_close};

#[derive(Serialize)]
struct Case {
    classes: usize,
    beta: f64,
    /// `classes` for a sample without a prediction.
    predicted: Vec<usize>,
    targets: Vec<usize>,
}

fn cases() -> Vec<Case> {
    let mut random = Random::new(1);
    let case = |number| {
        let classes = 1 + random.below(5);
        let samples = random.below(if number % 50 == 0 { 2 } else { 30 });
        let beta = [0.0, 0.5, 1.0, 2.0][random.below(4) as usize];
        let columns = classes + u64::from(number % 3 == 0);
        let targets = (0..samples).map(|_| random.below(classes) as usize).collect();
        let predicted = (0..samples).map(|_| random.below(columns) as usize).collect();
        Case { classes: classes as usize, beta, predicted, targets }
    };
    (0..1_000).map(case).collect()
}

/// Counts logits that have NaN for a sample without a prediction.
fn count(matrix: &mut ConfusionMatrix, predicted: &[usize], targets: &[usize]) -> Result<(), BoxError> {
    let classes = matrix.classes();
    let row = |&class: &usize| {
        (0..classes)
            .map(move |other| if class == classes { f32::NAN } else { f32::from(u8::from(class == other)) })
    };
    matrix.update_logits(&predicted.iter().flat_map(row).collect::<Vec<_>>(), targets)
}

/// All scores, under the names of the script.
fn scores(matrix: &ConfusionMatrix, beta: f64) -> BTreeMap<String, Option<f64>> {
    let mut scores = BTreeMap::new();
    let averages = [("micro", Average::Micro), ("macro", Average::Macro), ("weighted", Average::Weighted)];
    let averages = averages.map(|(name, average)| (name.to_owned(), average));
    for (name, average) in
        averages.into_iter().chain((0..matrix.classes()).map(|class| (class.to_string(), class.into())))
    {
        scores.insert(format!("precision {name}"), matrix.precision(average));
        scores.insert(format!("recall {name}"), matrix.recall(average));
        scores.insert(format!("f_beta {name}"), matrix.f_beta(beta, average));
        scores.insert(format!("specificity {name}"), matrix.specificity(average));
        scores.insert(format!("jaccard {name}"), matrix.jaccard(average));
    }
    scores.insert("accuracy".to_owned(), matrix.accuracy());
    scores.insert("balanced accuracy".to_owned(), matrix.balanced_accuracy());
    scores.insert("matthews".to_owned(), matrix.matthews());
    scores.insert("kappa".to_owned(), matrix.kappa(KappaWeights::Equal));
    scores.insert("linear kappa".to_owned(), matrix.kappa(KappaWeights::Linear));
    scores.insert("quadratic kappa".to_owned(), matrix.kappa(KappaWeights::Quadratic));
    scores
}

#[test]
fn reference_scores_are_those_of_scikit_learn() -> Result<(), BoxError> {
    type Answers = Vec<BTreeMap<String, Option<f64>>>;
    let cases = cases();
    let Some(expected) = answers::<Answers>("confusion.py", &cases) else { return Ok(()) };
    for (number, (Case { classes, beta, predicted, targets }, expected)) in
        cases.iter().zip(expected).enumerate()
    {
        let mut matrix = ConfusionMatrix::new(*classes)?;
        count(&mut matrix, predicted, targets)?;
        let found = scores(&matrix, *beta);
        assert!(expected.len() >= 4 + 5 * (3 + classes));
        for (name, expected) in expected {
            assert_close(found[&name], expected, &format!("{name} of case {number}"));
        }
    }
    Ok(())
}

#[test]
fn parts_merge_to_the_whole() -> Result<(), BoxError> {
    let mut random = Random::new(2);
    for Case { classes, beta, predicted, targets } in cases() {
        let empty =
            Score::new(ConfusionMatrix::new(classes)?, move |matrix| matrix.f_beta(beta, Average::Macro));
        let [whole, merged] = at_once_and_merged(&empty, targets.len(), &mut random, |score, part| {
            count(score.counts_mut(), &predicted[part.clone()], &targets[part])
        })?;
        assert_eq!(merged.counts(), whole.counts());
        assert_eq!(merged.compute(), whole.counts().f_beta(beta, Average::Macro));
    }
    Ok(())
}

/// Rows are targets: 3 0 / 1 1, and a sample of class 1 without a prediction.
#[test]
fn scores_by_hand() -> Result<(), BoxError> {
    let mut matrix = ConfusionMatrix::new(2)?;
    count(&mut matrix, &[0, 0, 0, 0, 1, 2], &[0, 0, 0, 1, 1, 1])?;
    assert_eq!((matrix.precision(0), matrix.precision(1)), (Some(0.75), Some(1.0)));
    assert_eq!((matrix.recall(0), matrix.recall(1), matrix.recall(2)), (Some(1.0), Some(1.0 / 3.0), None));
    assert_eq!((matrix.specificity(0), matrix.specificity(1)), (Some(2.0 / 3.0), Some(1.0)));
    assert_eq!((matrix.jaccard(0), matrix.jaccard(1)), (Some(0.75), Some(1.0 / 3.0)));
    assert_eq!((matrix.f_beta(1.0, 0), matrix.f_beta(1.0, 1)), (Some(6.0 / 7.0), Some(0.5)));
    assert_eq!((matrix.f_beta(1e200, 0), matrix.f_beta(1e200, 1)), (matrix.recall(0), matrix.recall(1)));
    assert_eq!(matrix.precision(Average::Micro), Some(0.8));
    assert_eq!(matrix.recall(Average::Weighted), Some(2.0 / 3.0));
    assert_eq!((matrix.f_beta(-1.0, 0), matrix.f_beta(f64::NAN, Average::Macro)), (None, None));
    // Two of 6 are wrong; by chance 3 of class 0 meet 2 predictions that are not of it, and 3 of class 1 meet 5.
    for weights in [KappaWeights::Equal, KappaWeights::Linear, KappaWeights::Quadratic] {
        assert_eq!(matrix.kappa(weights), Some(1.0 - 2.0 * 6.0 / (3.0 * 2.0 + 3.0 * 5.0)), "{weights:?}");
    }
    // (6 * 4 - (3 * 4 + 3 * 1)) / sqrt((36 - 9 - 9) (36 - 16 - 1 - 1))
    assert_eq!(matrix.matthews(), Some(0.5));
    Ok(())
}

#[test]
fn one_class_has_no_correlation() -> Result<(), BoxError> {
    let mut matrix = ConfusionMatrix::new(3)?;
    assert!(scores(&matrix, 1.0).values().all(Option::is_none));
    matrix.update((&[1, 1], &[1, 1]))?;
    assert_eq!((matrix.matthews(), matrix.kappa(KappaWeights::Equal)), (None, None));
    assert_eq!(matrix.f_beta(1.0, Average::Macro), Some(1.0));
    Ok(())
}
