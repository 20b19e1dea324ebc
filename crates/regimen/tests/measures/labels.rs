//! Counts of labels against scikit-learn.

use std::collections::BTreeMap;

use regimen::BoxError;
use regimen::metric::{Average, LabelCounts, Measure};
use regimen::random::Random;
use regimen::saved::Stateful;
use serde::Serialize;

use super::parts::at_once_and_merged;
use super::reference::{answers, assert_close};

#[derive(Serialize)]
struct Case {
    labels: usize,
    beta: f64,
    predicted: Vec<bool>,
    targets: Vec<bool>,
}

fn cases() -> Vec<Case> {
    let mut random = Random::new(3);
    let case = |number| {
        let labels = 2 + random.below(4) as usize;
        let cells = labels * random.below(if number % 50 == 0 { 2 } else { 20 }) as usize;
        let beta = [0.5, 1.0, 2.0][random.below(3) as usize];
        let one_in = 2 + random.below(5);
        let mut draw = || (0..cells).map(|_| random.below(one_in) == 0).collect();
        Case { labels, beta, predicted: draw(), targets: draw() }
    };
    (0..1_000).map(case).collect()
}

fn scores(counts: &LabelCounts, beta: f64) -> BTreeMap<String, Option<f64>> {
    let mut scores = BTreeMap::new();
    let averages = [("micro", Average::Micro), ("macro", Average::Macro), ("weighted", Average::Weighted)];
    let averages = averages.map(|(name, average)| (name.to_owned(), average));
    for (name, average) in
        averages.into_iter().chain((0..counts.labels()).map(|label| (label.to_string(), label.into())))
    {
        scores.insert(format!("precision {name}"), counts.precision(average));
        scores.insert(format!("recall {name}"), counts.recall(average));
        scores.insert(format!("f_beta {name}"), counts.f_beta(beta, average));
    }
    scores.insert("hamming loss".to_owned(), counts.hamming_loss());
    scores.insert("exact match".to_owned(), counts.exact_match());
    scores
}

#[test]
fn reference_scores_are_those_of_scikit_learn() -> Result<(), BoxError> {
    type Answers = Vec<BTreeMap<String, Option<f64>>>;
    let cases = cases();
    let Some(expected) = answers::<Answers>("labels.py", &cases) else { return Ok(()) };
    for (number, (Case { labels, beta, predicted, targets }, expected)) in
        cases.iter().zip(expected).enumerate()
    {
        let mut counts = LabelCounts::new(*labels)?;
        counts.update((predicted, targets))?;
        let found = scores(&counts, *beta);
        assert!(found.keys().eq(expected.keys()));
        for (name, expected) in expected {
            assert_close(found[&name], expected, &format!("{name} of case {number}"));
        }
    }
    Ok(())
}

#[test]
fn parts_merge_to_the_whole_and_scores_are_cut_at_a_threshold() -> Result<(), BoxError> {
    let mut random = Random::new(4);
    for Case { labels, predicted, targets, .. } in cases() {
        let scores: Vec<f32> = predicted.iter().map(|&is_set| if is_set { 0.5 } else { 0.499 }).collect();
        let empty = LabelCounts::new(labels)?;
        let [whole, merged] =
            at_once_and_merged(&empty, targets.len() / labels, &mut random, |counts, part| {
                let cells = part.start * labels..part.end * labels;
                counts.update_scores(&scores[cells.clone()], 0.5, &targets[cells])
            })?;
        assert_eq!(merged, whole);
        let mut of_labels = empty;
        of_labels.update((&predicted, &targets))?;
        assert_eq!(of_labels, whole);
        assert_eq!(whole.samples(), (targets.len() / labels) as u64);
    }
    Ok(())
}

#[test]
fn scores_by_hand() -> Result<(), BoxError> {
    let mut counts = LabelCounts::new(1)?;
    assert!(scores(&counts, 1.0).values().all(Option::is_none));
    counts.update((&[true, true, false, false], &[true, false, true, false]))?;
    assert!(scores(&counts, 1.0).values().all(|&score| score == Some(0.5)));
    counts.reset();
    counts.update((&[false], &[false]))?;
    assert_eq!((counts.precision(0), counts.recall(0), counts.f_beta(1.0, 0)), (None, None, None));
    assert_eq!((counts.hamming_loss(), counts.exact_match(), counts.recall(1)), (Some(0.0), Some(1.0), None));
    Ok(())
}

#[test]
fn bad_input_is_an_error_and_counts_nothing() -> Result<(), BoxError> {
    let mut counts = LabelCounts::new(2)?;
    let check = |result: Result<(), BoxError>, expected: &str| {
        assert_eq!(result.map_err(|error| error.to_string()), Err(expected.to_owned()));
    };
    check(LabelCounts::new(0).map(drop), "counts of 0 labels hold nothing; give 1 or more");
    check(counts.update((&[true], &[true, true])), "1 predictions for 2 targets; as many are needed");
    check(counts.update((&[true; 3], &[true; 3])), "3 targets are not rows of 2 labels");
    check(counts.update_scores(&[0.5, f32::NAN], 0.5, &[true; 2]), "score 1 is NaN");
    check(counts.update_scores(&[0.5], f64::NAN, &[true]), "the threshold is NaN");
    check(counts.merge(&LabelCounts::new(3)?), "counts of 2 and 3 labels cannot be merged");
    let mut saved = LabelCounts::new(3)?.state_dict()?;
    check(
        counts.load_state_dict(&saved),
        "`false_negatives` is U64[3], not U64[2]; `false_positives` is U64[3], not U64[2]; `true_positives` is U64[3], \
         not U64[2]",
    );
    let mut other = LabelCounts::new(3)?;
    other.update((&[true; 3], &[true; 3]))?;
    saved = other.state_dict()?;
    saved.remove("samples")?;
    saved.insert("samples", 0_u64)?;
    check(
        other.load_state_dict(&saved),
        "a label was counted more often than there are samples; it is damaged",
    );
    assert_eq!(counts.samples(), 0);
    Ok(())
}
