//! Finders on Burn, whose generator belongs to the process: their results, and the run afterwards.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use regimen::auto_unit::{StepResults, TRAIN_LOSS};
use regimen::finder::{BatchSizeFinder, LearningRateFinder};
use regimen::run::{FastDevRun, SanityEvaluation, Train};
use regimen::saved::{StateDict, save_parts};
use regimen::{AutoUnit, BoxError, Fit, Loss, Run, State, Step, Task};
use regimen_burn::Burn;
use regimen_burn::burn::tensor::{Distribution, Tensor};
use regimen_examples::digits::{Digits, Split};
use regimen_examples::reading::{Batch, Mlp, ReadDigits, loader, unit};

/// Reads digits with noise, in batches that fit into memory up to a size.
struct Noisy {
    most: usize,
}

impl Task<Burn<Mlp>> for Noisy {
    type Batch = Batch;
    type Output = Tensor<2>;

    fn compute_loss(
        &mut self,
        step: &Step,
        network: &Mlp,
        (images, digits): &Batch,
    ) -> Result<(Loss<Tensor<1>>, Tensor<2>), BoxError> {
        if self.most < images.dims()[0] {
            return Err("CUDA out of memory. Tried to allocate 20.00 MiB".into());
        }
        let noise = images.random_like(Distribution::Default);
        ReadDigits.compute_loss(step, network, &(images.clone() + noise * 0.1, digits.clone()))
    }

    fn on_eval_step_end(
        &mut self,
        state: &mut State,
        batch: &Batch,
        results: StepResults<Tensor<2>>,
    ) -> Result<(), BoxError> {
        ReadDigits.on_eval_step_end(state, batch, results)
    }
}

type Unit = AutoUnit<Burn<Mlp>, Noisy>;

/// The generator of Burn, for one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Trains for two epochs, with `between` before them and in the midst. Returns the parts of the unit and the metrics.
fn trained(mut between: impl FnMut(&mut Run<'_, Unit>)) -> (BTreeMap<String, StateDict>, String) {
    let Split { train, validation, .. } = Digits::bundled().unwrap().split();
    let (train, validation) = (loader(train), loader(validation));
    let mut unit =
        AutoUnit::new(unit(7).unwrap().into_parts().0, Noisy { most: 100 }).accumulate(3).learning_rate(5e-3);
    let mut run = Run::new(&mut unit).seed(3);
    between(&mut run);
    run.fit(&train, &validation, Fit::epochs(2).max_steps(10)).unwrap();
    between(&mut run);
    let report = run.fit(&train, &validation, Fit::epochs(2)).unwrap();
    let metrics = format!("{:?} {:?}", report.epochs, report.notices);
    drop(run);
    (save_parts(&mut unit).unwrap(), metrics)
}

#[test]
fn the_finders_of_burn_change_no_bit_of_the_run_afterwards() {
    let _alone = alone();
    let Split { train, validation, .. } = Digits::bundled().unwrap().split();
    let (train, validation) = (loader(train), loader(validation));
    let found = trained(|run| {
        let curve = LearningRateFinder::new().updates(40).find(run, &train).unwrap();
        assert!(curve.suggestion().is_some(), "{curve}");
        let sizes =
            BatchSizeFinder::binary().start(64).most(256).find(run, |size| train.clone().batch_size(size));
        assert_eq!(sizes.unwrap().size(), 100);
        FastDevRun::batches(2).fit(run, &train, &validation).unwrap();
        // A failure in the midst of a trial.
        FastDevRun::batches(2).train(run, &train.clone().batch_size(101)).unwrap_err();
    });
    assert_eq!(found, trained(|_| {}));
}

#[test]
fn a_sanity_evaluation_of_burn_changes_no_bit() {
    let _alone = alone();
    let Split { train, validation, .. } = Digits::bundled().unwrap().split();
    let (train, validation) = (loader(train), loader(validation));
    let trained = |steps| {
        let mut unit = unit(7).unwrap();
        let mut run = Run::new(&mut unit);
        SanityEvaluation::steps(steps).fit(&mut run, &train, &validation, Fit::epochs(1)).unwrap();
        drop(run);
        save_parts(&mut unit).unwrap()
    };
    assert_eq!(trained(2), trained(0));
}

#[test]
fn the_suggested_rate_is_in_the_range_that_trains() {
    let _alone = alone();
    let train = loader(Digits::bundled().unwrap().split().train);
    let rate = LearningRateFinder::new().find(&mut Run::new(&mut unit(7).unwrap()), &train).unwrap();
    let rate = rate.suggestion().unwrap();
    let loss = |rate: f64| {
        let mut unit = unit(7).unwrap().learning_rate(rate);
        Run::new(&mut unit).train(&train, Train::epochs(10)).unwrap().metric(TRAIN_LOSS).unwrap()
    };
    // That of a guess is 2.3.
    assert!(loss(rate) < 1.0, "{} at {rate}", loss(rate));
    assert!(loss(rate / 100.0) > 2.0 * loss(rate), "{} at {rate}", loss(rate / 100.0));
    assert!(loss(rate * 100.0) > 2.0 * loss(rate), "{} at {rate}", loss(rate * 100.0));
}
