//! Accuracy and the confusion matrix against plain recounts, and merged parts against the whole.

use std::fmt::Debug;

use regimen::BoxError;
use regimen::data::Rank;
use regimen::metric::{Accuracy, ConfusionMatrix, Measure, argmax};
use regimen::saved::Stateful;

const CLASSES: usize = 5;

/// Pseudo-random logits with many ties, and targets.
fn samples(count: usize, seed: u64) -> (Vec<f32>, Vec<usize>) {
    let mut random = regimen::random::Random::new(seed);
    let logits = (0..count * CLASSES).map(|_| random.below(4) as f32 - 1.5).collect();
    let targets = (0..count).map(|_| random.below(CLASSES as u64) as usize).collect();
    (logits, targets)
}

/// The classes of a row from the first predicted to the last: sorted, which keeps ties in order.
fn sorted_classes(row: &[f32]) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..row.len()).collect();
    classes.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
    classes
}

#[test]
fn accuracy_is_that_of_sorted_rows() -> Result<(), BoxError> {
    let (logits, targets) = samples(300, 1);
    for k in 1..=CLASSES {
        let rows = logits.chunks(CLASSES).zip(&targets);
        let correct = rows.filter(|(row, target)| sorted_classes(row)[..k].contains(target)).count() as u64;
        let mut accuracy = Accuracy::top(k)?;
        accuracy.update_logits(&logits, &targets)?;
        assert_eq!((accuracy.correct(), accuracy.total()), (correct, 300), "top-{k}");
        assert_eq!(accuracy.compute(), Some(correct as f64 / 300.0));
    }
    Ok(())
}

#[test]
fn the_matrix_and_the_accuracy_count_the_same_predictions() -> Result<(), BoxError> {
    let (logits, targets) = samples(300, 2);
    let predictions: Vec<usize> = logits.chunks(CLASSES).map(|row| sorted_classes(row)[0]).collect();
    let (mut of_logits, mut of_classes) = (ConfusionMatrix::new(CLASSES)?, ConfusionMatrix::new(CLASSES)?);
    of_logits.update_logits(&logits, &targets)?;
    of_classes.update((&predictions, &targets))?;
    assert_eq!(of_logits, of_classes);

    let (mut accuracy_of_logits, mut accuracy_of_classes) = (Accuracy::new(), Accuracy::new());
    accuracy_of_logits.update_logits(&logits, &targets)?;
    accuracy_of_classes.update((&predictions, &targets))?;
    assert_eq!(accuracy_of_logits, accuracy_of_classes);
    assert_eq!(of_logits.accuracy(), accuracy_of_logits.compute());
    for class in 0..CLASSES {
        let both = |a: &usize, b: &usize| *a == class && *b == class;
        let hits = predictions.iter().zip(&targets).filter(|(a, b)| both(a, b)).count() as f64;
        let share = |of: &[usize]| Some(hits / of.iter().filter(|&&other| other == class).count() as f64);
        assert_eq!(of_logits.precision(class), share(&predictions));
        assert_eq!(of_logits.recall(class), share(&targets));
    }
    Ok(())
}

#[test]
fn parts_merged_or_saved_are_the_whole() -> Result<(), BoxError> {
    let (logits, targets) = samples(101, 3);
    let (mut accuracy, mut matrix) = (Accuracy::top(2)?, ConfusionMatrix::new(CLASSES)?);
    accuracy.update_logits(&logits, &targets)?;
    matrix.update_logits(&logits, &targets)?;
    for cut in [0, 1, 50, 101] {
        let (mut merged_accuracy, mut merged_matrix) = (Accuracy::top(2)?, ConfusionMatrix::new(CLASSES)?);
        let ((logits, more_logits), (targets, more_targets)) =
            (logits.split_at(cut * CLASSES), targets.split_at(cut));
        for (logits, targets) in [(logits, targets), (more_logits, more_targets)] {
            let (mut accuracy, mut matrix) = (Accuracy::top(2)?, ConfusionMatrix::new(CLASSES)?);
            accuracy.update_logits(logits, targets)?;
            matrix.update_logits(logits, targets)?;
            let (mut loaded, mut loaded_matrix) = (Accuracy::top(2)?, ConfusionMatrix::new(CLASSES)?);
            loaded.load_state_dict(&accuracy.state_dict()?)?;
            loaded_matrix.load_state_dict(&matrix.state_dict()?)?;
            merged_accuracy.merge(&loaded)?;
            merged_matrix.merge(&loaded_matrix)?;
        }
        assert_eq!((merged_accuracy, &merged_matrix), (accuracy, &matrix), "cut at {cut}");
    }
    Ok(())
}

#[test]
fn nan_is_never_right_and_ties_go_to_the_first() -> Result<(), BoxError> {
    let nan = f32::NAN;
    assert_eq!(argmax(&[1.0, 3.0, 3.0]), Some(1));
    assert_eq!(argmax(&[f32::NEG_INFINITY; 2]), Some(0));
    assert_eq!(argmax(&[1.0, nan]), None);
    assert_eq!(argmax::<f32>(&[]), None);

    let (mut accuracy, mut top_2) = (Accuracy::new(), Accuracy::top(2)?);
    let mut matrix = ConfusionMatrix::new(2)?;
    let (logits, targets) = ([nan, 0.0, 9.0, nan, nan, nan, 0.0, 1.0], [0, 0, 1, 1]);
    accuracy.update_logits(&logits, &targets)?;
    top_2.update_logits(&logits, &targets)?;
    matrix.update_logits(&logits, &targets)?;
    assert_eq!(
        (accuracy.compute(), top_2.compute(), matrix.accuracy()),
        (Some(0.25), Some(0.25), Some(0.25))
    );
    assert_eq!((matrix.recall(0), matrix.recall(1)), (Some(0.0), Some(0.5)));
    assert_eq!((matrix.precision(0), matrix.precision(1)), (None, Some(1.0)));
    Ok(())
}

#[test]
fn nothing_counted_is_no_value() -> Result<(), BoxError> {
    let (mut accuracy, mut matrix) = (Accuracy::new(), ConfusionMatrix::new(3)?);
    accuracy.update_logits::<f32>(&[], &[])?;
    matrix.update_logits::<f32>(&[], &[])?;
    assert_eq!((accuracy.compute(), matrix.accuracy(), matrix.recall(0)), (None, None, None));
    accuracy.update((&[1], &[1]))?;
    accuracy.reset();
    assert_eq!(accuracy, Accuracy::default());
    assert_eq!((matrix.precision(7), matrix.count(7, 0), matrix.count(0, 7)), (None, 0, 0));
    Ok(())
}

#[test]
fn the_table_is_for_people() -> Result<(), BoxError> {
    let mut matrix = ConfusionMatrix::new(3)?;
    matrix.update((&[0, 0, 0, 1, 2, 0], &[0, 0, 1, 1, 1, 0]))?;
    let table = "   target      0      1      2   recall
        0      3      0      0  100.0 %
        1      1      1      1   33.3 %
        2      0      0      0        -
precision  75.0% 100.0%   0.0%   66.7 %";
    assert_eq!(matrix.to_string(), table);
    matrix.update_logits(&[f32::NAN; 3], &[2])?;
    let table = "   target      0      1      2   none   recall
        0      3      0      0      0  100.0 %
        1      1      1      1      0   33.3 %
        2      0      0      0      1    0.0 %
precision  75.0% 100.0%   0.0%          57.1 %";
    assert_eq!(matrix.to_string(), table);
    Ok(())
}

#[test]
fn the_table_has_names_if_there_are_any() -> Result<(), BoxError> {
    let mut matrix = ConfusionMatrix::named(["cat", "articulated lorries"])?;
    matrix.update((&[0, 1, 1], &[0, 1, 0]))?;
    let table = "              target    cat articulated lorrie..   recall
                 cat      1                    1   50.0 %
articulated lorrie..      0                    1  100.0 %
           precision 100.0%                50.0%   66.7 %";
    assert_eq!(matrix.to_string(), table);
    Ok(())
}

#[test]
fn bad_input_is_an_error_and_counts_nothing() -> Result<(), BoxError> {
    let (mut accuracy, mut top_2) = (Accuracy::new(), Accuracy::top(2)?);
    let mut matrix = ConfusionMatrix::new(3)?;
    let check = |result: Result<(), BoxError>, expected: &str| {
        assert_eq!(result.map_err(|error| error.to_string()), Err(expected.to_owned()));
    };
    let rows = [1.0, 2.0, 3.0, 3.0, 2.0, 1.0];
    let out = "target 3 is out of range: there are 3 classes, numbered from 0";
    check(accuracy.update_logits(&rows, &[2, 3]), out);
    check(matrix.update_logits(&rows, &[2, 3]), out);
    check(matrix.update((&[1, 1], &[2, 3])), out);
    check(matrix.update((&[1, 3], &[2, 2])), "prediction 3 is out of range: there are 3 classes");
    check(accuracy.update_logits(&rows, &[0; 4]), "6 logits are not one row for each of 4 targets");
    check(accuracy.update_logits::<f32>(&[], &[0; 4]), "0 logits are not one row for each of 4 targets");
    check(accuracy.update_logits(&rows, &[]), "6 logits are not one row for each of 0 targets");
    check(matrix.update_logits(&rows, &[1; 3]), "rows of 2 logits for a matrix of 3 classes");
    check(accuracy.update((&[1], &[1, 1])), "1 predictions for 2 targets; as many are needed");
    check(matrix.update((&[1], &[1, 1])), "1 predictions for 2 targets; as many are needed");
    check(top_2.update((&[1], &[1])), "top-2 accuracy needs logits, not predicted classes");
    check(top_2.update_logits(&[1.0], &[0]), "top-2 accuracy of 1 class is always 1");
    check(accuracy.update_counts(3, 2), "3 of 2 samples cannot be correct");
    check(accuracy.merge(&top_2), "top-1 and top-2 accuracy cannot be merged");
    check(matrix.merge(&ConfusionMatrix::new(2)?), "matrices of 3 and 2 classes cannot be merged");
    check(Accuracy::top(0).map(drop), "top-0 accuracy counts nothing as correct; give 1 or more");
    check(ConfusionMatrix::new(0).map(drop), "a confusion matrix of 0 classes holds nothing; give 1 or more");
    check(
        ConfusionMatrix::new(usize::MAX).map(drop),
        "a confusion matrix of 18446744073709551615 classes does not fit into memory; at most 16384 do",
    );
    let saved = top_2.state_dict()?;
    check(accuracy.load_state_dict(&saved), "the saved accuracy is top-2, this one top-1");
    let saved = ConfusionMatrix::new(2)?.state_dict()?;
    check(matrix.load_state_dict(&saved), "`counts` is U64[6], not U64[12]");
    assert_eq!((accuracy.total(), top_2.total(), matrix.total()), (0, 0, 0));
    Ok(())
}

/// What each rank has counted is saved of each, and another number of ranks goes on with all of it.
#[test]
fn counts_of_ranks_go_on_with_another_number_of_ranks() -> Result<(), BoxError> {
    fn check<M: Measure<Value = Option<f64>> + PartialEq + Debug>(
        empty: M,
        count: impl Fn(&mut M, usize) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        let mut whole = empty.clone();
        let saved = (0..3).map(|rank| {
            let mut one = empty.clone();
            count(&mut one, rank)?;
            whole.merge(&one)?;
            one.state_dict()
        });
        let saved = saved.collect::<Result<Vec<_>, BoxError>>()?;
        assert!(saved[0].iter().all(|(name, _)| empty.is_of_rank(name)));
        for (index, expected) in [(0, &whole), (1, &empty)] {
            let mut found = empty.clone();
            found.load_state_dict(&empty.share(&saved, Rank { index, count: 2 })?)?;
            assert_eq!(found, *expected);
        }
        assert!(whole.compute() != empty.compute());
        Ok(())
    }
    check(Accuracy::new(), |accuracy, rank| accuracy.update((&[0, rank], &[0, 1])))?;
    check(ConfusionMatrix::new(3)?, |matrix, rank| matrix.update((&[0, rank], &[0, 1])))
}
