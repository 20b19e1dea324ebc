//! `Runner`: its hooks, metrics and calls, and that it trains as a unit written by hand does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use regimen::auto_unit::{Averaging, EVAL_LOSS, NonFinite, TRAIN_LOSS};
use regimen::callback::{Event, Events, Every};
use regimen::data::{DataExt, Loader};
use regimen::metric::{Accuracy, ConfusionMatrix, Key, Measure, Media, Reduction, argmax};
use regimen::run::{Evaluate, Predict, Report, Train};
use regimen::runner::{IntoLoss, Runner, SupervisedUnit, Terms, term};
use regimen::saved::{StateDict, load_parts, save_parts};
use regimen::schedule::{LearningRates, Phases};
use regimen::state::Phase;
use regimen::{AutoUnit, BoxError, Error, Fit, Loss, Run, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, host_reads, manual_seed};
use regimen_test::{Recorder, Transcript};

pub(super) type Engine = ToyEngine<ToyMlp>;
pub(super) type Labels = Vec<usize>;
pub(super) type Unit = SupervisedUnit<Engine, ToyArray, Labels, ToyArray>;

const EVAL_RIGHT: Key = Key::mean("eval/right");

pub(super) fn engine() -> Engine {
    manual_seed(7);
    let mut vars = ToyVars::new();
    let mlp = ToyMlp::regularized(&mut vars, [2, 6, 3], 0.25);
    ToyEngine::new(vars, mlp, ToyOptimizer::adam_w(0.01))
}

/// The share of rows whose label has the largest logit.
fn right(logits: &ToyArray, labels: &Labels) -> f64 {
    let values = logits.values();
    let rows = values.chunks(3).zip(labels);
    rows.filter(|(row, label)| argmax(row) == Some(**label)).count() as f64 / labels.len() as f64
}

pub(super) fn runner() -> Runner<'static, Unit> {
    Runner::new(
        engine(),
        |net, x: &ToyArray| net.forward(x),
        |logits, labels: &Labels| logits.cross_entropy(labels),
    )
    .metric("right", right)
}

/// `count` points of the plane with the sector that each is in.
pub(super) fn points(count: usize) -> Vec<([f64; 2], usize)> {
    let point = |i: usize| {
        let angle = i as f64 * 2.4;
        ([angle.cos(), angle.sin()], (angle / 2.1) as usize % 3)
    };
    (0..count).map(point).collect()
}

pub(super) fn batch(points: Vec<([f64; 2], usize)>) -> (ToyArray, Labels) {
    let (points, labels): (Vec<[f64; 2]>, Labels) = points.into_iter().unzip();
    (ToyArray::new(&[points.len(), 2], points.as_flattened()), labels)
}

pub(super) fn loader(count: usize) -> Loader<(ToyArray, Labels)> {
    Loader::collate(points(count), |points| Ok(batch(points))).batch_size(4)
}

/// The same by hand.
struct Sectors;

impl Task<Engine> for Sectors {
    type Batch = (ToyArray, Labels);
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        net: &ToyMlp,
        (x, labels): &(ToyArray, Labels),
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        Ok((Loss::mean(net.forward(x).cross_entropy(labels), labels.len() as f64), ()))
    }
}

/// Accumulation, clipping, an average and a schedule by phases. An epoch of [`loader(22)`](loader) has 3 updates.
fn settings<T: Task<Engine>>(unit: AutoUnit<Engine, T>) -> AutoUnit<Engine, T> {
    let average = Averaging::ema(0.9);
    let rate = Phases::new(0.05, 3).unwrap().linear(1.0, 0.1, 1.0).unwrap().cosine(2.0, 1.0, 0.01).unwrap();
    unit.accumulate(2).clip_norm(0.5).average(average).learning_rate(rate)
}

#[test]
fn it_trains_as_a_unit_by_hand_to_the_last_bit() {
    let (train, valid) = (loader(22).shuffle(), loader(6));
    let mut by_hand = settings(AutoUnit::new(engine(), Sectors));
    Run::new(&mut by_hand).seed(3).fit(&train, &valid, Fit::epochs(3)).unwrap();
    let mut runner = runner().map_unit(settings).seed(3);
    runner.fit(&train, &valid, Fit::epochs(3)).unwrap();
    assert_eq!(save_parts(runner.unit_mut()).unwrap(), save_parts(&mut by_hand).unwrap());
    // Any unit can be run.
    let mut runner = Runner::of(settings(AutoUnit::new(engine(), Sectors))).seed(3);
    runner.fit(&train, &valid, Fit::epochs(3)).unwrap();
    assert_eq!(save_parts(runner.unit_mut()).unwrap(), save_parts(&mut by_hand).unwrap());
}

#[test]
fn the_hooks_come_in_the_order_of_keras_and_the_end_of_an_epoch_after_its_validation() {
    use Event::*;
    let transcript = Transcript::new();
    let (after_backward, batches) = (transcript.clone(), [batch(points(2)), batch(points(3))]);
    let hooks = TrainStart | TrainEnd | CycleStart | CycleEnd | TrainEpochStart | TrainEpochEnd;
    let hooks: Events =
        hooks | EvalEpochStart | EvalEpochEnd | TrainStepStart | TrainStepEnd | EvalStepStart | EvalStepEnd;
    let mut runner =
        runner().callback(Recorder::new(&transcript).named("on").events(hooks)).map_unit(|unit| {
            unit.after_backward(move |_, _| {
                after_backward.write("after_backward");
                Ok(())
            })
        });
    let step = "on.train_step_start after_backward on.train_step_end";
    let epoch = format!("on.cycle_start on.train_epoch_start {step} {step} on.train_epoch_end");
    let validation = "on.eval_epoch_start on.eval_step_start on.eval_step_end on.eval_epoch_end";
    runner.fit(&batches, &batches[..1], Fit::epochs(2)).unwrap();
    transcript.assert_reads(&format!(
        "on.train_start {epoch} {validation} on.cycle_end {epoch} {validation} on.cycle_end on.train_end"
    ));
    // Without validation too.
    runner.train(&batches, Train::epochs(3)).unwrap();
    transcript.assert_reads(&format!("on.train_start {epoch} on.cycle_end on.train_end"));
    // Nothing is left to do, and begin and end come all the same.
    runner.train(&batches, Train::epochs(3)).unwrap();
    transcript.assert_reads("on.train_start on.train_end");
    // A pass by hand has neither.
    runner.evaluate(&batches[..1], Evaluate::whole()).unwrap();
    transcript.assert_reads(validation);
}

#[test]
fn the_limit_of_epochs_is_a_total_and_one_of_steps_fetches_no_batch_more() {
    let fetched = Arc::new(Mutex::new(0));
    let count = fetched.clone();
    let train = loader(20).map_batches(move |batch| {
        *count.lock().unwrap() += 1;
        batch
    });
    let mut runner = runner();
    runner.fit(&train, &loader(4), Fit::epochs(2).steps_per_epoch(2)).unwrap();
    assert_eq!((runner.state().train_progress().steps, *fetched.lock().unwrap()), (4, 4));
    runner.fit(&train, &loader(4), Fit::epochs(3).steps_per_epoch(2)).unwrap();
    assert_eq!(runner.state().train_progress().epochs, 3);
}

#[test]
fn values_are_means_over_the_samples_that_the_data_counts() {
    // Batches of 4 and 1 samples; the bias of the first is 1, of the second 6.
    let batches = vec![vec![1.0; 4], vec![6.0]];
    let array = |values: Vec<f64>| (ToyArray::new(&[values.len(), 1], &values), ());
    let batches: Vec<_> = batches.into_iter().map(array).collect();
    let runner = || {
        Runner::new(engine(), |_, x: &ToyArray| x.clone(), |x, _: &()| x.mean())
            .metric("on the device", |x, _| x.mean())
            .metric("on the host", |x, _| x.values()[0])
    };
    let check = |report: regimen::run::Report, expected: f64| {
        for name in ["eval/loss", "eval/on the device", "eval/on the host"] {
            assert_eq!(report.metric(Key::mean(name)), Some(expected), "{name}");
        }
    };
    let counted = (&batches).count_samples(|(x, _)| x.shape()[0] as u64);
    check(runner().evaluate(&counted, Evaluate::whole()).unwrap(), 2.0);
    // Batches that nobody counts have equal weights.
    check(runner().evaluate(&batches, Evaluate::whole()).unwrap(), 3.5);
    // A loss with a weight of its own.
    let own = Runner::new(
        engine(),
        |_, x: &ToyArray| x.clone(),
        |x, _: &()| Loss::mean(x.mean(), if x.shape()[0] == 1 { 3.0 } else { 1.0 }),
    );
    let report = own.metric("bias", |x, _| Ok(x.values()[0])).evaluate(&batches, Evaluate::whole()).unwrap();
    assert_eq!([EVAL_LOSS, Key::mean("eval/bias")].map(|key| report.metric(key)), [Some(4.75); 2]);
}

#[test]
fn a_metric_of_the_engine_waits_for_no_device() {
    let reads = |runner: Runner<'static, Unit>| {
        let mut runner = runner;
        let before = host_reads();
        runner.train(&loader(16), Train::epochs(1)).unwrap();
        host_reads() - before
    };
    let plain = || {
        Runner::new(
            engine().reads_later(),
            |net, x: &ToyArray| net.forward(x),
            |logits, labels: &Labels| logits.cross_entropy(labels),
        )
    };
    assert_eq!(reads(plain().metric("size", |logits, _| logits.mul(logits).mean())), reads(plain()));
}

#[test]
fn a_metric_that_fails_is_an_error_of_its_step_with_its_name() {
    let error = |runner: Runner<'static, Unit>| -> Error {
        let mut runner = runner;
        runner.evaluate(&[batch(points(2))], Evaluate::whole()).unwrap_err()
    };
    let text = |error: Error| std::error::Error::source(&error).unwrap().to_string();
    let refused: fn(&ToyArray, &Labels) -> Result<f64, BoxError> = |_, _| Err("no class 4".into());
    assert_eq!(text(error(runner().metric("top 4", refused))), "metric `eval/top 4`: no class 4");
    let matrix = runner().metric("matrix", |logits, _| logits.clone());
    assert_eq!(text(error(matrix)), "`eval/matrix`: a loss of shape [2, 3] is not a single number");
    let refused = |_: &mut ConfusionMatrix, _: &_, _: &_| Err("no class 4".into());
    let matrix = || ConfusionMatrix::new(3).unwrap();
    let broken = runner().confusion_matrix(matrix(), refused);
    assert_eq!(text(error(broken)), "metric `confusion_matrix`: no class 4");
    let twice = runner().confusion_matrix(matrix(), refused).confusion_matrix(matrix(), refused);
    assert_eq!(text(error(twice)), "the name `confusion_matrix` of a metric is taken; give it another");
    for name in ["loss", "right", "skipped"] {
        let told = format!("the name `{name}` of a metric is taken; give it another");
        assert_eq!(text(error(runner().metric(name, right))), told);
    }
}

/// The sum of squares of the logits.
fn size(logits: &ToyArray) -> ToyArray {
    logits.mul(logits).mean()
}

type InTerms = Terms<ToyArray>;

/// A runner whose criterion is made of the two terms `entropy` and `size`.
fn of_terms<L: IntoLoss<ToyArray>>(
    terms: impl Fn(InTerms, InTerms) -> L + Send + 'static,
) -> Runner<'static, Unit> {
    let criterion = move |logits: &ToyArray, labels: &Labels| {
        terms(term("entropy", logits.cross_entropy(labels)), term("size", size(logits)))
    };
    Runner::new(engine(), |net, x: &ToyArray| net.forward(x), criterion).metric("right", right)
}

#[test]
fn a_loss_of_terms_is_their_weighted_sum_to_the_last_bit_and_logs_each_without_its_weight() {
    let keys = ["loss", "entropy", "size"].map(|name| format!("eval/{name}"));
    let train = |mut runner: Runner<'static, Unit>| {
        let report = runner.fit(&loader(22), &loader(6), Fit::epochs(2)).unwrap();
        let values = keys.clone().map(|key| report.metric(Key::named(key, Reduction::Mean)).unwrap());
        (values, save_parts(runner.unit_mut()).unwrap())
    };
    let by_hand = Runner::new(
        engine(),
        |net, x: &ToyArray| net.forward(x),
        |logits, labels: &Labels| logits.cross_entropy(labels).scale(2.0).add(&size(logits).scale(0.5)),
    )
    .metric("entropy", |logits, labels| logits.cross_entropy(labels))
    .metric("size", |logits, _| size(logits));
    let expected = train(by_hand);
    assert_eq!(train(of_terms(|entropy, size| 2.0 * entropy + size * 0.5)), expected);
    assert_eq!(train(of_terms(|entropy, size| 0.5 * (entropy * 4.0 + 1.0 * size))), expected);
    assert_eq!(train(of_terms(|entropy, size| Ok(2.0 * entropy + 0.5 * size))), expected);
}

/// In the original a sum of losses began with the number 0, to which no loss can be added.
#[test]
fn a_sum_over_losses_is_a_loss() {
    let mut summed = of_terms(|entropy, size| [entropy, 0.5 * size].into_iter().sum::<InTerms>());
    let mut added = of_terms(|entropy, size| entropy + 0.5 * size);
    let report = |runner: &mut Runner<'static, Unit>| {
        let report = runner.evaluate(&loader(6), Evaluate::whole()).unwrap();
        [EVAL_LOSS, Key::mean("eval/entropy"), Key::mean("eval/size")].map(|key| report.metric(key).unwrap())
    };
    assert_eq!(report(&mut summed), report(&mut added));
}

/// In the original a metric without parts, accuracy for one, failed.
#[test]
fn metrics_and_losses_need_no_parts() {
    let mut runner = runner();
    runner.evaluate(&loader(6), Evaluate::whole()).unwrap();
    let metrics = runner.state().metrics(Phase::Eval);
    let names: Vec<&str> = metrics.iter().map(|metric| metric.key().name()).collect();
    assert_eq!(names, ["eval/loss", "eval/right"]);
}

#[test]
fn terms_of_a_loss_wait_for_no_device() {
    let mut runner = Runner::new(
        engine().reads_later(),
        |net, x: &ToyArray| net.forward(x),
        |logits, labels: &Labels| {
            term("entropy", logits.cross_entropy(labels)) + 0.1 * term("size", size(logits))
        },
    );
    let before = host_reads();
    runner.train(&loader(16), Train::epochs(1)).unwrap();
    assert_eq!(host_reads() - before, 1);
}

#[test]
fn terms_that_cannot_be_told_apart_are_errors() {
    let check = |mut runner: Runner<'static, Unit>, expected: &str| {
        let error = runner.evaluate(&loader(6), Evaluate::whole()).unwrap_err();
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), expected);
    };
    for name in ["loss", "right", "largest logit"] {
        let runner = of_epochs(of_terms(move |entropy, _| entropy + term(name, ToyArray::new(&[], &[1.0]))));
        check(runner, &format!("the name `{name}` of a term of the loss is taken; give it another"));
    }
    check(
        of_terms(|entropy, _| entropy + 0.5 * term("entropy", ToyArray::new(&[], &[1.0]))),
        "two terms of the loss are named `entropy`; give one another name",
    );
    check(of_terms(|_, _| [].into_iter().sum::<InTerms>()), "a loss of no terms; give it one or more");
    check(of_terms(|_, _| Err::<InTerms, BoxError>("no class 4".into())), "no class 4");
}

/// With the largest logit and the confusion matrix of each epoch.
fn of_epochs(runner: Runner<'static, Unit>) -> Runner<'static, Unit> {
    let matrix = ConfusionMatrix::new(3).unwrap();
    let runner = runner.epoch_metric(
        "largest logit",
        |logits, _| Ok(logits.values()),
        |logits| Ok(logits.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
    );
    runner.confusion_matrix(matrix, |matrix, logits, labels| matrix.update_logits(&logits.values(), labels))
}

#[test]
fn a_metric_of_the_epoch_has_all_numbers_of_its_epoch_and_no_others() {
    let numbers = Transcript::new();
    let told = numbers.clone();
    let finish = move |numbers: &[f64]| {
        told.write(format!("{numbers:?}").replace(' ', ""));
        Ok(numbers.iter().sum())
    };
    let mut runner = Runner::new(engine(), |net, x: &ToyArray| net.forward(x), |x, _: &f64| x.mean())
        .epoch_metric("sum", |_, y| Ok(vec![*y, -*y / 2.0]), finish);
    let batches = |ys: &[f64]| ys.iter().map(|&y| (ToyArray::new(&[1, 2], &[y, 1.0]), y)).collect::<Vec<_>>();
    let report = runner.fit(&batches(&[2.0, 4.0]), &batches(&[6.0]), Fit::epochs(2)).unwrap();
    numbers.assert_reads("[2.0,-1.0,4.0,-2.0] [6.0,-3.0] [2.0,-1.0,4.0,-2.0] [6.0,-3.0]");
    assert_eq!(["train/sum", "eval/sum"].map(|name| report.metric(Key::mean(name))), [Some(3.0); 2]);
    // A validation that was paused keeps its numbers while another pass runs.
    let pause = |state: &mut regimen::State, _: &mut _| state.pause("now");
    let mut runner = Runner::new(engine(), |net, x: &ToyArray| net.forward(x), |x, _: &f64| x.mean())
        .epoch_metric("sum", |_, y| Ok(vec![*y]), |numbers| Ok(numbers.iter().sum()))
        .on(Event::EvalStepEnd.every(Every::steps(3)), pause);
    let (train, valid) = (batches(&[2.0, 4.0]), batches(&[1.0, 2.0, 4.0, 8.0]));
    runner.fit(&train, &valid, Fit::epochs(1)).unwrap();
    let report = runner.evaluate(&valid[1..3], Evaluate::whole()).unwrap();
    assert_eq!(report.metric(Key::mean("eval/sum")), Some(6.0));
    let report = runner.fit(&train, &valid, Fit::epochs(1)).unwrap();
    assert_eq!(report.metric(Key::mean("eval/sum")), Some(15.0));
}

type Numbers = SupervisedUnit<Engine, ToyArray, f64, ToyArray>;

/// With the sum of the targets of each epoch. The loss has the factor of its target, and no weight if that is 0.
fn summing() -> Runner<'static, Numbers> {
    let criterion = |x: &ToyArray, y: &f64| Loss::mean(x.mean().scale(*y), if *y == 0.0 { 0.0 } else { 1.0 });
    Runner::new(engine(), |net, x: &ToyArray| net.forward(x), criterion).epoch_metric(
        "sum",
        |_, y| Ok(vec![*y]),
        |numbers| Ok(numbers.iter().sum()),
    )
}

fn numbers(ys: &[f64]) -> Vec<(ToyArray, f64)> {
    ys.iter().map(|&y| (ToyArray::new(&[1, 2], &[0.5, 1.0]), y)).collect()
}

/// The values of the epochs of training.
fn of_train(report: &Report, name: &'static str) -> Vec<Option<f64>> {
    report.epochs.iter().map(|epoch| epoch.metric(Key::mean(name))).collect()
}

#[test]
fn a_metric_of_the_epoch_leaves_out_the_steps_that_metrics_of_batches_leave_out() {
    for accumulate in [1, 2] {
        let mut runner = summing()
            .metric("mean", |_, y| *y)
            .map_unit(|unit| unit.non_finite(NonFinite::Skip).accumulate(accumulate));
        let report = runner.train(&numbers(&[1.0, f64::NAN, 0.0, 2.0]), Train::epochs(1)).unwrap();
        let of_epoch = ["train/mean", "train/sum"].map(|name| of_train(&report, name));
        assert_eq!(of_epoch, [[Some(1.5)], [Some(3.0)]]);
        // None counts.
        let report = runner.train(&numbers(&[f64::NAN, 0.0]), Train::epochs(2)).unwrap();
        assert_eq!(of_train(&report, "train/sum"), [None]);
    }
}

const LEFT_OUT: &str = "epoch 1 of train is without `sum`: the numbers of some of its steps are missing";

#[test]
fn a_metric_of_the_epoch_that_fails_once_is_left_out_of_its_epoch_and_training_goes_on() {
    for failing in [1, 2, 3] {
        let calls = Mutex::new(0);
        let keep = move |_: &ToyArray, y: &f64| {
            let mut calls = calls.lock().unwrap();
            *calls += 1;
            if *calls == failing { Err("once".into()) } else { Ok(vec![*y]) }
        };
        let mut runner = Runner::new(engine(), |net, x: &ToyArray| net.forward(x), |x, _: &f64| x.mean())
            .epoch_metric("sum", keep, |numbers| Ok(numbers.iter().sum()));
        let data = numbers(&[1.0, 2.0, 4.0]);
        let error = runner.train(&data, Train::epochs(2)).unwrap_err();
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "metric `sum`: once");
        let report = runner.train(&data, Train::epochs(2)).unwrap();
        assert_eq!(of_train(&report, "train/sum"), [None, Some(7.0)], "{failing}");
        assert_eq!((report.train.updates, &*report.notices), (6, &[LEFT_OUT.to_owned()][..]));
    }
}

#[test]
fn a_metric_of_the_epoch_that_was_not_saved_begins_with_the_next_epoch() {
    let data = numbers(&[1.0, 2.0, 4.0]);
    let mut first = summing();
    first.train(&data, Train::steps(2)).unwrap();
    let state = first.run().run_state().unwrap();
    let saved = save_parts(first.unit_mut()).unwrap();
    let mut second = summing().epoch_metric("count", |_, _| Ok(vec![1.0]), |ones| Ok(ones.iter().sum()));
    load_parts(second.unit_mut(), &saved).unwrap();
    second.run().load_run_state(&state).unwrap();
    let report = second.train(&data, Train::epochs(2)).unwrap();
    assert_eq!(of_train(&report, "train/sum"), [None, Some(7.0)]);
    assert_eq!(of_train(&report, "train/count"), [None, Some(3.0)]);
    assert_eq!(report.notices, [LEFT_OUT.replace("`sum`", "`sum`, `count`")]);
}

#[test]
fn a_measure_is_logged_by_epoch_and_all_or_none_count_a_step() {
    for failing in [1, 2, 3] {
        let calls = Mutex::new(0);
        let mut runner = summing()
            .measure("accuracy", Accuracy::new(), |accuracy, _, y| accuracy.update_counts(*y as u64, 4))
            .measure("fails", Accuracy::new(), move |_, _, _| {
                let mut calls = calls.lock().unwrap();
                *calls += 1;
                if *calls == failing { Err("once".into()) } else { Ok(()) }
            });
        let data = numbers(&[1.0, 2.0, 4.0]);
        let mut evaluate = || runner.evaluate(&data, Evaluate::whole().resume("test"));
        let error = evaluate().unwrap_err();
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "metric `fails`: once");
        let report = evaluate().unwrap();
        let values = ["eval/sum", "eval/accuracy", "eval/fails"].map(|name| report.metric(Key::mean(name)));
        assert_eq!(values, [Some(7.0), Some(7.0 / 12.0), None], "{failing}");
        let report = runner.train(&numbers(&[4.0, 2.0]), Train::epochs(2)).unwrap();
        assert_eq!(of_train(&report, "train/accuracy"), [Some(0.75); 2]);
    }
}

#[test]
fn counts_of_other_classes_are_refused_before_anything_is_changed() {
    let with_matrix = |classes: usize| {
        let matrix = ConfusionMatrix::new(classes).unwrap();
        summing().confusion_matrix(matrix, |matrix, _, _| matrix.update((&[0], &[1])))
    };
    let data = numbers(&[1.0, 2.0, 4.0]);
    let mut runner = with_matrix(2);
    runner.train(&data, Train::steps(2)).unwrap();
    let saved = save_parts(runner.unit_mut()).unwrap();
    let mut other = with_matrix(3);
    let before = save_parts(other.unit_mut()).unwrap();
    load_parts(other.unit_mut(), &saved).unwrap_err();
    assert_eq!(save_parts(other.unit_mut()).unwrap(), before);
}

#[test]
fn numbers_of_an_epoch_are_saved_while_it_is_open() {
    let data = numbers(&[1.0, 2.0, 4.0]);
    let mut runner = summing()
        .confusion_matrix(ConfusionMatrix::new(2).unwrap(), |matrix, _, _| matrix.update((&[0], &[1])));
    runner.fit(&data, &data, Fit::epochs(1)).unwrap();
    assert_eq!(save_parts(runner.unit_mut()).unwrap()["task"], StateDict::new());
    runner.train(&data, Train::steps(5)).unwrap();
    let saved = save_parts(runner.unit_mut()).unwrap();
    let names: Vec<&str> = saved["task"].iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["train.kept.confusion_matrix.counts", "train.kept.sum.values", "train.steps"]);
}

#[test]
fn each_epoch_logs_the_picture_of_its_own_confusion_matrix_and_no_other() {
    let pictures = Arc::new(Mutex::new(Vec::new()));
    let seen = || {
        let pictures = pictures.clone();
        move |state: &mut regimen::State, _: &mut _| pictures.lock().unwrap().extend_from_slice(state.media())
    };
    let matrix = || ConfusionMatrix::named(["low", "high"]).unwrap();
    // A target is its class, and an input the class that is predicted.
    let mut runner = Runner::new(
        engine(),
        |net, x: &usize| (*x, net.forward(&ToyArray::new(&[1, 2], &[*x as f64, 1.0]))),
        |(_, logits), _: &usize| logits.mean(),
    )
    .confusion_matrix(matrix(), |matrix, (x, _), y| matrix.update((&[*x], &[*y])))
    .on(Event::TrainEpochEnd, seen())
    .on(Event::EvalEpochEnd, seen());
    let (train, valid) = ([(0, 0), (1, 0), (1, 1)], [(0, 1)]);
    runner.fit(&train, &valid, Fit::epochs(2).eval_every(Every::epochs(2))).unwrap();
    let picture = |name: &'static str, batches: &[(usize, usize)]| {
        let mut matrix = matrix();
        let (predictions, targets): (Vec<_>, Vec<_>) = batches.iter().copied().unzip();
        matrix.update((&predictions, &targets)).unwrap();
        (name.into(), Media::from(matrix.image().unwrap()))
    };
    let of_train = || picture("train/confusion_matrix", &train);
    let expected = [of_train(), of_train(), picture("eval/confusion_matrix", &valid)];
    assert!(*pictures.lock().unwrap() == expected);
}

#[test]
fn a_scheduled_dropout_has_the_rate_of_its_epoch_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let rates = Transcript::new();
    let new = |rate: fn(u64) -> f64| {
        let rates = rates.clone();
        let forward = move |step: &Step, net: &ToyMlp, x: &ToyArray| {
            let rate = rate(step.epoch);
            rates.write(format!("{}:{rate}", step.epoch));
            net.forward(&if step.is_train() { x.dropout(rate) } else { x.clone() })
        };
        let saver = regimen::checkpoint::Checkpointer::new(folder.path());
        let runner =
            Runner::with_step(engine(), forward, |logits, labels: &Labels| logits.cross_entropy(labels));
        (runner.seed(5), saver)
    };
    let scheduled: fn(u64) -> f64 = |epoch| 0.5 * (epoch as f64 / 2.0).min(1.0);
    let trained = |rate: fn(u64) -> f64| {
        let (mut runner, _) = new(rate);
        runner.train(&loader(8), Train::epochs(4)).unwrap();
        save_parts(runner.unit_mut()).unwrap()
    };
    let whole = trained(scheduled);
    rates.assert_reads("0:0 0:0 1:0.25 1:0.25 2:0.5 2:0.5 3:0.5 3:0.5");
    assert_ne!(whole, trained(|_| 0.5));
    rates.take();
    let (runner, saver) = new(scheduled);
    runner.saver(saver).train(&loader(8), Train::epochs(4).max_steps(3)).unwrap();
    let (runner, saver) = new(scheduled);
    let mut resumed = runner.saver(saver);
    resumed.restore_latest().unwrap().unwrap();
    resumed.train(&loader(8), Train::epochs(4)).unwrap();
    rates.assert_reads("0:0 0:0 1:0.25 1:0.25 2:0.5 2:0.5 3:0.5 3:0.5");
    assert_eq!(save_parts(resumed.unit_mut()).unwrap(), whole);
}

#[test]
fn an_evaluation_needs_no_training_before_it_and_leaves_nothing_behind() {
    let parts = |runner: &mut Runner<'static, Unit>| save_parts(runner.unit_mut()).unwrap();
    let mut runner = runner().map_unit(settings);
    let report = runner.evaluate(&loader(6), Evaluate::whole()).unwrap();
    assert!(report.metric(EVAL_RIGHT).is_some_and(|right| (0.0..=1.0).contains(&right)));
    runner.train(&loader(16), Train::epochs(2)).unwrap();
    // The averaged weights are in the module for the evaluation only.
    let before = parts(&mut runner);
    assert_ne!(before["module"], before["averaged_module"]);
    runner.evaluate(&loader(6), Evaluate::whole()).unwrap();
    assert_eq!(parts(&mut runner), before);
    assert!(runner.unit().engine().vars().is_training());
}

#[test]
fn predictions_are_outputs_for_inputs_without_targets() {
    let mut runner = runner();
    let inputs = loader(6).map_batches(|(x, _)| x);
    let mut outputs = Vec::new();
    let kept = &mut outputs;
    runner
        .predict(&inputs, Predict::whole(), |logits| {
            kept.push(logits.shape().to_vec());
            Ok(())
        })
        .unwrap();
    assert_eq!(outputs, [[4, 3], [2, 3]]);
}

#[test]
fn the_step_tells_its_mode_to_the_forward_pass() {
    let transcript = Transcript::new();
    let modes = transcript.clone();
    let forward = move |step: &Step, net: &ToyMlp, x: &ToyArray| {
        modes.write(format!("{:?}/{}", step.mode, step.samples));
        net.forward(x)
    };
    let mut runner =
        Runner::with_step(engine(), forward, |logits, labels: &Labels| logits.cross_entropy(labels));
    runner.fit(&loader(6), &loader(3), Fit::epochs(1)).unwrap();
    runner.predict(&loader(2).map_batches(|(x, _)| x), Predict::whole(), |_| Ok(())).unwrap();
    transcript.assert_reads("Train/4 Train/2 Eval/3 Predict/2");
}

/// The original multiplied the rate that it found at the start of a fit, so a second fit began with that of the end
/// of the first.
#[test]
fn phases_of_rate_and_momentum_are_those_of_the_run_in_every_fit() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let see = seen.clone();
    let mut vars = ToyVars::new();
    let net = ToyMlp::plain(&mut vars, [2, 6, 3]);
    let mut runner = Runner::new(
        ToyEngine::new(vars, net, ToyOptimizer::sgd(0.9)),
        |net, x: &ToyArray| net.forward(x),
        |logits, labels: &Labels| logits.cross_entropy(labels),
    )
    // One cycle over 3 epochs of 4 updates: the rate rises for one and a half, and the momentum falls.
    .learning_rate(
        Phases::new(0.2, 4)
            .and_then(|rate| rate.linear(1.5, 0.1, 1.0)?.cosine(1.0, 1.0, 0.1)?.geometric(0.5, 0.1, 0.001))
            .unwrap(),
    )
    .momentum(
        Phases::new(1.0, 4)
            .and_then(|momentum| momentum.linear(1.5, 0.95, 0.85)?.linear(1.5, 0.85, 0.95))
            .unwrap(),
    )
    .on(Event::TrainStepStart, move |_: &mut regimen::State, unit: &mut Unit| {
        see.lock().unwrap().push((unit.learning_rates()[0].1, unit.scheduled_momentum().unwrap()));
    });
    for epochs in [1, 2, 3] {
        runner.train(&loader(16), Train::epochs(epochs)).unwrap();
    }
    let (rates, momenta): (Vec<f64>, Vec<f64>) = seen.lock().unwrap().iter().copied().unzip();
    let expected_rates =
        [0.02, 0.05, 0.08, 0.11, 0.14, 0.17, 0.2, 0.173639610307, 0.11, 0.046360389693, 0.02, 0.002];
    let expected_momenta = [
        0.95,
        0.933333333333,
        0.916666666667,
        0.9,
        0.883333333333,
        0.866666666667,
        0.85,
        0.866666666667,
        0.883333333333,
        0.9,
        0.916666666667,
        0.933333333333,
    ];
    for (found, expected) in [(rates, expected_rates), (momenta, expected_momenta)] {
        let near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-11);
        assert!(found.len() == 12 && near, "{found:?} is not {expected:?}");
    }
}

#[test]
fn a_training_that_was_stopped_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let new = || of_epochs(runner().map_unit(settings).seed(5));
    let (train, valid) = (loader(22).shuffle(), loader(6));
    let mut whole = new();
    let expected = whole.fit(&train, &valid, Fit::epochs(3)).unwrap();
    let state = |runner: &mut Runner<'static, Unit>| -> (StateDict, _) {
        (runner.run().run_state().unwrap(), save_parts(runner.unit_mut()).unwrap())
    };
    let expected_state = state(&mut whole);
    for stop in 1..18 {
        let path = folder.path().join(stop.to_string());
        let saved = || new().saver(regimen::checkpoint::Checkpointer::new(&path));
        saved().fit(&train, &valid, Fit::epochs(3).max_steps(stop)).unwrap();
        let mut second = saved();
        assert_eq!(second.restore_latest().unwrap().unwrap().step, stop);
        let report = second.fit(&train, &valid, Fit::epochs(3)).unwrap();
        assert_eq!(
            [report.metric(TRAIN_LOSS), report.metric(EVAL_RIGHT)],
            [expected.metric(TRAIN_LOSS), expected.metric(EVAL_RIGHT)]
        );
        assert_eq!(state(&mut second), expected_state, "stopped after step {stop}");
    }
}

#[test]
fn the_compiler_says_what_a_closure_must_return_and_take() {
    trybuild::TestCases::new().compile_fail("tests/doors/*.rs");
}
