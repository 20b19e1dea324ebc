//! Measures of the confusion matrix against scikit-learn.

use regimen::BoxError;
use regimen::metric::{ConfusionMatrix, Measure};
use regimen::random::Random;
use serde::Serialize;

use super::parts::at_once_and_merged;
use super::reference::{answers, assert_close};

#[derive(Serialize)]
struct Case {
    classes: usize,
    predicted: Vec<usize>,
    targets: Vec<usize>,
}

fn cases() -> Vec<Case> {
    let mut random = Random::new(1);
    let mut case = |_| {
        let classes = 1 + random.below(6);
        let samples = random.below(30);
        let mut draw = || (0..samples).map(|_| random.below(classes) as usize).collect();
        Case { classes: classes as usize, predicted: draw(), targets: draw() }
    };
    (0..1_000).map(&mut case).collect()
}

#[test]
fn reference_accuracy_is_that_of_scikit_learn() -> Result<(), BoxError> {
    let cases = cases();
    let Some(expected) = answers::<Vec<Option<f64>>>("confusion.py", &cases) else { return Ok(()) };
    let mut random = Random::new(2);
    for (number, (case, expected)) in cases.iter().zip(expected).enumerate() {
        let Case { classes, predicted, targets } = case;
        let empty = ConfusionMatrix::new(*classes)?;
        let [whole, merged] = at_once_and_merged(&empty, targets.len(), &mut random, |matrix, part| {
            matrix.update((&predicted[part.clone()], &targets[part]))
        })?;
        assert_eq!(merged, whole);
        assert_close(whole.compute(), expected, &format!("case {number}"));
    }
    Ok(())
}
