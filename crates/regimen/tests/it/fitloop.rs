//! `FitLoop`: its stages and their values, the best weights, and stops.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use regimen::auto_unit::{Averaging, EVAL_LOSS};
use regimen::callback::Event;
use regimen::checkpoint::Checkpointer;
use regimen::data::Loader;
use regimen::engine::{Engine as _, Part};
use regimen::fitloop::{DryRun, FitLoop, FitTable, Set, StagesUnit, max, min, record};
use regimen::metric::{Key, argmax};
use regimen::runner::{Runner, term};
use regimen::saved::{StateDict, save_parts};
use regimen::schedule::Phases;
use regimen::{AutoUnit, BoxError, Error, Fit, Loss, Run, State, Step, Task};
use regimen_test::Transcript;
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};

pub(crate) type Engine = ToyEngine<ToyMlp>;
pub(crate) type Labels = Vec<usize>;
pub(crate) type Trainer<'a> = FitLoop<'a, Engine, ToyArray, Labels, ToyArray>;
pub(crate) type Unit = StagesUnit<Engine, ToyArray, Labels, ToyArray>;

pub(crate) fn engine() -> Engine {
    manual_seed(7);
    let mut vars = ToyVars::new();
    let mlp = ToyMlp::regularized(&mut vars, [2, 6, 3], 0.25);
    ToyEngine::new(vars, mlp, ToyOptimizer::adam_w(0.01))
}

pub(crate) fn forward(net: &ToyMlp, x: &ToyArray) -> ToyArray {
    net.forward(x)
}

pub(crate) fn criterion(logits: &ToyArray, labels: &Labels) -> ToyArray {
    logits.cross_entropy(labels)
}

/// The number of rows whose label has the largest logit.
pub(crate) fn right(logits: &ToyArray, labels: &Labels) -> f64 {
    let values = logits.values();
    values.chunks(3).zip(labels).filter(|(row, label)| argmax(row) == Some(**label)).count() as f64
}

pub(crate) fn loader(from: usize, to: usize) -> Loader<(ToyArray, Labels)> {
    let point = |i: usize| {
        let angle = i as f64 * 2.4;
        ([angle.cos(), angle.sin()], (angle / 2.1) as usize % 3)
    };
    let batch = |points: Vec<([f64; 2], usize)>| {
        let (points, labels): (Vec<[f64; 2]>, Labels) = points.into_iter().unzip();
        Ok((ToyArray::new(&[points.len(), 2], points.as_flattened()), labels))
    };
    Loader::collate((from..to).map(point).collect::<Vec<_>>(), batch).batch_size(4)
}

/// Without data.
pub(crate) fn bare<'a>() -> Trainer<'a> {
    FitLoop::new(engine(), forward, criterion).learning_rate(0.02).seed(3)
}

pub(crate) fn trainer<'a>() -> Trainer<'a> {
    bare().train_data(loader(0, 22).shuffle()).valid_data(loader(22, 28)).test_data(loader(28, 34))
}

/// The stages of a classifier.
pub(crate) fn classifier<'a>() -> Trainer<'a> {
    trainer()
        .step(|s| {
            let output = s.output();
            let right = right(&output, &s.batch().1);
            Ok((s.loss(&output)?, record! { running_right: right, mean_logit: output.mean() }))
        })
        .epoch_end(|s| Ok(record! { loss: s.mean("loss")?, accuracy: s.sum("running_right")? / s.size() }))
}

pub(crate) fn module(trainer: &mut Trainer<'_>) -> StateDict {
    trainer.runner().unit().engine().state(Part::Module).unwrap()
}

pub(crate) fn cause(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

#[test]
fn without_stages_it_trains_as_a_runner_to_the_last_bit() {
    let share = |logits: &ToyArray, labels: &Labels| right(logits, labels) / labels.len() as f64;
    let mut runner =
        Runner::new(engine(), forward, criterion).metric("right", share).learning_rate(0.02).seed(3);
    let report = runner.fit(&loader(0, 22).shuffle(), &loader(22, 28), Fit::epochs(3)).unwrap();
    let mut trainer = trainer().metric("right", share);
    trainer.fit(3).unwrap();
    let state = |key| Some(report.metric(key)).flatten().unwrap();
    let expected = [("loss", "eval/loss"), ("right", "eval/right")]
        .map(|(name, key)| (name.to_owned(), state(Key::mean(key))));
    assert_eq!(trainer.record(Set::Valid), expected);
    let mut found = save_parts(trainer.runner().unit_mut()).unwrap();
    found.remove("task");
    assert_eq!(found, save_parts(runner.unit_mut()).unwrap());
}

/// The step by hand.
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

/// Accumulation, clipping, an average and a schedule by phases.
fn settings<T: Task<Engine>>(unit: AutoUnit<Engine, T>) -> AutoUnit<Engine, T> {
    let average = Averaging::ema(0.9);
    let rate = Phases::new(0.05, 3).unwrap().linear(1.0, 0.1, 1.0).unwrap().cosine(2.0, 1.0, 0.01).unwrap();
    unit.accumulate(2).clip_norm(0.5).average(average).learning_rate(rate)
}

#[test]
fn it_trains_as_a_unit_by_hand_to_the_last_bit() {
    let mut by_hand = settings(AutoUnit::new(engine(), Sectors));
    let (train, valid) = (loader(0, 22).shuffle(), loader(22, 28));
    Run::new(&mut by_hand).seed(3).fit(&train, &valid, Fit::epochs(3)).unwrap();
    let expected = save_parts(&mut by_hand).unwrap();
    // By default, with stages, and with the best weights kept aside.
    for trainer in [trainer(), classifier(), classifier().criteria(max("accuracy")).load_best(false)] {
        let mut trainer = trainer.map_unit(settings);
        trainer.fit(1).unwrap();
        trainer.fit(2).unwrap();
        let mut found = save_parts(trainer.runner().unit_mut()).unwrap();
        found.remove("task");
        assert_eq!(found, expected);
    }
}

#[test]
fn the_terms_of_the_loss_are_values_of_the_step() {
    let of_terms = || {
        let criterion = |logits: &ToyArray, labels: &Labels| {
            term("entropy", logits.cross_entropy(labels)) + 0.5 * term("size", logits.mul(logits).mean())
        };
        let trainer: Trainer<'_> = FitLoop::new(engine(), forward, criterion);
        trainer.train_data(loader(0, 8)).valid_data(loader(8, 16))
    };
    let names = |trainer: &Trainer<'_>| {
        trainer.record(Set::Valid).iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let mut default = of_terms();
    default.fit(1).unwrap();
    assert_eq!(names(&default), ["loss", "entropy", "size"]);
    // By hand, from the values of the steps.
    let mut staged = of_terms()
        .step(|s| {
            let output = s.output();
            Ok((s.loss(&output)?, record! {}))
        })
        .epoch_end(|s| Ok(record! { loss: s.mean("entropy")? + 0.5 * s.mean("size")? }));
    staged.fit(1).unwrap();
    let [expected, found] = [&default, &staged].map(|trainer| trainer.record(Set::Valid)[0].1);
    assert!((expected - found).abs() < 1e-12, "{found} is not {expected}");
    let mut taken = of_terms().step(|s| {
        let output = s.output();
        Ok((s.loss(&output)?, record! { size: 1.0 }))
    });
    assert_eq!(
        cause(&taken.fit(1).unwrap_err()),
        "a term of the loss is named `size`; give the value of the step another"
    );
}

#[test]
fn stages_come_in_order_each_for_its_set() {
    let transcript = Transcript::new();
    let [steps, starts, ends] = [(); 3].map(|()| transcript.clone());
    let mut trainer = bare()
        .train_data(loader(0, 8))
        .valid_data(loader(0, 4))
        .test_data(loader(0, 3))
        .step(move |s| {
            steps.write(format!("{}({})", s.set().name(), s.batch_size()));
            let output = s.output();
            Ok((s.loss(&output)?, record! {}))
        })
        .epoch_start(move |s| {
            starts.write(format!("{}_start({})", s.set().name(), s.epoch()));
            Ok(record! {})
        })
        .epoch_end(move |s| {
            ends.write(format!("{}_end({}:{})", s.set().name(), s.epoch(), s.size()));
            Ok(record! {})
        });
    trainer.fit(1).unwrap();
    transcript.assert_reads(
        "train_start(1) train(4) train(4) train_end(1:8) valid_start(1) valid(4) valid_end(1:4)",
    );
    trainer.test().unwrap();
    transcript.assert_reads("test_start(1) test(3) test_end(1:3)");
    trainer.fit(1).unwrap();
    transcript.assert_reads(
        "train_start(2) train(4) train(4) train_end(2:8) valid_start(2) valid(4) valid_end(2:4)",
    );
}

#[test]
fn a_stage_is_of_the_set_that_it_was_given_for() {
    let two = |s: &mut regimen::fitloop::StageStep<'_, Engine, ToyArray, Labels, ToyArray>| {
        let output = s.output();
        Ok((Loss::mean(s.loss(&output)?.mean.scale(2.0), s.batch_size()), record! {}))
    };
    let losses = |trainer: Trainer<'static>| {
        let mut trainer = trainer.learning_rate(0.0);
        trainer.fit(1).unwrap();
        trainer.test().unwrap();
        [Set::Valid, Set::Test].map(|set| trainer.record(set)[0].1)
    };
    let [valid, test] = losses(trainer());
    assert_eq!(losses(trainer().step_on(Set::Test, two)), [valid, 2.0 * test]);
    assert_eq!(
        losses(trainer().step(two).step_on(Set::Valid, |s| {
            let output = s.output();
            Ok((s.loss(&output)?, record! {}))
        })),
        [valid, 2.0 * test]
    );
}

#[test]
fn the_end_of_an_epoch_has_the_values_of_its_steps_and_the_start_those_before() {
    // Of 4 and 2, weighted by the samples, which are as many.
    const MEAN: f64 = 20.0 / 6.0;
    let transcript = Transcript::new();
    let (starts, ends) = (transcript.clone(), transcript.clone());
    let mut trainer = bare()
        .train_data(loader(0, 6))
        .step(|s| {
            let output = s.output();
            let there = ToyArray::new(&[], &[10.0 * s.step().index as f64]);
            Ok((s.loss(&output)?, record! { here: s.batch_size(), there: there }))
        })
        .epoch_start(move |s| {
            starts.write(format!("before:{:?}", s.values("here")?).replace(' ', ""));
            Ok(record! { begun: s.epoch() as f64 })
        })
        .epoch_end(move |s| {
            ends.write(format!("{:?}", s.values("there")?).replace(' ', ""));
            Ok(record! { sum: s.sum("here")?, mean: s.mean("here")?, steps: s.values("loss")?.len() as f64 })
        })
        .map_unit(|unit| unit);
    let report = trainer.fit(2).unwrap();
    transcript.assert_reads("before:[] [0.0,10.0] before:[4.0,2.0] [20.0,30.0]");
    assert_eq!(
        trainer.record(Set::Train),
        [("sum", 6.0), ("mean", MEAN), ("steps", 2.0)].map(|(name, value)| (name.to_owned(), value))
    );
    // The mean is that of the log of the steps.
    let logged =
        [(Key::last("train/mean"), MEAN), (Key::mean("train/here"), MEAN), (Key::last("train/begun"), 2.0)];
    for (key, expected) in logged {
        assert_eq!(report.metric(key), Some(expected));
    }
}

#[test]
fn mistakes_are_errors_that_say_what_to_do() {
    let fit = |trainer: Trainer<'static>| {
        let mut trainer = trainer;
        cause(&trainer.fit(1).unwrap_err())
    };
    assert_eq!(fit(bare()), "`fit`: there is no train data; give it with `train_data`");
    assert_eq!(cause(&bare().test().unwrap_err()), "`test`: there is no test data; give it with `test_data`");
    assert_eq!(
        fit(classifier().epoch_end(|s| Ok(record! { loss: s.sum("running_corr")? }))),
        "no step of this epoch recorded `running_corr`; recorded are `running_right`, `mean_logit`, `loss`"
    );
    let step = |s: &mut regimen::fitloop::StageStep<'_, Engine, ToyArray, Labels, ToyArray>| {
        let output = s.output();
        Ok((s.loss(&output)?, record! { loss: 1.0 }))
    };
    assert_eq!(fit(trainer().step(step)), "a step's `loss` is recorded by itself; give another name");
    assert_eq!(
        fit(trainer().criteria(max("f1"))),
        "best weights: `eval/f1` was not logged in this evaluation; log it, or watch another"
    );
    let failed = |_: &regimen::fitloop::StageEpoch<'_>| {
        let value: Result<f64, regimen::BoxError> = Err("no samples".into());
        Ok(record! { a: 1.0, b: value })
    };
    assert_eq!(fit(trainer().epoch_end(failed)), "`b`: no samples");
}

/// A trainer whose validations have the values `values`, one after another.
pub(crate) fn scored(values: &'static [f64]) -> Trainer<'static> {
    let mut values = values.iter();
    trainer()
        .epoch_end(|s| Ok(record! { loss: s.mean("loss")? }))
        .epoch_end_on(Set::Valid, move |_| Ok(record! { score: *values.next().ok_or("no value is left")? }))
}

/// The weights after each epoch of `scored`.
pub(crate) fn weights_after(epochs: u64) -> StateDict {
    let mut trainer = scored(&[0.0; 9]);
    trainer.fit(epochs).unwrap();
    module(&mut trainer)
}

#[test]
fn a_fit_ends_with_the_weights_of_the_best_validation_and_of_equal_ones_with_the_latest() {
    for (values, criteria, best) in [
        (&[1.0, 3.0, 2.0][..], max("score"), 2),
        (&[3.0, 1.0, 2.0], min("score"), 2),
        (&[3.0, 3.0, 2.0], max("score"), 2),
        (&[2.0, f64::NAN, 1.0], max("score"), 1),
        (&[f64::NAN, f64::NAN, f64::NAN], max("score"), 3),
    ] {
        let mut trainer = scored(values).criteria(criteria);
        let report = trainer.fit(3).unwrap();
        assert_eq!(module(&mut trainer), weights_after(best), "{values:?}");
        assert_eq!(report.bests.first().map(|best| best.epoch), (best < 3).then_some(best));
    }
    let mut kept = scored(&[1.0, 3.0, 2.0]).criteria(max("score")).load_best(false);
    kept.fit(3).unwrap();
    assert_eq!(module(&mut kept), weights_after(3));
    assert!(kept.load_best_weights().unwrap());
    assert_eq!(module(&mut kept), weights_after(2));
}

#[test]
fn a_test_measures_the_weights_that_were_loaded_also_if_there_is_an_average() {
    let folder = tempfile::tempdir().unwrap();
    let new = || {
        let data = bare().train_data(loader(0, 22)).valid_data(loader(22, 28)).test_data(loader(22, 28));
        // The loss falls, so the first is the best.
        data.map_unit(|unit| unit.average(Averaging::ema(0.5))).criteria(max("loss")).folder(folder.path())
    };
    let mut trainer = new();
    let best = trainer.fit(3).unwrap().bests[0].clone();
    let tested = |trainer: &mut Trainer<'_>| trainer.test().unwrap().metric(EVAL_LOSS);
    assert_eq!((best.epoch, tested(&mut trainer)), (1, Some(best.value)));
    trainer.save_model("best").unwrap();
    let mut other = new().load_best(false);
    other.fit(2).unwrap();
    assert_ne!(tested(&mut other), Some(best.value));
    other.load_model("best").unwrap();
    assert_eq!(tested(&mut other), Some(best.value));
}

#[test]
fn without_validation_the_best_does_not_undo_the_training() {
    let mut trainer = bare().train_data(loader(0, 22).shuffle()).criteria(max("score"));
    let before = module(&mut trainer);
    trainer.fit(2).unwrap();
    assert_ne!(module(&mut trainer), before);
    assert_eq!(module(&mut trainer), weights_after(2));
    assert!(!trainer.load_best_weights().unwrap());
}

#[test]
fn a_test_does_not_overwrite_the_best_and_a_fit_that_is_worse_ends_with_it() {
    let mut trainer = scored(&[1.0, 3.0, 2.0, 2.5]).criteria(max("score"));
    trainer.fit(2).unwrap();
    trainer.test().unwrap();
    assert_eq!(trainer.record(Set::Test).len(), 1);
    trainer.fit(2).unwrap();
    assert_eq!(trainer.runner().state().train_progress().epochs, 4);
    assert_eq!(module(&mut trainer), weights_after(2));
}

/// The names of arrays that differ.
pub(crate) fn differing<'d>(found: &'d StateDict, expected: &'d StateDict) -> Vec<&'d str> {
    let all = found.iter().chain(expected.iter()).map(|(name, _)| name);
    let array = |dict: &StateDict, name: &str| dict.contains(name).then(|| dict.array(name).unwrap().clone());
    all.filter(|name| array(found, name) != array(expected, name)).collect()
}

#[test]
fn a_fit_that_was_stopped_anywhere_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let new = || classifier().criteria(min("loss"));
    let state = |trainer: &mut Trainer<'_>| {
        let runner = trainer.runner();
        (runner.run().run_state().unwrap(), save_parts(runner.unit_mut()).unwrap())
    };
    let mut whole = new();
    let expected = whole.fit(3).unwrap();
    let expected = (
        state(&mut whole),
        [Set::Train, Set::Valid].map(|set| whole.record(set).to_vec()),
        expected.metric(EVAL_LOSS),
    );
    for stop in 1..=18 {
        let saved = || new().saver(Checkpointer::new(folder.path().join(stop.to_string())));
        let pause = move |state: &mut State, _: &mut Unit| {
            if state.train_progress().steps == stop {
                state.pause("stop");
            }
        };
        let mut first = saved().on(Event::TrainStepEnd, pause);
        assert_eq!(first.fit(3).unwrap().train.steps, stop);
        let paused = module(&mut first);
        drop(first);
        let mut second = saved();
        second.restore_latest().unwrap().unwrap();
        // Not the best ones.
        assert_eq!(module(&mut second), paused);
        // It goes on to the end of the first call, with any number.
        let report = second.fit(7).unwrap();
        assert_eq!(report.train.epochs, 3);
        let records = [Set::Train, Set::Valid].map(|set| second.record(set).to_vec());
        let found = (state(&mut second), records, report.metric(EVAL_LOSS));
        assert_eq!(differing(&found.0.0, &expected.0.0), [""; 0], "run, stopped after step {stop}");
        for (part, dict) in &found.0.1 {
            assert_eq!(differing(dict, &expected.0.1[part]), [""; 0], "{part}, stopped after step {stop}");
        }
        assert_eq!((found.1, found.2), (expected.1.clone(), expected.2), "stopped after step {stop}");
    }
}

#[test]
fn a_sanity_check_runs_every_stage_and_changes_nothing() {
    let printed = Printed::default();
    let new = |printed: &Printed| classifier().criteria(max("accuracy")).callback(table(printed));
    let mut trainer = new(&printed);
    trainer.fit(1).unwrap();
    printed.take();
    let state = |trainer: &mut Trainer<'_>| {
        let records = Set::ALL.map(|set| trainer.record(set).to_vec());
        (
            trainer.runner().run().run_state().unwrap(),
            save_parts(trainer.runner().unit_mut()).unwrap(),
            records,
        )
    };
    let before = state(&mut trainer);
    let check = trainer.sanity_check(DryRun::epochs(2).steps(3)).unwrap();
    let (fit, test) = (check.train, check.test.unwrap());
    assert_eq!((fit.train.steps, fit.eval.steps, test.eval.steps), (6, 4, 2));
    assert_eq!(state(&mut trainer), before);
    assert_eq!(printed.take(), "");
    trainer.fit(1).unwrap();
    let mut other = new(&printed);
    other.fit(1).unwrap();
    other.fit(1).unwrap();
    assert_eq!(state(&mut trainer), state(&mut other));
    // One that fails too.
    let mut failing = trainer_that_fails_in_its_test();
    let before = state(&mut failing);
    assert_eq!(cause(&failing.sanity_check(DryRun::epochs(1).steps(1)).unwrap_err()), "no test today");
    assert_eq!(state(&mut failing), before);
}

fn trainer_that_fails_in_its_test() -> Trainer<'static> {
    classifier().epoch_end_on(Set::Test, |_| Err("no test today".into()))
}

/// What was printed.
#[derive(Clone, Default)]
pub(crate) struct Printed(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Printed {
    pub(crate) fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }

    #[track_caller]
    pub(crate) fn assert_reads(&self, expected: &str) {
        assert_eq!(self.take(), expected);
    }
}

/// Prints to `printed`, by a clock that is 1.5 seconds later at each look.
pub(crate) fn table(printed: &Printed) -> FitTable {
    let mut looks = 0;
    FitTable::to(printed.clone()).clock(move || {
        looks += 1;
        Duration::from_millis(1_500 * looks)
    })
}

#[test]
fn a_table_has_a_block_per_epoch_and_a_summary() {
    let printed = Printed::default();
    let mut trainer = bare()
        .train_data(loader(0, 8))
        .valid_data(loader(0, 4))
        .test_data(loader(0, 3))
        .epoch_end(|s| Ok(record! { size: s.size(), half: s.epoch() as f64 / 2.0 }))
        .criteria(max("half"))
        .callback(table(&printed));
    trainer.fit(2).unwrap();
    printed.assert_reads(
        "[1/2] - train :: size: 8.0000 | half: 0.5000\n        \
         valid :: size: 4.0000 | half: 0.5000\n        \
         epoch time: 04 s 500 ms\n\n\
         [2/2] - train :: size: 8.0000 | half: 1.0000\n        \
         valid :: size: 4.0000 | half: 1.0000\n        \
         epoch time: 04 s 500 ms\n\n\
         -----\ntotal time: 13 s 500 ms\nbest score: 1.0000\n",
    );
    trainer.test().unwrap();
    printed.assert_reads("test :: size: 3.0000 | half: 0.5000\n\n-----\ntotal time: 03 s 000 ms\n");
}

#[test]
fn a_table_can_leave_out_epochs_and_values_and_is_aligned_for_more_than_nine_epochs() {
    let fit = |change: fn(FitTable) -> FitTable| {
        let printed = Printed::default();
        let mut trainer = bare()
            .train_data(loader(0, 4))
            .epoch_end(|s| Ok(record! { size: s.size(), epoch: s.epoch() as f64 }))
            .callback(change(table(&printed).clock(|| Duration::ZERO)));
        trainer.fit(10).unwrap();
        printed
    };
    let time = "00 s 000 ms";
    let blocks = |epochs: &[u64]| {
        let block = |n| {
            format!("{:>7} - train :: epoch: {n}.0000\n          epoch time: {time}\n\n", format!("[{n}/10]"))
        };
        epochs.iter().map(block).collect::<String>() + &format!("-------\ntotal time: {time}\n")
    };
    fit(|table| table.only(["epoch", "f1"]).every(3)).assert_reads(&blocks(&[1, 3, 6, 9]));
    fit(|table| table.only(["epoch"]).every(0)).assert_reads(&blocks(&[]));
}
