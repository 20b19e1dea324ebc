//! The weights of the best epoch in memory and as files, resets of the optimizer, and callbacks on the first rank alone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use regimen::auto_unit::{Averaging, EVAL_LOSS, TRAIN_LOSS};
use regimen::callback::{BestFile, BestWeights, Event, FirstRank, ResetOptimizer};
use regimen::checkpoint::safetensors::load_file;
use regimen::data::Rank;
use regimen::engine::{Engine as _, Part};
use regimen::metric::{Best, Goal};
use regimen::run::{Evaluate, Train};
use regimen::saved::{StateDict, Stateful};
use regimen::state::Phase;
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
        let evaluated = unit.with_averaged_weights(|engine| engine.state(Part::Module).unwrap());
        assert_eq!(evaluated, weights[1], "average: {average}");
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

/// The files of a folder with their weights.
fn files(folder: &Path) -> BTreeMap<String, StateDict> {
    let file =
        |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), load_file(entry.path()).unwrap());
    fs::read_dir(folder).unwrap().map(|entry| file(entry.unwrap())).collect()
}

/// Fits an epoch for each of `losses`, which are those of its evaluation. Returns the notices and the weights that were
/// trained at the ends of the epochs.
fn fit_losses(run: Run<'_, Unit>, losses: &[f64]) -> (Vec<String>, Vec<StateDict>) {
    let (mut run, mut notices, mut weights) = (run, Vec::new(), Vec::new());
    for &loss in losses {
        let epochs = run.state().train_progress().epochs;
        notices.extend(run.fit(&TRAIN, &[loss], Fit::epochs(epochs + 1)).unwrap().notices);
        weights.push(module(run.unit()));
    }
    (notices, weights)
}

#[test]
fn each_better_value_is_a_file_and_nan_never_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("runs/new");
    let shown = new.display().to_string();
    let name = move |best: &Best| format!("{shown}/model_{}_{:.2}.safetensors", best.epoch, best.value);
    let shown = new.display();
    let run = Run::owned(unit()).callback(BestFile::min(EVAL_LOSS, name.clone()));
    let (notices, weights) = fit_losses(run, &[f64::NAN, 2.0, 2.0, f64::NAN, 3.0, 0.25]);
    let expected = [
        format!("epoch 2: best eval/loss improved from inf to 2.0000: {shown}/model_2_2.00.safetensors"),
        format!("epoch 6: best eval/loss improved from 2.0000 to 0.2500: {shown}/model_6_0.25.safetensors"),
    ];
    assert_eq!(notices, expected);
    let expected = [("model_2_2.00.safetensors", 1), ("model_6_0.25.safetensors", 5)];
    let expected = expected.map(|(name, epoch)| (name.to_owned(), weights[epoch].clone()));
    assert_eq!(files(&new), BTreeMap::from(expected));
    // Of the largest value, in one file.
    fs::remove_dir_all(&new).unwrap();
    let path = new.join("best.safetensors");
    let run = Run::owned(unit()).callback(BestFile::max(EVAL_LOSS, move |_| path.clone()));
    let (notices, weights) = fit_losses(run, &[1.0, f64::NAN, 3.0, 3.0, 2.0]);
    let expected = [
        format!("epoch 1: best eval/loss improved from -inf to 1.0000: {shown}/best.safetensors"),
        format!("epoch 3: best eval/loss improved from 1.0000 to 3.0000: {shown}/best.safetensors"),
    ];
    assert_eq!(notices, expected);
    assert_eq!(files(&new), BTreeMap::from([("best.safetensors".to_owned(), weights[2].clone())]));
}

#[test]
fn the_file_has_the_averaged_weights_or_the_trained_ones_in_any_order_of_the_callbacks() {
    let folder = tempfile::tempdir().unwrap();
    for order in [[false, true], [true, false]] {
        let path = |name: &str| folder.path().join(format!("{order:?}/{name}"));
        let mut run = Run::owned(unit().average(Averaging::ema(0.5)));
        for is_trained in order {
            let path = path(if is_trained { "trained" } else { "averaged" });
            let file = BestFile::min(EVAL_LOSS, move |_| path.clone());
            run = run.callback(if is_trained { file.trained() } else { file });
        }
        run.fit(&TRAIN, &[1.0], Fit::epochs(1)).unwrap();
        let averaged = run.unit_mut().with_averaged_weights(|engine| engine.state(Part::Module).unwrap());
        let trained = module(run.unit());
        assert_ne!(averaged, trained);
        let expected = BTreeMap::from([("averaged".to_owned(), averaged), ("trained".to_owned(), trained)]);
        assert_eq!(files(&folder.path().join(format!("{order:?}"))), expected);
    }
}

#[test]
fn the_weights_are_those_that_were_evaluated_also_if_there_is_an_average_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let (best, path) = (BestWeights::min(EVAL_LOSS), folder.path().join("best"));
    let mut run = Run::owned(unit().average(Averaging::ema(0.5).evaluate_raw()))
        .callback(best.clone())
        .callback(BestFile::min(EVAL_LOSS, move |_| path.clone()));
    run.fit(&TRAIN, &[1.0], Fit::epochs(1)).unwrap();
    let trained = module(run.unit());
    run.fit(&TRAIN, &[2.0], Fit::epochs(2)).unwrap();
    assert_eq!(files(folder.path()), BTreeMap::from([("best".to_owned(), trained.clone())]));
    assert!(best.restore(run.unit_mut()).unwrap());
    assert_eq!(module(run.unit()), trained);
}

#[test]
fn a_restored_run_keeps_the_file_of_the_best_before_and_the_report_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("best");
    let new = || {
        let path = path.clone();
        let file = BestFile::min(TRAIN_LOSS, move |_| path.clone()).phase(Phase::Train);
        Run::owned(unit()).callback(file)
    };
    let mut first = new();
    let report = first.train(&TRAIN, Train::epochs(1)).unwrap();
    let (value, checkpoint) = (report.metric(TRAIN_LOSS).unwrap(), Some(path.display().to_string()));
    let best = Best { key: TRAIN_LOSS, goal: Goal::Min, value, epoch: 1, train_step: 3, checkpoint };
    assert_eq!(report.best(TRAIN_LOSS), Some(&best));
    let weights = files(folder.path());
    let mut second = new();
    second.load_run_state(&first.run_state().unwrap()).unwrap();
    // Larger losses.
    let report = second.train(&[100.0], Train::epochs(2)).unwrap();
    assert_eq!((files(folder.path()), report.best(TRAIN_LOSS)), (weights, Some(&best)));
}

#[test]
fn a_file_that_cannot_be_written_and_a_metric_that_is_not_there_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let check = |file: BestFile, expected: String| {
        let error = Run::owned(unit()).callback(file).fit(&TRAIN, &[1.0], Fit::epochs(1)).unwrap_err();
        let text = std::error::Error::source(&error).unwrap().to_string();
        assert!(text.starts_with(&expected), "{text}");
    };
    fs::write(folder.path().join("file"), "").unwrap();
    let path = folder.path().join("file/best");
    let shown = path.parent().unwrap().display().to_string();
    check(BestFile::min(EVAL_LOSS, move |_| path.clone()), format!("cannot create `{shown}`: "));
    let path = folder.path().to_owned();
    check(
        BestFile::min(EVAL_LOSS, move |_| path.clone()),
        format!("cannot write `{}`: ", folder.path().display()),
    );
    let missing = "best file: `train/loss` was not logged in this epoch of eval; log it, or watch another";
    check(BestFile::min(TRAIN_LOSS, |_| "best"), missing.to_owned());
    // Nothing is left of a file that could not be replaced.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
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
