//! The cleanup of memory: the steps behind which the engine is told.

use std::sync::{Arc, Mutex};

use regimen::callback::{Event, Every, MemoryCleanup};
use regimen::run::{Evaluate, Train};
use regimen::{AutoUnit, BoxError, Fit, Loss, Run, State, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars};

struct Regress;

impl Task<ToyEngine<ToyMlp>> for Regress {
    type Batch = f64;
    type Output = ();

    fn compute_loss(&mut self, _: &Step, mlp: &ToyMlp, x: &f64) -> Result<(Loss<ToyArray>, ()), BoxError> {
        Ok((Loss::mean(mlp.forward(&ToyArray::new(&[1, 1], &[*x])).mean(), 1.0), ()))
    }
}

type Unit = AutoUnit<ToyEngine<ToyMlp>, Regress>;

/// The events at which the engine was told by then, in runs of a new unit: `train step end 2, eval step end 2`.
#[track_caller]
fn check(every: Every, calls: impl FnOnce(&mut Run<'_, Unit>), expected: &str) {
    let mut vars = ToyVars::new();
    let mlp = ToyMlp::plain(&mut vars, [1, 2, 1]);
    let mut unit = AutoUnit::new(ToyEngine::new(vars, mlp, ToyOptimizer::sgd(0.0)), Regress);
    let told = Arc::new(Mutex::new((0, Vec::new())));
    let mut run = Run::new(&mut unit).callback(MemoryCleanup::every(every));
    for event in [Event::TrainStepEnd, Event::TrainEpochEnd, Event::EvalStepEnd, Event::EvalEpochEnd] {
        let told = Arc::clone(&told);
        run = run.on(event, move |state: &mut State, unit: &mut Unit| {
            let (releases, events) = &mut *told.lock().unwrap();
            let now = unit.engine().memory_releases();
            if std::mem::replace(releases, now) != now {
                events.push(format!("{event} {}", state.progress().steps));
            }
        });
    }
    calls(&mut run);
    drop(run);
    let (releases, events) = &*told.lock().unwrap();
    assert_eq!((events.join(", "), unit.engine().memory_releases()), (expected.to_owned(), *releases));
}

#[test]
fn the_engine_is_told_at_the_cadence_of_each_phase() {
    check(
        Every::steps(2),
        |run| drop(run.fit(&[0.0; 3], &[0.0; 2], Fit::epochs(2)).unwrap()),
        "train step end 2, eval step end 2, train step end 4, train step end 6, eval step end 4",
    );
    check(
        Every::epochs(2),
        |run| drop(run.fit(&[0.0; 3], &[0.0], Fit::epochs(2)).unwrap()),
        "train epoch end 6, eval epoch end 2",
    );
}

#[test]
fn a_run_that_is_paused_and_goes_on_keeps_the_cadence_and_a_pass_by_hand_has_its_own() {
    check(
        Every::steps(3),
        |run| {
            run.train(&[0.0; 4], Train::steps(2)).unwrap();
            run.train(&[0.0; 4], Train::epochs(1)).unwrap();
            run.evaluate(&[0.0; 4], Evaluate::whole()).unwrap();
        },
        "train step end 3, eval step end 3",
    );
}

#[test]
fn a_cadence_of_zero_is_refused_before_the_first_step() {
    check(
        Every::steps(0),
        |run| {
            let error = run.train(&[0.0], Train::epochs(1)).unwrap_err();
            assert_eq!(
                format!("{error:#}"),
                "callback MemoryCleanup failed at train start in train at epoch 0 step 0: `MemoryCleanup::every`: a \
                 cadence of 0 is never due; give 1 or more"
            );
        },
        "",
    );
}
