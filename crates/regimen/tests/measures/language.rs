//! Measures of language models against scikit-learn.

use regimen::BoxError;
use regimen::metric::{Measure, Perplexity, TokenAccuracy};
use regimen::random::Random;
use regimen::saved::Stateful;
use serde::{Deserialize, Serialize};

use super::parts::at_once_and_merged;
use super::reference::{answers, assert_close};

#[derive(Serialize)]
struct Case {
    ignored: usize,
    targets: Vec<usize>,
    predicted: Vec<usize>,
    /// Of the targets, under a model.
    likelihoods: Vec<f64>,
}

#[derive(Deserialize)]
struct Answer {
    accuracy: Option<f64>,
    perplexity: Option<f64>,
}

fn cases() -> Vec<Case> {
    let mut random = Random::new(8);
    let mut case = |_| {
        let (tokens, classes) = (random.below(60), 1 + random.below(5));
        let mut classes = || (0..tokens).map(|_| random.below(classes) as usize).collect();
        let (targets, predicted) = (classes(), classes());
        // 0 would be an infinite loss, which scikit-learn cuts.
        let likelihoods = (0..tokens).map(|_| random.uniform().max(1e-9)).collect();
        Case { ignored: 0, targets, predicted, likelihoods }
    };
    (0..1_000).map(&mut case).collect()
}

#[test]
fn reference_values_are_those_of_scikit_learn() -> Result<(), BoxError> {
    let cases = cases();
    let Some(expected) = answers::<Vec<Answer>>("language.py", &cases) else { return Ok(()) };
    assert_eq!(expected.len(), cases.len());
    let mut random = Random::new(9);
    for (number, (case, expected)) in cases.iter().zip(expected).enumerate() {
        let Case { ignored, targets, predicted, likelihoods } = case;
        let empty = TokenAccuracy::ignoring(*ignored);
        let [whole, merged] = at_once_and_merged(&empty, targets.len(), &mut random, |accuracy, part| {
            accuracy.update((&predicted[part.clone()], &targets[part]))
        })?;
        assert_eq!(merged, whole);
        assert_close(whole.compute(), expected.accuracy, &format!("case {number}"));
        let empty = Perplexity::new();
        let both = at_once_and_merged(&empty, targets.len(), &mut random, |perplexity, part| {
            let tokens = part.len() as u64;
            perplexity.update((likelihoods[part].iter().map(|likelihood| -likelihood.ln()).sum(), tokens))
        })?;
        for found in both {
            assert_close(found.compute(), expected.perplexity, &format!("case {number}: {found:?}"));
        }
    }
    Ok(())
}

#[test]
fn perplexity_is_that_of_the_mean_loss_of_a_token() -> Result<(), BoxError> {
    let mut perplexity = Perplexity::new();
    assert_eq!((perplexity.mean_loss(), perplexity.compute()), (None, None));
    perplexity.update((0.0, 0))?;
    assert_eq!(perplexity.compute(), None);
    perplexity.update((1.0, 1))?;
    perplexity.update((5.0, 3))?;
    assert_eq!((perplexity.mean_loss(), perplexity.tokens()), (Some(1.5), 4));
    assert_eq!(perplexity.compute(), Some(1.5_f64.exp()));
    perplexity.update((f64::INFINITY, 1))?;
    perplexity.update((1.0, 1))?;
    assert_eq!(perplexity.compute(), Some(f64::INFINITY));
    Ok(())
}

#[test]
fn a_loss_that_is_none_is_an_error_and_counts_nothing() {
    let mut perplexity = Perplexity::new();
    let mut check = |batch, expected: &str| {
        assert_eq!(perplexity.update(batch).map_err(|error| error.to_string()), Err(expected.to_owned()));
        assert_eq!(perplexity, Perplexity::new());
    };
    check((f64::NAN, 3), "NaN is not the summed negative log likelihood of 3 tokens");
    check((f64::NEG_INFINITY, 1), "-inf is not the summed negative log likelihood of 1 token");
    check((0.5, 0), "0.5 is not the summed negative log likelihood of 0 tokens");
}

#[test]
fn ignored_tokens_do_not_count() -> Result<(), BoxError> {
    const IGNORED: usize = 99;
    let mut accuracy = TokenAccuracy::ignoring(IGNORED);
    accuracy.update((&[1, IGNORED, 3], &[IGNORED, IGNORED, IGNORED]))?;
    assert_eq!((accuracy.total(), accuracy.compute()), (0, None));
    // The targets of the second and the last row are right; the third row holds a NaN.
    let logits = [0.0, 1.0, 1.0, 0.0, f64::NAN, 1.0, 0.5, 0.5];
    accuracy.update_logits(&logits, &[IGNORED, 0, 1, 0])?;
    assert_eq!((accuracy.total(), accuracy.compute()), (3, Some(2.0 / 3.0)));
    let mut all = TokenAccuracy::new();
    all.update((&[1, 2], &[1, IGNORED]))?;
    assert_eq!(all.compute(), Some(0.5));
    Ok(())
}

#[test]
fn bad_tokens_and_other_settings_are_errors_and_count_nothing() -> Result<(), BoxError> {
    let check = |result: Result<(), BoxError>, expected: &str| {
        assert_eq!(result.map_err(|error| error.to_string()), Err(expected.to_owned()));
    };
    let mut accuracy = TokenAccuracy::ignoring(7);
    let out = "target 2 is out of range: there are 2 classes, numbered from 0";
    check(accuracy.update_logits(&[1.0, 0.0, 1.0, 0.0], &[0, 2]), out);
    check(accuracy.update((&[1], &[1, 2])), "1 predictions for 2 targets; as many are needed");
    for other in [TokenAccuracy::new(), TokenAccuracy::ignoring(8)] {
        check(accuracy.merge(&other), "token accuracies that ignore other classes cannot be merged");
        check(
            accuracy.load_state_dict(&other.state_dict()?),
            "the saved token accuracy ignores another class",
        );
    }
    assert_eq!(accuracy, TokenAccuracy::ignoring(7));
    Ok(())
}
