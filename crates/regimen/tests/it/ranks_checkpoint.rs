//! Runs of several ranks are saved and restored as those of one process. The pauses anywhere are in the resume matrix.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use regimen::auto_unit::StepResults;
use regimen::callback::{Event, Every};
use regimen::checkpoint::{Checkpointer, Checkpoints, LoadedCheckpoint, SimDisk, Store};
use regimen::data::{Data, Loader};
use regimen::engine::{Engine, Part};
use regimen::folder::RunFolder;
use regimen::metric::Key;
use regimen::peers::Peers;
use regimen::run::{Evaluate, Report, Restored, Train, Which};
use regimen::saved::{AppState, Parts, save_parts_of_ranks};
use regimen::state::PauseHandle;
use regimen::{AutoUnit, BoxError, Fit, Loss, Run, State, Step, Task};
use regimen_test::peers::{Threads, on_ranks};
use regimen_test::toy::{ToyArray, ToyCentre, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};

use crate::left::Left;

/// No call waits as long on any machine that passes.
const PATIENCE: Duration = Duration::from_secs(600);
const FEATURES: usize = 3;
/// Rows of training, in batches of 10, 10, 10, 10 and 6.
const ROWS: usize = 46;
/// Rows of evaluation, in batches of 10 and 5.
const EVAL_ROWS: usize = 15;
/// Steps of training and of evaluation after steps 4, 5, 8 and 10.
const CALLS: u64 = 10 + 4 * 2;
/// The folder on disks in memory.
const DISK: &str = "/run";
const ROW_SUM: Key = Key::sum("eval/row_sum");

type Batch = (ToyArray, ToyArray);
type Unit = AutoUnit<ToyEngine<Net>, Regression>;

/// A network with running statistics, which only the evaluation uses.
struct Net {
    centre: ToyCentre,
    mlp: ToyMlp,
}

struct Regression;

impl Task<ToyEngine<Net>> for Regression {
    type Batch = Batch;
    type Output = ();

    fn compute_loss(
        &mut self,
        step: &Step,
        net: &Net,
        (x, y): &Batch,
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        let centred = net.centre.forward(x);
        let loss = net.mlp.forward(if step.is_train() { x } else { &centred }).mean_squared_error(y);
        Ok((Loss::mean(loss, step.samples as f64), ()))
    }

    fn on_eval_step_end(
        &mut self,
        state: &mut State,
        (x, _): &Batch,
        _: StepResults<()>,
    ) -> Result<(), BoxError> {
        state.log(ROW_SUM, x.values().iter().step_by(FEATURES).sum(), 1.0);
        Ok(())
    }
}

fn loader(count: usize) -> Loader<Batch> {
    let row = |row: usize| {
        let at = row as f64;
        ([at, (1.7 * at).sin(), (0.3 * at * at).cos()], (0.2 * at).sin())
    };
    let batch = |rows: Vec<([f64; FEATURES], f64)>| {
        let x: Vec<f64> = rows.iter().flat_map(|row| row.0).collect();
        let y: Vec<f64> = rows.iter().map(|row| row.1).collect();
        Ok((ToyArray::new(&[y.len(), FEATURES], &x), ToyArray::new(&[y.len(), 1], &y)))
    };
    Loader::collate((0..count).map(row).collect::<Vec<_>>(), batch).batch_size(10).shuffle()
}

/// Each rank draws other weights, and rank 0 those of a lone process.
fn unit(rank: u64) -> Unit {
    unit_of(rank, 6)
}

fn unit_of(rank: u64, hidden: usize) -> Unit {
    manual_seed(7 + rank);
    let mut vars = ToyVars::new();
    let centre = ToyCentre::new(&mut vars, "centre", FEATURES);
    let mlp = ToyMlp::plain(&mut vars, [FEATURES, hidden, 1]);
    let engine = ToyEngine::new(vars, Net { centre, mlp }, ToyOptimizer::adam_w(0.01));
    AutoUnit::new(engine, Regression).learning_rate(1e-2).clip_norm(0.5).accumulate(3)
}

fn rank_of(peers: &Option<Arc<dyn Peers>>) -> u64 {
    peers.as_ref().map_or(0, |peers| peers.rank().index)
}

/// The folder of a rank. None but rank 0 has a checkpoint in it.
fn folder(dir: &Path, rank: u64) -> PathBuf {
    dir.join(format!("of-{rank}"))
}

fn run_of<'u>(
    peers: Option<Arc<dyn Peers>>,
    unit: &'u mut Unit,
    dir: impl AsRef<Path>,
    change: impl FnOnce(Checkpointer) -> Checkpointer,
) -> Run<'u, Unit> {
    let saver = Checkpointer::new(folder(dir.as_ref(), rank_of(&peers))).every(Every::steps(3));
    let run = Run::new(unit).seed(42).saver(change(saver));
    match peers {
        Some(peers) => run.peers(peers),
        None => run,
    }
}

fn fit(run: &mut Run<'_, Unit>) -> Result<Report, regimen::Error> {
    run.fit(
        &loader(ROWS),
        &loader(EVAL_ROWS),
        Fit::epochs(2).eval_every(Every::steps(4).or(Every::epochs(1))),
    )
}

/// Pauses after so many steps of training and evaluation.
fn pause_after(at: u64, handle: &PauseHandle) -> impl FnMut(&mut State, &mut Unit) + Send + use<> {
    let handle = handle.clone();
    move |state, _| {
        if state.train_progress().steps + state.eval_progress().steps == at {
            handle.pause("told to");
        }
    }
}

/// A run on the disk of each rank.
fn leg(
    peers: Option<Arc<dyn Peers>>,
    stop: Option<u64>,
    disks: &[SimDisk; 4],
) -> Result<Option<Restored>, BoxError> {
    let rank = rank_of(&peers);
    let disk = disks[rank as usize].clone();
    let is_last = peers.as_ref().is_none_or(|peers| rank + 1 == peers.rank().count);
    let mut unit = unit(rank);
    let mut run = run_of(peers, &mut unit, DISK, |saver| saver.store(Arc::new(disk)));
    if let Some(stop) = stop.filter(|_| is_last) {
        let handle = run.pause_handle();
        run = run
            .on(Event::TrainStepEnd, pause_after(stop, &handle))
            .on(Event::EvalStepEnd, pause_after(stop, &handle));
    }
    let restored = run.restore_latest()?;
    fit(&mut run)?;
    Ok(restored)
}

/// Runs `program` on so many ranks, or on 0 ranks without peers.
fn on<R: Send>(
    ranks: u64,
    program: impl Fn(Option<Arc<dyn Peers>>) -> Result<R, BoxError> + Sync,
) -> Vec<Result<R, String>> {
    let told = |result: Result<R, BoxError>| {
        result.map_err(|error| format!("{:#}", regimen::error::WithCauses(&*error)))
    };
    if ranks == 0 {
        return vec![told(program(None))];
    }
    let results = on_ranks(Threads::of(ranks, PATIENCE), |peers| told(program(Some(peers))));
    results.into_iter().map(|result| result.and_then(|result| result)).collect()
}

/// The last checkpoint of a run in parts, each of so many ranks up to a pause.
fn run_in_parts(legs: &[(u64, Option<u64>)]) -> LoadedCheckpoint {
    let disks = <[SimDisk; 4]>::default();
    for (n, &(ranks, stop)) in legs.iter().enumerate() {
        let restored: Vec<_> =
            on(ranks, |peers| leg(peers, stop, &disks)).into_iter().map(Result::unwrap).collect();
        assert!(restored.iter().all(|of_rank| *of_rank == restored[0] && of_rank.is_some() == (n > 0)));
    }
    assert!(disks[1..].iter().all(|disk| disk.operations() == 0), "another rank than 0 has used its disk");
    saved(&disks[0])
}

/// The newest checkpoint of rank 0.
fn saved(disk: &SimDisk) -> LoadedCheckpoint {
    let all = Checkpoints::on(Arc::new(disk.clone()), folder(Path::new(DISK), 0));
    all.load(Which::Latest).unwrap().unwrap()
}

#[track_caller]
fn check_near(found: f64, expected: f64, what: &str) {
    let relative = (found - expected).abs() / expected.abs().max(1e-300);
    assert!(relative <= 1e-13, "{what}: {found} is not {expected}, but off by {relative:e} of it");
}

#[test]
fn running_statistics_go_on_with_another_number_of_ranks() {
    let mean = |legs: &[(u64, Option<u64>)]| -> Vec<f64> {
        run_in_parts(legs).content["module"].array("centre.running_mean").unwrap().to_vec().unwrap()
    };
    let alone = mean(&[(0, None)]);
    for stop in 1..CALLS - 2 {
        let parts = [(4, Some(stop)), (3, Some(stop + 1)), (1, Some(stop + 2)), (2, None)];
        for (found, expected) in mean(&parts).into_iter().zip(&alone) {
            check_near(found, *expected, &format!("4, 3, 1 and 2 ranks from step {stop}"));
        }
    }
}

#[test]
fn no_rank_needs_the_folder_of_the_checkpoints_and_all_have_the_same_restore() {
    let dir = tempfile::tempdir().unwrap();
    let restore = |which: Which<'_>| {
        on(3, |peers| {
            let mut unit = unit(rank_of(&peers));
            let mut run = run_of(peers, &mut unit, dir.path(), |saver| {
                saver.keep_min(1, regimen::auto_unit::EVAL_LOSS)
            });
            Ok(match which {
                Which::Latest => run.restore_latest()?.map(|restored| restored.step),
                which => Some(run.restore(which)?.step),
            })
        })
    };
    assert_eq!(restore(Which::Latest), vec![Ok(None); 3]);
    let path = folder(dir.path(), 0);
    let refused = |what: &str| {
        let error = format!("state failed in train at epoch 0 step 0: rank 0: {what}");
        vec![Err(error); 3]
    };
    let step = refused(&format!("`{}` has no checkpoint of step 4", path.display()));
    assert_eq!(restore(Which::Step(4)), step);
    let best = refused(&format!("no checkpoint in `{}` has a value of `eval/loss`", path.display()));
    assert_eq!(restore(Which::Best), best);
    let trained = on(2, |peers| {
        let mut unit = unit(rank_of(&peers));
        let mut run = run_of(peers, &mut unit, dir.path(), |saver| saver);
        let handle = run.pause_handle();
        run = run.on(Event::EvalStepEnd, pause_after(5, &handle));
        Ok(fit(&mut run)?.train.steps)
    });
    assert_eq!(trained, vec![Ok(4); 2]);
    assert_eq!(restore(Which::Latest), vec![Ok(Some(4)); 3]);
    assert_eq!(restore(Which::Step(3)), vec![Ok(Some(3)); 3]);
    let torn = path.join("step-000000004").join("module.safetensors");
    std::fs::write(&torn, "torn").unwrap();
    let restored = on(3, |peers| {
        let mut unit = unit(rank_of(&peers));
        Ok(run_of(peers, &mut unit, dir.path(), |saver| saver).restore_latest()?)
    });
    let first = restored[0].clone().unwrap().unwrap();
    assert_eq!((first.step, first.skipped.len()), (3, 1));
    assert!(restored.iter().all(|restored| *restored == restored_of(&first)));
}

fn restored_of(restored: &Restored) -> Result<Option<Restored>, String> {
    Ok(Some(restored.clone()))
}

/// The place at which rank 1 fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Data,
    Unit,
    Callback(Event),
    /// The work of a callback before a checkpoint is acknowledged.
    Saver,
}

/// A run of 3 ranks of which rank 1 fails at `place`, once.
fn failing(peers: Option<Arc<dyn Peers>>, place: Place, disks: &[SimDisk; 4]) -> Result<Report, BoxError> {
    let fails = rank_of(&peers) == 1;
    let disk = disks[rank_of(&peers) as usize].clone();
    let mut unit = unit(rank_of(&peers));
    if fails && place == Place::Unit {
        unit = unit.before_update(|_, state| match state.train_progress().steps {
            7 => Err("told to fail".into()),
            _ => Ok(()),
        });
    }
    let mut run = run_of(peers, &mut unit, DISK, |saver| saver.store(Arc::new(disk)));
    if fails {
        run = match place {
            Place::Callback(event) => {
                run.on(event, |state: &mut State, _: &mut Unit| -> Result<(), BoxError> {
                    let steps = state.train_progress().steps;
                    if steps >= 7 || matches!(state.train_progress(), progress if progress.epochs == 1) {
                        return Err("told to fail".into());
                    }
                    Ok(())
                })
            }
            Place::Saver => run.callback(FailsBeforeCommit(0)),
            Place::Data | Place::Unit => run,
        };
    }
    let data = loader(ROWS).map_batches_of(fails && place == Place::Data);
    Ok(run.fit(&data, &loader(EVAL_ROWS), Fit::epochs(2).eval_every(Every::steps(4).or(Every::epochs(1))))?)
}

trait MayFail {
    fn map_batches_of(self, fails: bool) -> impl Data<Batch = Batch>;
}

impl MayFail for Loader<Batch> {
    fn map_batches_of(self, fails: bool) -> impl Data<Batch = Batch> {
        let made = std::sync::atomic::AtomicU64::new(0);
        regimen::data::DataExt::transform_batches(self, "fails", move |batch, _| {
            match made.fetch_add(1, Ordering::Relaxed) {
                7 if fails => Err("told to fail".into()),
                _ => Ok(batch),
            }
        })
    }
}

/// Fails before the second checkpoint is acknowledged.
struct FailsBeforeCommit(u64);

impl regimen::Callback<Unit> for FailsBeforeCommit {
    fn events(&self) -> regimen::callback::Events {
        regimen::callback::Events::NONE
    }

    fn on_event(&mut self, _: Event, _: &mut State, _: &mut Unit) -> Result<(), BoxError> {
        Ok(())
    }

    fn before_commit(&mut self) -> Option<regimen::callback::BeforeCommit> {
        self.0 += 1;
        let fails = self.0 == 2;
        Some(Box::new(move || if fails { Err("told to fail".into()) } else { Ok(()) }))
    }
}

#[test]
fn a_rank_that_fails_ends_all_and_what_was_saved_can_be_gone_on_from() {
    let events = [
        Event::TrainStepStart,
        Event::TrainStepEnd,
        Event::TrainEpochEnd,
        Event::EvalStart,
        Event::EvalStepEnd,
        Event::EvalEpochEnd,
        Event::EvalEnd,
        Event::CycleEnd,
        Event::TrainEnd,
    ];
    let places = [Place::Data, Place::Unit, Place::Saver].into_iter().chain(events.map(Place::Callback));
    let whole = run_in_parts(&[(3, None)]);
    for place in places {
        let disks = <[SimDisk; 4]>::default();
        let errors = on(3, |peers| failing(peers, place, &disks));
        let errors: Vec<String> = errors.into_iter().map(Result::unwrap_err).collect();
        assert!(errors[1].ends_with("told to fail"), "{place:?}: {errors:?}");
        let lost = format!("rank 1 failed: {}", errors[1]);
        assert!(errors[0].contains(&lost) && errors[2].contains(&lost), "{place:?}: {errors:#?}");
        // Saved by the rank that failed, and by rank 0; not if it failed to save.
        let post_mortems = |rank: u64, folder: PathBuf| {
            let disk = Arc::new(disks[rank as usize].clone());
            let listing = Checkpoints::on(disk, folder).list().unwrap();
            (rank, listing.checkpoints.iter().filter(|checkpoint| !checkpoint.manifest().resumable).count())
        };
        let own = usize::from(place != Place::Saver);
        let found = [
            post_mortems(0, "/run/of-0".into()),
            post_mortems(1, "/run/of-1/rank-1".into()),
            post_mortems(2, "/run/of-2/rank-2".into()),
        ];
        assert_eq!(found, [(0, 1), (1, own), (2, 0)], "{place:?}");
        let resumed = on(3, |peers| leg(peers, None, &disks));
        assert!(resumed.iter().all(|restored| restored.as_ref().unwrap().is_some()), "{place:?}");
        let found = saved(&disks[0]);
        assert_eq!(found.checkpoint.manifest().step, whole.checkpoint.manifest().step, "{place:?}");
        assert_eq!(found.content, whole.content, "{place:?}");
    }
}

#[test]
fn a_restore_that_fails_on_one_rank_changes_none() {
    let disks = <[SimDisk; 4]>::default();
    on(3, |peers| leg(peers, Some(7), &disks)).into_iter().for_each(|leg| drop(leg.unwrap()));
    let unchanged = on(3, |peers| {
        let rank = rank_of(&peers);
        let disk = Arc::new(disks[rank as usize].clone());
        let mut unit = if rank == 1 { unit_of(rank, 5) } else { unit(rank) };
        let before = unit.engine().state(Part::Module)?;
        let mut run = run_of(peers.clone(), &mut unit, DISK, |saver| saver.store(disk));
        let error = format!("{:#}", run.restore_latest().map(drop).unwrap_err());
        // All have it, so the next call can be made.
        peers.iter().try_for_each(|peers| peers.gather(&[]).map(drop))?;
        let steps = run.state().train_progress().steps;
        drop(run);
        Ok((error, steps, unit.engine().state(Part::Module)? == before))
    });
    let unchanged: Vec<_> = unchanged.into_iter().map(Result::unwrap).collect();
    assert!(unchanged.iter().all(|(_, steps, is_as_before)| (*steps, *is_as_before) == (0, true)));
    let expected = "state failed in train at epoch 0 step 0: `/run/of-0/step-000000005`: rank 1: part `module`: \
                    `hidden.bias` is F64[6], not F64[5]; `hidden.weight` is F64[3, 6], not F64[3, 5]; \
                    `output.weight` is F64[6, 1], not F64[5, 1]";
    unchanged.iter().for_each(|(error, ..)| assert_eq!(error, expected));
}

#[test]
fn a_rank_that_is_left_goes_on_with_the_run_of_rank_0() {
    let dir = tempfile::tempdir().unwrap();
    let steps = on(2, |peers| {
        let left = Arc::new(Left::new(peers.ok_or("alone")?));
        let rank = left.rank().index;
        let mut unit = unit(rank);
        // Both have the same folder.
        let saver = Checkpointer::new(dir.path());
        let mut run = Run::new(&mut unit).seed(42).peers(left.clone()).saver(saver);
        run.train(&loader(ROWS), Train::steps(3))?;
        if rank == 0 {
            drop(run);
            left.gather(&[])?;
            return Ok(3);
        }
        left.gather(&[])?;
        left.leave();
        run.train(&loader(ROWS), Train::steps(6))?;
        Ok(run.state().train_progress().steps)
    });
    assert_eq!(steps, [Ok(3), Ok(6)]);
    let listing = Checkpoints::in_dir(dir.path()).list().unwrap();
    let steps: Vec<_> = listing.checkpoints.iter().map(|checkpoint| checkpoint.manifest().step).collect();
    assert_eq!(steps, [6, 3]);
    assert_eq!(listing.checkpoints[0].manifest().run, listing.checkpoints[1].manifest().run);
}

#[test]
fn what_differs_between_ranks_is_decided_by_rank_0() {
    const RATE: Key = Key::mean("train/rate");
    let fit_with = |change: fn(Checkpointer) -> Checkpointer| {
        let dir = tempfile::tempdir().unwrap();
        let ended = on(3, |peers| {
            let rank = rank_of(&peers);
            let mut unit = unit(rank);
            let seconds = 1 + 1000 * rank;
            let mut run = run_of(peers, &mut unit, dir.path(), |saver| change(saver).every_seconds(seconds));
            if rank == 0 {
                run = run.on(Event::TrainEpochEnd, |state: &mut State, _: &mut Unit| {
                    state.log(RATE, state.train_progress().steps as f64, 1.0);
                });
            }
            let report = fit(&mut run)?;
            Ok((report.saved.is_some(), report.bests.iter().map(|best| best.value).collect::<Vec<_>>()))
        });
        ended.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    // A metric of rank 0 alone.
    let best = fit_with(|saver| saver.every(Every::steps(4)).keep_min(2, RATE));
    assert_eq!(best, [(true, vec![5.0]), (false, vec![]), (false, vec![])]);
    // A thread of rank 0 alone, which is busy or not.
    let busy = fit_with(|saver| saver.every(Every::steps(1)).skip_while_busy());
    assert_eq!(busy, [(true, vec![]), (false, vec![]), (false, vec![])]);
}

#[test]
fn a_disk_that_fails_on_rank_0_is_told_there_or_ends_all() {
    let train = |disk: &SimDisk, stops: bool, fails: Option<u64>| {
        let notices = Arc::new(Mutex::new(Vec::new()));
        let ended = on(3, |peers| {
            let rank = rank_of(&peers);
            let mut unit = unit(rank);
            let store: Arc<dyn Store> = Arc::new(if rank == 0 { disk.clone() } else { SimDisk::new() });
            let told = notices.clone();
            let mut run = run_of(peers, &mut unit, DISK, |saver| {
                let saver = saver.store(store).in_foreground();
                if stops { saver.stop_on_failure() } else { saver }
            });
            run = run
                .on(Event::Notice, move |state: &mut State, _: &mut Unit| {
                    told.lock().unwrap().extend(state.notices().iter().map(|notice| (rank, notice.clone())));
                })
                .on(Event::TrainStepStart, {
                    let disk = disk.clone();
                    move |state: &mut State, _: &mut Unit| {
                        if let (Some(at), 0) = (fails, rank)
                            && state.train_progress().steps == at
                        {
                            disk.fail_at(disk.operations() + 2, std::io::ErrorKind::StorageFull);
                        }
                    }
                });
            Ok(fit(&mut run)?.train.steps)
        });
        (ended, Arc::into_inner(notices).unwrap().into_inner().unwrap())
    };
    let (ended, told) = train(&SimDisk::new(), false, Some(5));
    assert_eq!(ended, vec![Ok(10); 3]);
    let [(0, told)] = &told[..] else { panic!("{told:?}") };
    assert!(told.starts_with("a checkpoint was not saved: "), "{told}");
    for (stops, at) in [(true, 5), (false, 9)] {
        let (ended, _) = train(&SimDisk::new(), stops, Some(at));
        let errors: Vec<String> = ended.into_iter().map(Result::unwrap_err).collect();
        let lost = format!("rank 0 failed: {}", errors[0]);
        assert!(errors[1].ends_with(&lost) && errors[2].ends_with(&lost), "{errors:#?}");
    }
}

#[test]
fn a_named_pass_goes_on_with_another_number_of_ranks() {
    let value = |legs: &[(u64, Option<u64>)]| {
        let dir = tempfile::tempdir().unwrap();
        let mut values = Vec::new();
        for &(ranks, stop) in legs {
            let of_ranks = on(ranks, |peers| {
                let mut unit = unit(0);
                let mut run = run_of(peers, &mut unit, dir.path(), |saver| saver);
                run.restore_latest()?;
                let handle = run.pause_handle();
                if let Some(stop) = stop {
                    run = run.on(Event::EvalStepEnd, move |state: &mut State, _: &mut Unit| {
                        if state.progress().steps == stop {
                            handle.pause("told to");
                        }
                    });
                }
                let report = run.evaluate(&loader(ROWS), Evaluate::whole().resume("test"))?;
                Ok(report.epochs.iter().flat_map(|epoch| epoch.values.clone()).collect::<Vec<_>>())
            });
            let of_ranks: Vec<_> = of_ranks.into_iter().map(Result::unwrap).collect();
            assert!(of_ranks.iter().all(|values| *values == of_ranks[0]));
            values = of_ranks[0].clone();
        }
        values
    };
    let alone = value(&[(0, None)]);
    assert_eq!(alone.len(), 2);
    for second in [0, 2, 3] {
        let values = value(&[(3, Some(3)), (second, None)]);
        for ((key, found), (_, expected)) in values.iter().zip(&alone) {
            check_near(*found, *expected, &format!("{key} by {second} ranks"));
        }
    }
}

#[test]
fn the_folder_of_a_run_of_several_ranks_has_the_files_of_one_run() {
    let metrics = |stops: &[u64]| {
        let dir = tempfile::tempdir().unwrap();
        for &stop in stops {
            let ended = on(2, |peers| {
                let mut unit = unit(rank_of(&peers));
                let run = Run::new(&mut unit).seed(42).peers(peers.ok_or("alone")?);
                let mut run = RunFolder::new(dir.path()).metrics_every(Every::steps(1)).open(run)?;
                Ok(run.train(&loader(ROWS), Train::steps(stop))?.train.steps)
            });
            assert_eq!(ended, vec![Ok(stop); 2]);
        }
        let lines = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(lines("environment.jsonl").lines().count(), stops.len());
        lines("metrics.jsonl")
    };
    let whole = metrics(&[8]);
    assert!(whole.lines().count() >= 8, "{whole}");
    assert_eq!(metrics(&[3, 7, 8]), whole);
}

/// A unit whose second part has this name.
struct Named(&'static str, u64, u64);

impl AppState for Named {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        parts.part("first", &mut self.1)?;
        parts.part(self.0, &mut self.2)
    }
}

#[test]
fn ranks_with_different_parts_do_not_mix_them_up() {
    let ended = on_ranks(Threads::of(3, PATIENCE), |peers| {
        let name = if peers.rank().index == 2 { "other" } else { "second" };
        save_parts_of_ranks(&mut Named(name, 1, 2), &*peers).map(drop).map_err(|error| error.to_string())
    });
    let text = "rank 2 saves the part `other`, and rank 0 the part `second`; all ranks have the same parts, in one order";
    assert_eq!(ended.into_iter().map(Result::unwrap).collect::<Vec<_>>(), vec![Err(text.to_owned()); 3]);
}
