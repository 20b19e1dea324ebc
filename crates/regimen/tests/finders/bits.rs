//! A run with a finder before it and in the middle of it ends with the bytes of one without it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use regimen::auto_unit::{Averaging, EVAL_LOSS, GradientScaler, Plateau, PredictTask, Thaw};
use regimen::callback::{EarlyStopping, Event, Every, LearningRateMonitor, ParameterMonitor};
use regimen::checkpoint::Checkpointer;
use regimen::data::{Data, DataExt, Loader};
use regimen::engine::Precision;
use regimen::finder::{BatchSizeFinder, LearningRateFinder};
use regimen::log::MetricLog;
use regimen::run::{Evaluate, FastDevRun, SanityEvaluation, Train};
use regimen::saved::{StateDict, Stateful};
use regimen::schedule::{Cosine, LearningRates, ScheduleExt};
use regimen::state::Phase;
use regimen::{AutoUnit, BoxError, Error, Fit, Loss, Run, State, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};

type Batch = (ToyArray, ToyArray);
/// A perceptron with dropout and running statistics, and a parameter that no gradient reaches.
type Engine = ToyEngine<(ToyMlp, ToyArray)>;
type Unit = AutoUnit<Engine, Curve>;

/// Regression, with a count of losses as the state of the task.
struct Curve {
    losses: u64,
    most_rows: usize,
    evaluates: bool,
}

impl Curve {
    fn net(&mut self, net: &ToyMlp, x: &ToyArray) -> ToyArray {
        self.losses += 1;
        net.forward(x)
    }
}

impl Task<Engine> for Curve {
    type Batch = Batch;
    type Output = ();

    fn compute_loss(
        &mut self,
        step: &Step,
        (net, _): &(ToyMlp, ToyArray),
        (x, y): &Batch,
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        let rows = x.shape()[0];
        let loss = self.net(net, x).mean_squared_error(y);
        // Late in the step, as the backward pass does.
        if self.most_rows < rows {
            return Err("CUDA out of memory. Tried to allocate 20.00 MiB".into());
        }
        if !self.evaluates && step.mode != regimen::engine::Mode::Train {
            return Err("no such column".into());
        }
        Ok((Loss::mean(loss, rows as f64), ()))
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(&mut self.losses)
    }
}

impl PredictTask<Engine> for Curve {
    type Input = Batch;
    type Prediction = Vec<f64>;

    fn predict(
        &mut self,
        _: &Step,
        (net, _): &(ToyMlp, ToyArray),
        (x, _): Batch,
    ) -> Result<Vec<f64>, BoxError> {
        Ok(self.net(net, &x).values())
    }
}

fn loader(count: u32) -> Loader<Batch> {
    let points: Vec<f64> = (0..count).map(|i| f64::from(i) / 7.0 - 1.5).collect();
    Loader::collate(points, |x| {
        let y: Vec<f64> = x.iter().map(|x| x.sin()).collect();
        Ok((ToyArray::new(&[x.len(), 1], &x), ToyArray::new(&[y.len(), 1], &y)))
    })
    .batch_size(4)
}

fn unit(precision: Precision) -> Unit {
    manual_seed(5);
    let mut vars = ToyVars::new();
    let mlp = ToyMlp::regularized(&mut vars, [1, 6, 1], 0.25);
    let cut = vars.parameter("cut", &[1], 1.0);
    let engine = ToyEngine::new(vars, (mlp, cut), ToyOptimizer::adam_w(0.01))
        .group("last", |name| name.starts_with("output"))
        .reads_later();
    AutoUnit::new(engine, Curve { losses: 0, most_rows: 16, evaluates: true })
        .accumulate(3)
        .clip_norm(1.0)
        .learning_rate(Cosine::new(0.05, 20).unwrap().warm_up(3))
        .freeze("last", Thaw::AtUpdate(4))
        .precision(precision)
        .gradient_scaler(GradientScaler::new().growth_interval(5))
        .average(Averaging::ema(0.9).ramp().warm_up(2).every_nth(2).take_buffers())
        .reduce_on_plateau(Plateau::min(EVAL_LOSS).patience(0).factor(0.5).threshold_absolute(9.0))
}

/// All files below `dir`, with their bytes. The name of a run, in the manifests, is drawn by the clock, and left out.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(rest, bytes)| (format!("{name}/{rest}"), bytes)));
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        if name == "MANIFEST" {
            let text = String::from_utf8(bytes).unwrap();
            let is_named = |line: &&str| line.starts_with("run ") || line.starts_with("checksum ");
            assert_eq!(text.lines().filter(is_named).count(), 2);
            bytes = text.lines().filter(|line| !is_named(line)).collect::<Vec<_>>().join("\n").into_bytes();
        }
        found.insert(name, bytes);
    }
    found
}

/// A whole run in a folder, interrupted in the midst of an epoch and of a window, and by a change of settings.
/// `between` is called before it, in the midst and after the change. Returns its files, its notices and the
/// state of its callbacks.
fn whole(
    precision: Precision,
    sanity: u64,
    mut between: impl FnMut(&mut Run<'_, Unit>),
) -> (BTreeMap<String, Vec<u8>>, Vec<String>, StateDict) {
    let dir = tempfile::tempdir().unwrap();
    let (train, valid) = (
        // With changes that are drawn.
        loader(26).shuffle().transform_batches("jitter", |(x, y): Batch, random| {
            let jitter = random.uniform() / 10.0;
            Ok((ToyArray::new(x.shape(), &x.values().iter().map(|x| x + jitter).collect::<Vec<_>>()), y))
        }),
        loader(9),
    );
    let mut notices = Vec::new();
    let mut unit = unit(precision);
    let mut run = Run::new(&mut unit)
        .seed(11)
        .callback(LearningRateMonitor::new().every(Every::steps(1)))
        .callback(ParameterMonitor::new())
        .callback(EarlyStopping::min(EVAL_LOSS, 99))
        .callback(MetricLog::csv(dir.path().join("metrics.csv")).every(Every::steps(1).or(Every::epochs(1))))
        .callback(MetricLog::jsonl(dir.path().join("metrics.jsonl")).every(Every::steps(2)))
        .on(Event::Notice, |state: &mut State, _: &mut Unit| notices.extend(state.notices().iter().cloned()))
        .saver(
            Checkpointer::new(dir.path().join("saved")).every(Every::steps(5)).keep_last(99).in_foreground(),
        );
    let begun = SanityEvaluation::steps(sanity);
    between(&mut run);
    begun.fit(&mut run, &train, &valid, Fit::epochs(9).max_steps(3)).unwrap();
    between(&mut run);
    begun.fit(&mut run, &train, &valid, Fit::epochs(9).max_steps(12)).unwrap();
    run.unit_mut().set_group_learning_rate("last", 0.02).unwrap();
    between(&mut run);
    begun.fit(&mut run, &train, &valid, Fit::epochs(5)).unwrap();
    between(&mut run);
    let state = run.run_state().unwrap();
    drop(run);
    (files(dir.path()), notices, state)
}

/// Compares a run with `between` to one without.
#[track_caller]
fn check(precision: Precision, sanity: u64, between: impl FnMut(&mut Run<'_, Unit>)) {
    let (files, notices, state) = whole(precision, sanity, between);
    let (expected, expected_notices, expected_state) = whole(precision, 0, |_| {});
    assert_eq!(notices, expected_notices);
    assert_eq!(state, expected_state);
    assert_eq!(files.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    assert!(expected.keys().filter(|name| name.ends_with(".safetensors")).count() > 9, "{expected:?}");
    for (name, bytes) in &expected {
        assert!(files[name] == *bytes, "{name} differs");
    }
}

const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::F16];

#[test]
fn a_run_without_a_finder_has_the_same_bytes_twice() {
    PRECISIONS.into_iter().for_each(|precision| check(precision, 0, |_| {}));
    let (_, notices, _) = whole(Precision::F32, 0, |_| {});
    let first = "no gradient has reached `cut`: the loss does not depend on it, or its graph is cut; freeze what is not \
                 to be trained";
    assert_eq!(notices[0], first);
    assert_eq!(notices.iter().filter(|notice| **notice == first).count(), 1);
}

#[test]
fn a_learning_rate_finder_changes_no_bit() {
    for precision in PRECISIONS {
        check(precision, 0, |run| {
            let rates = run.unit().learning_rates();
            let curve = LearningRateFinder::new().updates(30).high(10.0).find(run, &loader(26)).unwrap();
            assert!(curve.points().len() > 20, "{curve}");
            // One whose loss ends as NaN.
            let wild = LearningRateFinder::new().updates(30).high(1e300).stop_above(f64::INFINITY);
            assert!(wild.find(run, &loader(26)).unwrap().points().len() < 30);
            // And one that fails.
            LearningRateFinder::new().find(run, &loader(26).batch_size(17)).unwrap_err();
            assert_eq!(run.unit().learning_rates(), rates);
        });
    }
}

#[test]
fn a_batch_size_finder_changes_no_bit() {
    for precision in PRECISIONS {
        check(precision, 0, |run| {
            let found = BatchSizeFinder::binary().find(run, |size| loader(26).batch_size(size)).unwrap();
            assert_eq!(found.size(), 16);
        });
    }
}

#[test]
fn a_fast_dev_run_changes_no_bit() {
    for precision in PRECISIONS {
        check(precision, 0, |run| {
            let few = FastDevRun::batches(2);
            few.fit(run, &loader(26), &loader(9)).unwrap();
            few.train(run, &loader(26)).unwrap();
            few.evaluate(run, &loader(26)).unwrap();
            few.predict(run, &loader(26)).unwrap();
            few.train(run, &loader(26).batch_size(17)).unwrap_err();
        });
    }
}

#[test]
fn a_sanity_evaluation_changes_no_bit() {
    for precision in PRECISIONS {
        check(precision, 2, |_| {});
    }
}

#[test]
fn a_sanity_evaluation_fails_before_the_first_step() {
    let mut unit = unit(Precision::F32);
    unit.task_mut().evaluates = false;
    let mut run = Run::new(&mut unit);
    let error =
        SanityEvaluation::steps(2).fit(&mut run, &loader(26), &loader(9), Fit::epochs(1)).unwrap_err();
    assert_eq!(format!("{error:#}"), "unit failed in eval_step in eval at epoch 0 step 0: no such column");
    assert_eq!(run.state().train_progress().steps, 0);
    // Without it the error comes after an epoch.
    SanityEvaluation::steps(0).fit(&mut run, &loader(26), &loader(9), Fit::epochs(1)).unwrap_err();
    assert_eq!(run.state().train_progress().epochs, 1);
}

#[test]
fn a_dry_run_of_all_sorts_changes_no_bit() {
    check(Precision::F32, 0, |run| {
        let error: Error = run
            .dry_run(|mut dry| dry.train(&loader(26), Train::steps(5)).map(|_| panic!("on purpose")))
            .map(|_: Result<(), Error>| ())
            .unwrap_err();
        assert!(error.is_panic());
        run.dry_run(|mut dry| dry.evaluate(&loader(9), Evaluate::whole())).unwrap().unwrap();
        // The evaluation by hand of this run would have gone through its own callbacks.
        assert!(run.state().metrics(Phase::Predict).iter().next().is_none());
    });
}

#[test]
fn the_data_of_a_dev_run_may_be_of_any_kind() {
    let mut unit = unit(Precision::F32);
    let mut run = Run::new(&mut unit);
    let data: Box<dyn regimen::data::DynData<Batch>> = Box::new(loader(26));
    let report = FastDevRun::batches(2).fit(&mut run, &data, &loader(9)).unwrap();
    assert_eq!((report.train.steps, report.train.updates, report.eval.steps), (2, 1, 2));
    assert_eq!(data.batches(), Some(7));
    let error = FastDevRun::batches(0).train(&mut run, &data).unwrap_err();
    assert_eq!(error.to_string(), "`FastDevRun`: 0 batches show nothing; give 1 or more");
}
