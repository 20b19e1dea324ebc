//! Values that a task gives with its loss, and the samples of a step.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use crate::one_weight::{Weight, unit};
use regimen_core::auto_unit::{NonFinite, TRAIN_LOSS};
use regimen_core::data::{At, Data, Epoch, Fetched};
use regimen_core::engine::Value;
use regimen_core::metric::{Key, Reduction};
use regimen_core::run::{Evaluate, Train};
use regimen_core::{AutoUnit, BoxError, Loss, Run, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, host_reads};

/// The batch is the loss and the value beside it, on the device and on the host; its weight is the number of
/// samples.
struct Beside;

type Engine = ToyEngine<Weight>;

impl Task<Engine> for Beside {
    type Batch = f64;
    type Output = ();

    fn compute_loss(
        &mut self,
        step: &Step,
        module: &Weight,
        batch: &f64,
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        let loss = module.0.scale(*batch).mean();
        let value =
            if *batch == 99.0 { ToyArray::new(&[2], &[0.0; 2]) } else { ToyArray::new(&[], &[*batch]) };
        let there = Key::named("there", Reduction::Mean);
        let beside = Loss::mean(loss, step.samples as f64).with(there, Value::Device(value));
        Ok((beside.with(Key::sum("here"), Value::Host(*batch)), ()))
    }
}

fn beside(reads_later: bool) -> AutoUnit<Engine, Beside> {
    let (engine, _) = unit(0.0).into_parts();
    let engine = if reads_later { engine.reads_later() } else { engine };
    AutoUnit::new(engine, Beside).learning_rate(0.0)
}

/// Batches, each of as many samples.
struct Counted(&'static [(f64, u64)]);

impl Data for Counted {
    type Batch = f64;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = f64>, BoxError> {
        struct Batches(std::slice::Iter<'static, (f64, u64)>);
        impl Epoch for Batches {
            type Batch = f64;
            fn next(&mut self) -> Option<Result<Fetched<f64>, BoxError>> {
                let &(batch, samples) = self.0.next()?;
                Some(Ok(Fetched::new(batch, samples)))
            }
        }
        Ok(Batches(self.0[at.skip as usize..].iter()))
    }
}

const KEYS: [Key; 3] = [Key::mean("train/loss"), Key::mean("there"), Key::sum("here")];

#[test]
fn values_beside_a_loss_have_its_weight() {
    for reads_later in [false, true] {
        let mut unit = beside(reads_later);
        let report = Run::new(&mut unit).train(&Counted(&[(2.0, 1), (6.0, 3)]), Train::epochs(1)).unwrap();
        assert_eq!(KEYS.map(|key| report.metric(key)), [5.0, 5.0, 20.0].map(Some), "{reads_later}");
        let report =
            Run::new(&mut unit).evaluate(&Counted(&[(2.0, 3), (6.0, 1)]), Evaluate::whole()).unwrap();
        assert_eq!(report.metric(Key::mean("there")), Some(3.0));
    }
}

#[test]
fn values_on_the_device_are_read_together_with_the_losses() {
    let mut unit = beside(true);
    let before = host_reads();
    Run::new(&mut unit).train(&[1.0; 8], Train::epochs(1)).unwrap();
    assert_eq!(host_reads() - before, 1);
}

#[test]
fn values_of_an_update_that_is_skipped_do_not_count() {
    let mut unit = beside(false).non_finite(NonFinite::Skip);
    let report = Run::new(&mut unit).train(&[2.0, f64::INFINITY, 4.0], Train::epochs(1)).unwrap();
    assert_eq!(KEYS.map(|key| report.metric(key)), [3.0, 3.0, 6.0].map(Some));
    assert_eq!(report.train.updates, 2);
}

#[test]
fn a_value_that_is_no_single_number_fails_its_step_which_is_made_again() {
    let mut unit = beside(false);
    let mut run = Run::new(&mut unit);
    let error = run.train(&[2.0, 99.0], Train::epochs(1)).unwrap_err();
    let text = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(text, "`there`: a loss of shape [2] is not a single number");
    assert_eq!((run.state().train_progress().steps, run.state().train_progress().updates), (1, 1));
    let report = run.train(&[2.0, 4.0], Train::epochs(1)).unwrap();
    assert_eq!([TRAIN_LOSS, Key::mean("there")].map(|key| report.metric(key)), [Some(3.0); 2]);
}
