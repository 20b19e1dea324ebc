//! Faults of other loops that `Runner` does not have, one test for each.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use regimen::auto_unit::{Averaging, EVAL_LOSS, Plateau};
use regimen::callback::{Event, Every, LearningRateMonitor, ProgressBar};
use regimen::data::{Data, DataExt, each_epoch};
use regimen::log::{MetricLog, Record};
use regimen::metric::{ConfusionMatrix, Key, Metrics};
use regimen::run::{Evaluate, Train};
use regimen::runner::Runner;
use regimen::saved::save_parts;
use regimen::schedule::LearningRates;
use regimen::state::Phase;
use regimen::{BoxError, Fit, State};
use regimen_test::toy::{ToyArray, ToyMlp};

use super::runner::{Labels, batch, engine, loader, points, runner};

/// Text that is printed, without what varies.
#[derive(Clone, Default)]
struct Out(Arc<Mutex<Vec<u8>>>);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Out {
    /// The words before the first comma of each line.
    fn titles(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.split([',', ' ']).take(3).collect::<Vec<_>>().join(" ")).collect()
    }
}

#[test]
fn two_runners_share_no_console_logger() {
    let outs = [Out::default(), Out::default()];
    let [mut first, mut second] = outs.each_ref().map(|out| runner().callback(ProgressBar::to(out.clone())));
    first.train(&loader(4), Train::epochs(1)).unwrap();
    second.train(&loader(4), Train::epochs(1)).unwrap();
    second.train(&loader(4), Train::epochs(2)).unwrap();
    first.train(&loader(4), Train::epochs(2)).unwrap();
    let titles =
        ["train epoch 1/1:", "training complete after", "train epoch 2/2:", "training complete after"];
    assert_eq!(outs.each_ref().map(Out::titles), [titles, titles]);
}

#[test]
fn a_file_logger_shows_the_rate_and_both_losses_and_no_line_ends_in_a_separator() {
    let out = Out::default();
    let log = MetricLog::lines(out.clone()).every(Every::epochs(1));
    // A loss of 1 in training and of 0.5 in a validation, without a metric.
    let mut runner = Runner::new(
        engine(),
        |net, _: &()| net.forward(&ToyArray::new(&[1, 2], &[0.0, 0.0])),
        |output, y: &f64| output.scale(0.0).add(&ToyArray::new(&[1, 3], &[*y; 3])).mean(),
    )
    .learning_rate(|updates: u64| 0.5 / (updates + 1) as f64)
    .callback(LearningRateMonitor::new())
    .callback(log);
    runner.fit(&[((), 1.0)], &[((), 0.5)], Fit::epochs(2)).unwrap();
    let expected = "[Epoch 1] learning_rate/default=0.5000, train/loss=1.000\n\
        [Eval epoch 1] eval/loss=0.5000\n\
        [Epoch 2] learning_rate/default=0.2500, train/loss=1.000\n\
        [Eval epoch 2] eval/loss=0.5000\n";
    assert_eq!(String::from_utf8(out.0.lock().unwrap().clone()).unwrap(), expected);
}

/// Counts the batches that are fetched.
fn counted<'a, D: Data + 'a>(data: D, count: &'a Mutex<u64>) -> impl Data<Batch = D::Batch> + 'a {
    data.map_batches(move |batch| {
        *count.lock().unwrap() += 1;
        batch
    })
}

#[test]
fn a_limit_of_n_batches_pulls_n_batches_from_the_loader_also_from_one_of_unknown_length() {
    let fetched = Mutex::new(0);
    let unknown = each_epoch(|_| (0..5).map(|_| batch(points(2))).filter(|_| true));
    let unknown = counted(unknown, &fetched);
    let mut from_unknown = runner();
    from_unknown.fit(&unknown, &loader(4), Fit::epochs(3).steps_per_epoch(2)).unwrap();
    assert_eq!((from_unknown.state().train_progress().steps, *fetched.lock().unwrap()), (6, 6));
    let known = counted(loader(20), &fetched);
    runner().evaluate(&known, Evaluate::steps(2)).unwrap();
    assert_eq!(*fetched.lock().unwrap(), 8);
}

#[test]
fn a_limit_above_the_length_of_the_loader_ends_with_it_and_none_is_needed() {
    let steps = |fit: Fit| {
        let endless_once = each_epoch(|_| (0..5).map(|_| batch(points(2))).filter(|_| true));
        let mut runner = runner();
        runner.fit(&endless_once, &loader(4), fit).unwrap();
        let progress = runner.state().train_progress();
        (progress.epochs, progress.steps, progress.steps_in_last_epoch)
    };
    assert_eq!(steps(Fit::epochs(2).steps_per_epoch(9)), (2, 10, 5));
    assert_eq!(steps(Fit::epochs(2)), (2, 10, 5));
    // Zero is a limit as any other, and not the length of the loader.
    assert_eq!(steps(Fit::epochs(2).steps_per_epoch(0)), (0, 0, 0));
}

#[test]
fn an_epoch_without_validation_logs_no_validation_value_again() {
    let logged = Mutex::new(Vec::new());
    let log = MetricLog::to(|records: &[Record<'_>]| {
        logged.lock().unwrap().extend(records.iter().map(|record| (record.step, record.name.to_owned())));
        Ok(())
    });
    let fit = Fit::epochs(5).eval_every(Every::epochs(2));
    let mut runner = Runner::new(
        engine(),
        |net, x: &ToyArray| net.forward(x),
        |logits, labels: &Labels| logits.cross_entropy(labels),
    )
    .callback(log.every(Every::epochs(1)));
    runner.fit(&loader(4), &loader(4), fit).unwrap();
    drop(runner);
    let [train, eval] = ["train/loss", "eval/loss"];
    let expected = [(1, train), (2, train), (2, eval), (3, train), (4, train), (4, eval), (5, train)];
    assert_eq!(logged.into_inner().unwrap(), expected.map(|(step, name)| (step, name.to_owned())));
}

#[test]
fn an_empty_loader_has_no_values_and_no_error_of_a_metric() {
    let needs_one: fn(&[f64]) -> Result<f64, BoxError> = |numbers| Ok(numbers[numbers.len() / 2]);
    let matrix = ConfusionMatrix::new(3).unwrap();
    let mut runner = runner()
        .epoch_metric("median", |logits, _| Ok(logits.values()), needs_one)
        .confusion_matrix(matrix, |matrix, logits, labels| matrix.update_logits(&logits.values(), labels));
    let empty: [(ToyArray, Labels); 0] = [];
    let report = runner.evaluate(&empty, Evaluate::whole().allow_empty()).unwrap();
    assert_eq!(["eval/median", "eval/right"].map(|name| report.metric(Key::mean(name))), [None; 2]);
    let error = runner.evaluate(&empty, Evaluate::whole()).unwrap_err();
    let told =
        "data failed in eval at epoch 0 step 0: the eval data gave no batch; fill it, or say `allow_empty()`";
    assert_eq!(format!("{error:#}"), told);
}

#[test]
fn a_second_fit_goes_on_with_the_schedule_and_takes_no_reduced_rate_for_its_base() {
    let new = || runner().learning_rate(|updates: u64| 0.1 * 0.5_f64.powi((updates / 3) as i32));
    let mut once = new();
    once.fit(&loader(12), &loader(4), Fit::epochs(4)).unwrap();
    let mut twice = new();
    twice.fit(&loader(12), &loader(4), Fit::epochs(2)).unwrap();
    twice.fit(&loader(12), &loader(4), Fit::epochs(4)).unwrap();
    // That of the next update.
    assert_eq!(twice.unit().learning_rates()[0].1, 0.1 * 0.0625);
    assert_eq!(save_parts(twice.unit_mut()).unwrap(), save_parts(once.unit_mut()).unwrap());
}

#[test]
fn the_plateau_reduces_the_rate_says_so_counts_anew_and_nan_alone_is_no_reason() {
    // The loss of an evaluation is its batch.
    let forward = |step: &regimen::Step, net: &ToyMlp, x: &f64| {
        let x = ToyArray::new(&[1, 1], &[*x]);
        if step.is_train() { net.forward(&ToyArray::new(&[1, 2], &[0.0, 1.0])) } else { x }
    };
    let plateau = Plateau::min(EVAL_LOSS).factor(0.5).patience(1);
    let mut runner = Runner::with_step(engine(), forward, |output, _: &()| output.mean())
        .learning_rate(0.125)
        .map_unit(|unit| unit.reduce_on_plateau(plateau));
    let (mut rates, mut notices) = (Vec::new(), Vec::new());
    for (epoch, loss) in (1..).zip([1.0, 0.5, f64::NAN, 0.25, f64::NAN, 0.5, 0.75, 0.5, 0.125]) {
        let report = runner.fit(&[(0.0, ())], &[(loss, ())], Fit::epochs(epoch)).unwrap();
        rates.push(runner.unit().learning_rates()[0].1);
        notices.extend(report.notices.into_iter().map(|notice| format!("{epoch}: {notice}")));
    }
    // Two checks without an improvement reduce it, and then two others.
    assert_eq!(rates, [0.125, 0.125, 0.125, 0.125, 0.125, 0.0625, 0.0625, 0.03125, 0.03125]);
    let expected = [
        "6: plateau of `eval/loss`: the learning rate falls from 0.125 to 0.0625 for `default`",
        "8: plateau of `eval/loss`: the learning rate falls from 0.0625 to 0.03125 for `default`",
    ];
    assert_eq!(notices, expected);
}

#[test]
fn an_evaluation_leaves_no_averaged_model_behind_also_after_an_error() {
    let refused: fn(&ToyArray, &Labels) -> Result<f64, BoxError> =
        |_, labels| if labels.len() == 3 { Err("a batch of three".into()) } else { Ok(0.0) };
    let mut runner = runner().metric("refused", refused).map_unit(|unit| unit.average(Averaging::ema(0.5)));
    runner.train(&loader(8), Train::epochs(1)).unwrap();
    let before = save_parts(runner.unit_mut()).unwrap();
    assert_ne!(before["module"], before["averaged_module"]);
    runner.evaluate(&loader(8), Evaluate::whole()).unwrap();
    assert_eq!(save_parts(runner.unit_mut()).unwrap(), before);
    runner.evaluate(&loader(7), Evaluate::whole()).unwrap_err();
    assert_eq!(save_parts(runner.unit_mut()).unwrap(), before);
}

#[test]
fn overfitting_one_batch_leaves_the_validation_data_alone() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = seen.clone();
    let forward = move |step: &regimen::Step, net: &ToyMlp, x: &usize| {
        told.lock().unwrap().push((step.is_train(), *x));
        net.forward(&ToyArray::new(&[1, 2], &[*x as f64, 1.0]))
    };
    let mut runner = Runner::with_step(engine(), forward, |output, _: &()| output.mean());
    let train = [(1, ()), (2, ()), (3, ())];
    runner.fit(&(&train).only_first_batch(), &[(4, ()), (5, ())], Fit::epochs(1)).unwrap();
    let expected = [(true, 1), (true, 1), (true, 1), (false, 4), (false, 5)];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn values_of_ranks_are_merged_by_their_samples() {
    // 4 samples of the loss 1 on one rank, and 2 of the loss 4 on the other.
    let evaluated = |rows: usize, loss: f64, merge: &(dyn Fn(&mut Metrics) + Sync)| {
        let data = [(ToyArray::new(&[rows, 1], &vec![loss; rows]), ())];
        let counted = (&data).count_samples(|(x, _)| x.shape()[0] as u64);
        Runner::new(engine(), |_, x: &ToyArray| x.clone(), |x, _: &()| x.mean())
            .on(Event::EvalEpochEnd, |state: &mut State, _: &mut _| merge(state.metrics_mut(Phase::Eval)))
            .evaluate(&counted, Evaluate::whole())
            .unwrap()
            .metric(EVAL_LOSS)
    };
    let theirs = Mutex::new(Metrics::default());
    evaluated(2, 4.0, &|metrics| *theirs.lock().unwrap() = metrics.clone());
    let merged = evaluated(4, 1.0, &|metrics| metrics.merge(&theirs.lock().unwrap()).unwrap());
    assert_eq!(merged, Some(2.0));
}

#[test]
fn samples_are_counted_as_they_are_and_those_of_a_validation_by_themselves() {
    let mut runner = runner();
    // Batches of 4, 4 and 2.
    runner.fit(&loader(10), &loader(6), Fit::epochs(2)).unwrap();
    let samples = [runner.state().train_progress(), runner.state().eval_progress()];
    assert_eq!(samples.map(|progress| (progress.steps, progress.samples)), [(6, 20), (4, 12)]);
}
