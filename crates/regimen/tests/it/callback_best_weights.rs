//! The weights of the best evaluation, resets of the optimizer, and callbacks on the first rank alone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use regimen::auto_unit::{Averaging, EVAL_LOSS};
use regimen::callback::{BestWeights, Event, FirstRank, ResetOptimizer};
use regimen::data::Rank;
use regimen::engine::{Engine as _, Part};
use regimen::metric::{Best, Goal};
use regimen::run::{Evaluate, Train};
use regimen::saved::{StateDict, Stateful};
use regimen::{AutoUnit, BoxError, Error, Fit, Loss, Run, State, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};
use regimen_test::{Recorder, Transcript};

type Engine = ToyEngine<ToyMlp>;
type Unit = AutoUnit<Engine, Fitted>;

/// The loss of an evaluation is the batch, that of training that of a fit to the identity.
struct Fitted;

impl Task<Engine> for Fitted {
    type Batch = f64;
    type Output = ();

    fn compute_loss(&mut self, step: &Step, net: &ToyMlp, x: &f64) -> Result<(Loss<ToyArray>, ()), BoxError> {
        let x = ToyArray::new(&[1, 1], &[*x]);
        Ok((
            Loss::mean(if step.is_train() { net.forward(&x).mean_squared_error(&x) } else { x.mean() }, 1.0),
            (),
        ))
    }
}

fn unit() -> Unit {
    manual_seed(3);
    let mut vars = ToyVars::new();
    let mlp = ToyMlp::plain(&mut vars, [1, 3, 1]);
    AutoUnit::new(ToyEngine::new(vars, mlp, ToyOptimizer::sgd(0.9)), Fitted).learning_rate(0.05)
}

const TRAIN: [f64; 3] = [1.0, -0.5, 2.0];

fn module(unit: &Unit) -> StateDict {
    unit.engine().state(Part::Module).unwrap()
}

/// Fits for 3 epochs, whose evaluations have the losses 2, 1 and 3.
fn fit(unit: &mut Unit, best: &BestWeights) -> Result<Vec<StateDict>, Error> {
    let mut weights = Vec::new();
    let keep = |_: &mut State, unit: &mut Unit| {
        weights.push(unit.with_averaged_weights(|engine| engine.state(Part::Module).unwrap()));
    };
    let mut run = Run::new(unit).callback(best.clone()).on(Event::EvalEpochEnd, keep);
    for (epoch, loss) in [2.0, 1.0, 3.0].into_iter().enumerate() {
        run.fit(&TRAIN, &[loss], Fit::epochs(epoch as u64 + 1))?;
    }
    run.evaluate(&[0.5], Evaluate::whole())?;
    drop(run);
    Ok(weights)
}

#[test]
fn the_weights_of_the_best_evaluation_come_back_and_one_by_hand_is_not_looked_at() {
    for (average, best) in [(false, BestWeights::min(EVAL_LOSS)), (true, BestWeights::min(EVAL_LOSS))] {
        let mut unit = if average { unit().average(Averaging::ema(0.5)) } else { unit() };
        assert!(!best.restore(&mut unit).unwrap());
        let weights = fit(&mut unit, &best).unwrap();
        let value =
            Best { key: EVAL_LOSS, goal: Goal::Min, value: 1.0, epoch: 2, train_step: 6, checkpoint: None };
        assert_eq!(best.best(), Some(value));
        assert_ne!(module(&unit), weights[1]);
        assert!(best.restore(&mut unit).unwrap());
        assert_eq!(module(&unit), weights[1], "average: {average}");
    }
    let largest = BestWeights::max(EVAL_LOSS);
    fit(&mut unit(), &largest).unwrap();
    assert_eq!(largest.best().map(|best| (best.value, best.epoch)), Some((3.0, 3)));
}

#[test]
fn they_are_saved_and_one_that_was_not_begins_anew() {
    let best = BestWeights::min(EVAL_LOSS);
    let weights = fit(&mut unit(), &best).unwrap();
    let mut restored = BestWeights::min(EVAL_LOSS);
    restored.load_state_dict(&best.state_dict().unwrap()).unwrap();
    let mut unit = unit();
    assert!(restored.restore(&mut unit).unwrap());
    assert_eq!((module(&unit), restored.best()), (weights[1].clone(), best.best()));
    restored.load_state_dict(&StateDict::new()).unwrap();
    assert_eq!(restored.best(), None);
}

#[test]
fn a_reset_optimizer_is_a_new_one() {
    let mut reset = unit();
    let report = Run::new(&mut reset)
        .callback(ResetOptimizer::after_epochs([1]))
        .train(&TRAIN, Train::epochs(2))
        .unwrap();
    assert_eq!(report.notices, ["the state of the optimizer is emptied after epoch 1"]);
    let mut first = unit();
    Run::new(&mut first).train(&TRAIN, Train::epochs(1)).unwrap();
    let mut second = unit();
    second.engine_mut().load_state(Part::Module, &module(&first)).unwrap();
    Run::new(&mut second).train(&TRAIN, Train::epochs(1)).unwrap();
    assert_eq!(module(&reset), module(&second));
}

#[test]
fn a_callback_on_the_first_rank_is_itself_there_and_silent_on_the_others() {
    for (index, expected) in [(0, "cb.train_start cb.train_end"), (1, "")] {
        let transcript = Transcript::new();
        let recorder = Recorder::new(&transcript).events(Event::TrainStart | Event::TrainEnd);
        let mut unit = unit();
        let mut run = Run::new(&mut unit).rank(Rank { index, count: 2 }).callback(FirstRank(recorder));
        run.train(&TRAIN, Train::epochs(1)).unwrap();
        transcript.assert_reads(expected);
    }
}
