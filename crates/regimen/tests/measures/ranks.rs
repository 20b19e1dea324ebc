//! Checkpoints of measures among several ranks.

use std::fmt::Debug;

use regimen::BoxError;
use regimen::data::Rank;
use regimen::metric::{
    Bleu, BrierScore, CalibrationError, ClassCurves, ConfusionMatrix, Distinct, ErrorRate, GoodnessOfFit,
    LabelCounts, LogLoss, MeanError, Measure, Perplexity, Quantile, Rouge, Running, Score, ScoreCurve,
    Spearman, TokenAccuracy,
};

/// Saves two ranks that have counted the same, and goes on with three: the first one has counted everything, and the
/// others nothing.
fn check<M>(empty: M, batch: M::Batch<'_>) -> Result<(), BoxError>
where
    M: Measure<Value = Option<f64>> + Debug,
    for<'b> M::Batch<'b>: Copy,
{
    let (mut one, mut both, mut twice) = (empty.clone(), empty.clone(), empty.clone());
    one.update(batch)?;
    both.merge(&one)?;
    both.merge(&one)?;
    twice.update(batch)?;
    twice.update(batch)?;
    let (found, expected) = (both.compute(), twice.compute());
    let is_near = |(found, expected): (f64, f64)| (found - expected).abs() <= 1e-14 * expected.abs();
    assert!(found == expected || found.zip(expected).is_some_and(is_near), "{found:?} {expected:?} {one:?}");
    assert_ne!(both.state_dict()?, one.state_dict()?, "{one:?}");
    let saved = [one.state_dict()?, one.state_dict()?];
    assert!(saved[0].iter().all(|(name, _)| one.is_of_rank(name)), "{one:?}");
    for (index, expected) in [(0, &both), (1, &empty), (2, &empty)] {
        let mut found = empty.clone();
        found.load_state_dict(&empty.share(&saved, Rank { index, count: 3 })?)?;
        assert_eq!(found.state_dict()?, expected.state_dict()?, "{one:?}");
    }
    both.reset();
    assert_eq!(both.state_dict()?, empty.state_dict()?);
    Ok(())
}

#[test]
fn counts_of_ranks_go_on_with_another_number_of_ranks() -> Result<(), BoxError> {
    let numbers = ([0.5, 1.5, 3.0], [1.0, 1.0, 2.0]);
    let numbers = (&numbers.0[..], &numbers.1[..]);
    for measure in [MeanError::mse(), MeanError::rmse(), MeanError::mae(), MeanError::mape()] {
        check(measure, numbers)?;
    }
    for measure in [GoodnessOfFit::r2(), GoodnessOfFit::explained_variance(), GoodnessOfFit::pearson()] {
        check(measure, numbers)?;
    }
    check(Spearman::new(), numbers)?;
    check(Running::new(), numbers.0)?;
    check(Quantile::new(0.9)?, numbers.0)?;
    check(Quantile::new(0.9)?.exact_up_to(4), numbers.0)?;
    check(Quantile::new(0.9)?.exact_up_to(2), numbers.0)?;

    check(Perplexity::new(), (1.5, 3))?;
    check(TokenAccuracy::new(), (&[1, 2], &[1, 0]))?;
    check(TokenAccuracy::ignoring(0), (&[1, 2], &[1, 0]))?;
    let texts = (&["a b c d e", "x"][..], &["a b c d f", "y"][..]);
    check(ErrorRate::wer(), texts)?;
    check(ErrorRate::cer(), texts)?;
    check(Bleu::new(), texts)?;
    check(Bleu::unsmoothed(), texts)?;
    for measure in [Rouge::rouge_1(), Rouge::rouge_2(), Rouge::rouge_l()] {
        check(measure, texts)?;
    }
    check(Distinct::new(2)?, texts.0)?;

    let classes = (&[0.2, 0.8, 0.6, 0.4, 0.3, 0.7][..], &[1, 0, 0][..]);
    check(BrierScore::new(2)?, classes)?;
    check(LogLoss::new(2)?, classes)?;
    check(CalibrationError::new(2, 4)?, classes)?;
    check(ClassCurves::new(2, ScoreCurve::new())?, classes)?;
    check(ClassCurves::new(2, ScoreCurve::binned(8)?)?, classes)?;
    check(LabelCounts::new(2)?, (&[true, false, true, true], &[true, true, true, true]))?;
    check(Score::new(ConfusionMatrix::new(2)?, |matrix| matrix.recall(1)), (&[1, 0], &[1, 1]))
}
