//! Evaluation in another precision than training.

use crate::one_weight::{Unit, unit, weight};
use regimen_core::auto_unit::EVAL_LOSS;
use regimen_core::engine::Precision;
use regimen_core::run::{Evaluate, Train};
use regimen_core::{Fit, Run};

/// A batch that bf16 rounds to 1.
const FINE: f64 = 1.0 + 1.0 / 256.0;

/// The weight after `n` steps in single precision, each of which subtracts the batch.
fn trained(n: f64) -> f64 {
    1.0 - n * FINE
}

fn in_f32() -> Unit {
    unit(0.0).precision(Precision::F32)
}

#[test]
fn an_evaluation_is_in_its_precision_and_the_training_around_it_is_not() {
    let fit = |unit: Unit| {
        let mut unit = unit;
        let report = Run::new(&mut unit).fit(&[FINE], &[FINE], Fit::epochs(2)).unwrap();
        let losses = report.epochs.iter().flat_map(|epoch| &epoch.values);
        let losses = losses.filter(|(key, _)| *key == EVAL_LOSS).map(|(_, loss)| *loss).collect::<Vec<_>>();
        (losses, weight(unit.engine()))
    };
    assert_eq!(fit(in_f32()), (vec![trained(1.0) * FINE, trained(2.0) * FINE], trained(2.0)));
    let rounded = (vec![-1.0 / 256.0, -1.0 - 1.0 / 64.0], trained(2.0));
    assert_eq!(fit(in_f32().eval_precision(Precision::BF16)), rounded);
    // By hand too.
    let mut unit = in_f32().eval_precision(Precision::BF16);
    let report = Run::new(&mut unit).evaluate(&[FINE], Evaluate::whole()).unwrap();
    assert_eq!(report.metric(EVAL_LOSS), Some(1.0));
}

#[test]
fn an_evaluation_that_fails_leaves_the_precision_of_training() {
    for panics in [false, true] {
        let mut unit = in_f32().eval_precision(Precision::BF16);
        unit.task_mut().refuse = Some(panics);
        let mut run = Run::new(&mut unit);
        let error = run.fit(&[FINE], &[FINE], Fit::epochs(1)).unwrap_err();
        assert_eq!(error.is_panic(), panics);
        let engine = run.unit_mut().engine_mut();
        // The gradient of a pass that no start of a run has prepared.
        let loss =
            regimen_core::engine::Engine::with_module(engine, regimen_core::engine::Mode::Train, |weight| {
                weight.0.scale(FINE).mean()
            });
        assert_eq!(loss.values(), [trained(1.0) * FINE]);
        run.train(&[FINE], Train::epochs(2)).unwrap();
        drop(run);
        assert_eq!(weight(unit.engine()), trained(2.0));
    }
}

#[test]
fn without_the_precision_of_training_it_is_refused_before_the_first_step() {
    let mut unit = unit(0.0).eval_precision(Precision::BF16);
    let error = Run::new(&mut unit).train(&[1.0], Train::epochs(1)).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "unit failed in on_train_start in train at epoch 0 step 0: `eval_precision`: give the `precision` of training \
         too, to which it returns"
    );
}
