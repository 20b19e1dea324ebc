//! Metrics of an epoch are those of all ranks, through every door.

use std::sync::Arc;

use regimen::callback::{Event, Every};
use regimen::data::{Loader, Rank};
use regimen::fitloop::{FitLoop, Set, max, record};
use regimen::log::{MemoryLog, MetricLog};
use regimen::metric::{Accuracy, ConfusionMatrix, Key, Measure, Media};
use regimen::peers::Peers;
use regimen::run::{Evaluate, Train};
use regimen::runner::{Runner, SupervisedUnit};
use regimen::saved::{StateDict, Stateful};
use regimen::unit::EvalUnit;
use regimen::{BoxError, Run, State, Task};
use regimen_test::peers::{Threads, on_ranks};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};

use crate::fitloop::right;
use crate::ranks_agree::PATIENCE;

type Labels = Vec<usize>;
type Engine = ToyEngine<ToyMlp>;
type Unit = SupervisedUnit<Engine, ToyArray, Labels, ToyArray>;

fn engine() -> Engine {
    manual_seed(7);
    let mut vars = ToyVars::new();
    let mlp = ToyMlp::plain(&mut vars, [2, 6, 3]);
    ToyEngine::new(vars, mlp, ToyOptimizer::adam_w(0.01))
}

/// Points in batches of 10. The last one of 36 is short, and no rank of 4 has as many of it as another.
fn loader(from: usize, to: usize) -> Loader<(ToyArray, Labels)> {
    let point = |i: usize| {
        let angle = i as f64 * 2.4;
        ([angle.cos(), angle.sin()], (angle / 2.1) as usize % 3)
    };
    let batch = |points: Vec<([f64; 2], usize)>| {
        let (points, labels): (Vec<[f64; 2]>, Labels) = points.into_iter().unzip();
        Ok((ToyArray::new(&[points.len(), 2], points.as_flattened()), labels))
    };
    Loader::collate((from..to).map(point).collect::<Vec<_>>(), batch).batch_size(10)
}

/// The results of `program` on every rank of 1 to 4, and that of one process without peers before them.
fn on_each<R: Send>(program: impl Fn(Option<Arc<dyn Peers>>) -> Result<R, BoxError> + Sync) -> (R, Vec<R>) {
    let alone = program(None).unwrap();
    let ranks = (1..=4).flat_map(|ranks| {
        let results = on_ranks(Threads::of(ranks, PATIENCE), |peers| {
            program(Some(peers)).map_err(|error| format!("{error:?}"))
        });
        results.into_iter().map(|result| result.and_then(|result| result).unwrap())
    });
    (alone, ranks.collect())
}

#[track_caller]
fn check_near(found: &[(String, f64)], expected: &[(String, f64)]) {
    assert_eq!(found.len(), expected.len(), "{found:?} {expected:?}");
    for ((name, found), (expected_name, expected)) in found.iter().zip(expected) {
        assert_eq!(name, expected_name);
        assert!((found - expected).abs() <= 1e-15 * expected.abs().max(1.0), "{name}: {found} {expected}");
    }
}

fn runner(peers: Option<Arc<dyn Peers>>) -> Runner<'static, Unit> {
    let share = |logits: &ToyArray, labels: &Labels| right(logits, labels) / labels.len() as f64;
    let runner = Runner::new(
        engine(),
        |net, x: &ToyArray| net.forward(x),
        |logits, labels: &Labels| logits.cross_entropy(labels),
    )
    .metric("right", share)
    .epoch_metric(
        "median",
        |logits, _| Ok(logits.values()),
        |logits| {
            let mut logits = logits.to_vec();
            logits.sort_by(f64::total_cmp);
            Ok(logits[logits.len() / 2])
        },
    )
    .confusion_matrix(ConfusionMatrix::new(3).unwrap(), |matrix, logits, labels| {
        matrix.update_logits(&logits.values(), labels)
    })
    .measure("accuracy", Accuracy::new(), |accuracy, logits, labels| {
        accuracy.update_logits(&logits.values(), labels)
    });
    match peers {
        Some(peers) => runner.peers(peers),
        None => runner,
    }
}

/// Keeps the pictures that are logged at the end of epochs.
fn with_pictures<'a>(
    runner: Runner<'a, Unit>,
    event: Event,
    pictures: &'a std::sync::Mutex<Vec<Media>>,
) -> Runner<'a, Unit> {
    runner.on(event, |state: &mut State, _: &mut Unit| {
        pictures.lock().unwrap().extend(state.media().iter().map(|(_, media)| media.clone()));
    })
}

#[test]
fn an_evaluation_with_uneven_shares_is_that_of_one_process() {
    let (alone, ranks) = on_each(|peers| {
        let rank = peers.as_ref().map_or(0, |peers| peers.rank().index);
        let pictures = std::sync::Mutex::new(Vec::new());
        let mut runner = with_pictures(runner(peers), Event::EvalEpochEnd, &pictures);
        let report = runner.evaluate(&loader(0, 36), Evaluate::whole())?;
        drop(runner);
        let values = report.epochs[0].values.iter().map(|(key, value)| (key.to_string(), *value));
        Ok((rank, values.collect::<Vec<_>>(), pictures.into_inner()?))
    });
    assert_eq!(
        alone.1.iter().map(|(name, _)| &**name).collect::<Vec<_>>(),
        ["eval/loss", "eval/right", "eval/median", "eval/accuracy"]
    );
    assert_eq!(alone.2.len(), 1);
    for (rank, values, pictures) in ranks {
        check_near(&values, &alone.1);
        // The picture is that of all ranks, and of no other number of samples.
        let expected: &[Media] = if rank == 0 { &alone.2 } else { &[] };
        assert_eq!(format!("{pictures:?}"), format!("{expected:?}"));
    }
}

fn state<'r>(runner: &'r mut Runner<'_, Unit>) -> &'r mut dyn Stateful {
    Task::<Engine>::stateful(runner.unit_mut().task_mut()).unwrap()
}

/// Evaluates, and pauses after two steps of the first call.
fn paused_evaluation(peers: Option<Arc<dyn Peers>>) -> Runner<'static, Unit> {
    let mut runner = runner(peers).on(Event::EvalStepEnd, |state: &mut State, _: &mut Unit| {
        if state.eval_progress().steps == 2 {
            state.pause("after two steps");
        }
    });
    runner.evaluate(&loader(0, 36), Evaluate::whole().resume("test")).unwrap();
    runner
}

#[test]
fn an_evaluation_that_was_paused_has_the_numbers_of_all_steps_and_ranks() {
    let (alone, ranks) = on_each(|peers| {
        let report = paused_evaluation(peers).evaluate(&loader(0, 36), Evaluate::whole().resume("test"))?;
        let values = report.epochs[0].values.iter().map(|(key, value)| (key.to_string(), *value));
        Ok(values.collect::<Vec<_>>())
    });
    assert_eq!(alone.len(), 4);
    ranks.iter().for_each(|found| check_near(found, &alone));
}

#[test]
fn the_numbers_of_an_epoch_under_way_go_on_on_the_first_of_another_number_of_ranks() {
    let saved = on_ranks(Threads::of(3, PATIENCE), |peers| {
        state(&mut paused_evaluation(Some(peers))).state_dict().unwrap()
    });
    let saved: Vec<StateDict> = saved.into_iter().map(Result::unwrap).collect();
    let alone = state(&mut paused_evaluation(None)).state_dict().unwrap();
    for count in [1, 2, 4] {
        for index in 0..count {
            let mut runner = runner(None);
            let task = state(&mut runner);
            let own = task.share(&saved, Rank { index, count }).unwrap();
            assert!(own.iter().all(|(name, _)| task.is_of_rank(name)));
            task.load_state_dict(&own).unwrap();
            assert_eq!(own.get::<u64>("by_hand.steps").unwrap(), 2);
            let counts =
                |state: &StateDict| state.array("by_hand.kept.confusion_matrix.counts")?.to_vec::<u64>();
            let kept = |state: &StateDict| {
                let mut kept = state.array("by_hand.kept.median.values")?.to_vec::<f64>()?;
                kept.sort_by(f64::total_cmp);
                Ok::<_, BoxError>(kept)
            };
            match index {
                0 => {
                    assert_eq!(counts(&own).unwrap(), counts(&alone).unwrap());
                    assert_eq!(kept(&own).unwrap(), kept(&alone).unwrap());
                }
                _ => {
                    assert_eq!(counts(&own).unwrap(), [0; 12]);
                    assert!(kept(&own).unwrap().is_empty());
                }
            }
        }
    }
}

/// A unit that counts by hand.
struct Counts {
    accuracy: Accuracy,
    matrix: ConfusionMatrix,
}

const ACCURACY: Key = Key::mean("eval/accuracy");

impl EvalUnit for Counts {
    type Batch = (ToyArray, Labels);

    fn eval_step(&mut self, _: &mut State, (x, labels): (ToyArray, Labels)) -> Result<(), BoxError> {
        // The first class if the first number is negative, else the second.
        let classes: Vec<usize> = x.values().chunks(2).map(|x| usize::from(x[0] >= 0.0)).collect();
        self.accuracy.update((&classes, &labels))?;
        self.matrix.update((&classes, &labels))
    }

    fn on_eval_epoch_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.accuracy.clone().log(ACCURACY, state)?;
        self.accuracy.merge_ranks(state)?;
        self.matrix.merge_ranks(state)
    }
}

#[test]
fn counts_are_summed_over_ranks() {
    let (alone, ranks) = on_each(|peers| {
        let mut unit = Counts { accuracy: Accuracy::new(), matrix: ConfusionMatrix::new(3)? };
        let mut run = Run::new(&mut unit);
        if let Some(peers) = peers {
            run = run.peers(peers);
        }
        let value = run.evaluate(&loader(0, 36), Evaluate::whole())?.metric(ACCURACY);
        drop(run);
        Ok((vec![("accuracy".to_owned(), value.ok_or("no accuracy")?)], unit.accuracy, unit.matrix))
    });
    assert_eq!((alone.1.total(), alone.2.total()), (36, 36));
    assert!(0 < alone.1.correct() && alone.1.correct() < 36);
    for (value, accuracy, matrix) in ranks {
        assert_eq!((value, accuracy, &matrix), (alone.0.clone(), alone.1, &alone.2));
    }
}

#[test]
fn a_log_has_the_values_of_all_ranks_over_epochs_and_those_of_the_first_at_steps() {
    let train = |peers: Option<Arc<dyn Peers>>| {
        let log = MemoryLog::new();
        let every = Every::steps(1).or(Every::epochs(1));
        let mut runner = runner(peers).callback(MetricLog::to(log.clone()).every(every));
        runner.train(&loader(0, 36), Train::epochs(2))?;
        let steps = log.step_values("train/right");
        let named = |(step, value): (u64, f64)| (step.to_string(), value);
        Ok((log.values("train/right").into_iter().map(named).collect::<Vec<_>>(), steps))
    };
    let (alone, ranks) = on_each(train);
    assert_eq!((alone.0.len(), alone.1.len()), (2, 8));
    // Those of 1, 2, 3 and 4 ranks, of which the first alone writes.
    for (n, (epochs, steps)) in ranks.into_iter().enumerate() {
        if [0, 1, 3, 6].contains(&n) {
            check_near(&epochs, &alone.0);
            assert_eq!(steps.len(), 8);
        } else {
            assert_eq!((epochs, steps), (vec![], vec![]));
        }
    }
}

type Trainer<'a> = FitLoop<'a, Engine, ToyArray, Labels, ToyArray>;

fn trainer<'a>(peers: Option<Arc<dyn Peers>>) -> Trainer<'a> {
    let share = |logits: &ToyArray, labels: &Labels| right(logits, labels) / labels.len() as f64;
    let trainer = FitLoop::new(
        engine(),
        |net: &ToyMlp, x: &ToyArray| net.forward(x),
        |logits: &ToyArray, labels: &Labels| logits.cross_entropy(labels),
    )
    .metric("right", share)
    .train_data(loader(0, 36))
    .valid_data(loader(36, 62))
    .test_data(loader(62, 78));
    match peers {
        Some(peers) => trainer.peers(peers),
        None => trainer,
    }
}

fn records(trainer: &Trainer<'_>) -> Vec<(String, f64)> {
    Set::ALL.iter().flat_map(|&set| trainer.record(set).to_vec()).collect()
}

#[test]
fn the_records_of_a_fit_loop_are_those_of_all_ranks() {
    for stages in [false, true] {
        let (alone, ranks) = on_each(|peers| {
            let mut trainer = trainer(peers);
            if stages {
                trainer = trainer
                    .step(|s| {
                        let output = s.output();
                        let right = right(&output, &s.batch().1);
                        Ok((s.loss(&output)?, record! { running_right: right }))
                    })
                    .epoch_start(|s| Ok(record! { before: if s.epoch() == 1 { 0.0 } else { s.size() } }))
                    .epoch_end(|s| {
                        let right = s.sum("running_right")? / s.size();
                        Ok(record! { loss: s.mean("loss")?, right: right, size: s.size() })
                    });
            }
            let mut trainer = trainer.criteria(max("right"));
            trainer.fit(3)?;
            let mut values = records(&trainer);
            trainer.test()?;
            values.extend(records(&trainer));
            let of_run = |set: Set| trainer.history().of(set)[0].epoch_end("right").unwrap().to_vec();
            for set in [Set::Train, Set::Valid] {
                values.extend(of_run(set).into_iter().map(|value| ("history".to_owned(), value)));
            }
            if stages {
                let before = trainer.history().of(Set::Train)[0].epoch_start("before").unwrap();
                values.extend(before.iter().map(|&value| ("before".to_owned(), value)));
            }
            Ok(values)
        });
        assert_eq!(alone.len(), if stages { 6 + 9 + 6 + 3 } else { 4 + 6 + 6 });
        ranks.iter().for_each(|found| check_near(found, &alone));
    }
}

#[test]
fn a_fit_loop_saves_models_on_the_first_rank_and_refuses_states() {
    let folder = tempfile::tempdir().unwrap();
    let found = on_ranks(Threads::of(3, PATIENCE), |peers| {
        let mut trainer = trainer(Some(peers)).folder(folder.path());
        trainer.fit(1)?;
        let path = trainer.save_model("first")?;
        trainer.load_model("first")?;
        let taken = trainer.save_model("first").unwrap_err().to_string();
        let state = [trainer.save("state").unwrap_err(), trainer.load("state").unwrap_err()];
        trainer.fit(1)?;
        trainer.delete("first")?;
        let unknown = trainer.delete("first").unwrap_err().to_string();
        Ok::<_, regimen::Error>((path, taken, state.map(|error| error.to_string()), unknown))
    });
    let shown = folder.path().display();
    let taken =
        format!("there is a `first` in `{shown}` already; give another name, or set `overwrite(true)`");
    let unknown = format!("there is no `first` in `{shown}`, and no other");
    for (rank, found) in found.into_iter().enumerate() {
        let (path, own_taken, state, own_unknown) = found.unwrap().unwrap();
        let failed = if rank == 0 { "" } else { "rank 0 failed: " };
        assert_eq!(path, folder.path().join("first.safetensors"));
        assert_eq!(own_taken, format!("`save_model`: {failed}{taken}"));
        assert_eq!(own_unknown, format!("`delete`: {failed}{unknown}"));
        let text = "the state is that of several ranks; save and restore it by a `saver`";
        assert_eq!(state, [format!("`save`: {text}"), format!("`load`: {text}")]);
    }
}

#[test]
fn a_dry_run_is_one_of_all_ranks() {
    let (alone, ranks) = on_each(|peers| {
        let mut trainer = trainer(peers);
        let checked = trainer.sanity_check(regimen::fitloop::DryRun::epochs(1))?;
        let epochs = checked.train.epochs.iter().chain(checked.test.iter().flat_map(|test| &test.epochs));
        let values = epochs.flat_map(|epoch| epoch.values.clone());
        Ok(values.map(|(key, value)| (key.to_string(), value)).collect::<Vec<_>>())
    });
    assert_eq!(alone.len(), 6);
    ranks.iter().for_each(|found| check_near(found, &alone));
}
