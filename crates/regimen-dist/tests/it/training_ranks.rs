//! Training on several ranks under a real MPI: its numbers, its restarts and its ends.
#![allow(clippy::print_stdout, reason = "a rank tells the test its end")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::{env, fs};

use regimen::auto_unit::{NonFinite, StepResults};
use regimen::callback::{Event, Every};
use regimen::checkpoint::Checkpointer;
use regimen::data::{Data, Loader};
use regimen::engine::Bucket;
use regimen::metric::Key;
use regimen::peers::Peers;
use regimen::random::Random;
use regimen::run::{Ended, Report};
use regimen::signal::Signals;
use regimen::{AutoUnit, BoxError, Fit, Loss, Run, State, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::on_ranks::{self, on_ranks};

/// Steps of the runs that are paused, killed and hung: two epochs of 10.
const STEPS: u64 = 20;
/// Features of a row, and rows. The last batch of 10 has 6.
const INPUTS: usize = 4;
const ROWS: usize = 96;

type Batch = (ToyArray, ToyArray);
type TestResult = Result<(), BoxError>;

/// A run, as its ranks read it from the environment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Training {
    accumulate: u64,
    epochs: u64,
    steps: Option<u64>,
    /// The folder of checkpoints, one every 5 steps.
    out: Option<PathBuf>,
    /// Microseconds of sleep per step.
    pace: u64,
    /// A name, a rank, and its step from 1.
    trouble: Option<(String, u64, u64)>,
    skip: bool,
    /// A signal that a rank sends to itself after so many microseconds.
    signal: Option<(String, u64, u64)>,
    /// The file of the [record](Trained).
    record: PathBuf,
}

/// The record of a run, by rank 0.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Trained {
    losses: Vec<f64>,
    values: Vec<(String, f64)>,
    end: String,
}

const VARIABLE: &str = "REGIMEN_TEST_TRAINING";

impl Training {
    /// Runs it alone if `ranks` is 0. Returns `None` in the ranks, and without a launcher.
    fn run(&self, ranks: usize) -> Option<Trained> {
        if ranks > 0 {
            self.end(ranks)?.well();
        } else {
            (env::var_os(on_ranks::IS_RANK).is_none() && env::var_os(on_ranks::LAUNCHER).is_some())
                .then_some(())?;
            train(self, None).unwrap();
        }
        Some(serde_json::from_slice(&fs::read(&self.record).unwrap()).unwrap())
    }

    /// The same for a run that may fail.
    fn end(&self, ranks: usize) -> Option<on_ranks::Ended> {
        let text = serde_json::to_string(self).unwrap();
        on_ranks(ranks, &[(VARIABLE, &text), ("REGIMEN_PATIENCE", "60")], as_rank)
    }
}

/// The program of a rank.
fn as_rank() {
    let training: Training = serde_json::from_str(&env::var(VARIABLE).unwrap()).unwrap();
    let peers = regimen_dist::init().unwrap();
    let rank = peers.rank().index;
    if let Some((signal, of, after)) = training.signal.clone()
        && of == rank
    {
        if signal == "-STOP" {
            peers.set_patience(Duration::from_secs(2));
        }
        thread::spawn(move || {
            thread::sleep(Duration::from_micros(after));
            Command::new("kill").args([&signal, &process::id().to_string()]).status()
        });
    } else if training.signal.as_ref().is_some_and(|(signal, ..)| signal == "-STOP") {
        peers.set_patience(Duration::from_secs(2));
    }
    if let Err(error) = train(&training, Some(peers)) {
        println!("\nrank {rank} ends with: {error:#}");
        panic!("the run has failed");
    }
}

fn train(training: &Training, peers: Option<Arc<dyn Peers>>) -> TestResult {
    let rank = peers.as_ref().map_or(0, |peers| peers.rank().index);
    // Every rank draws other weights, and trains with those of rank 0.
    manual_seed(7 + rank);
    let mut vars = ToyVars::new();
    let module = ToyMlp::plain(&mut vars, [INPUTS, 16, 1]);
    let engine = ToyEngine::new(vars, module, ToyOptimizer::adam_w(0.01));
    let own = training.trouble.clone().filter(|(_, of, _)| *of == rank).map(|(name, _, step)| (name, step));
    let task = Regression { peers: peers.clone(), trouble: own.clone(), losses: Vec::new() };
    let mut unit =
        AutoUnit::new(engine, task).learning_rate(1e-2).clip_norm(0.5).accumulate(training.accumulate);
    if training.skip {
        unit = unit.non_finite(NonFinite::Skip);
    }

    let mut run = Run::new(&mut unit).seed(42);
    if let Some(peers) = peers {
        run = run.peers(peers);
    }
    let handle = run.pause_handle();
    let pace = Duration::from_micros(training.pace);
    run = run.on(Event::TrainStepEnd, move |state: &mut State, _: &mut _| -> TestResult {
        thread::sleep(pace);
        match &own {
            Some((name, step)) if *step == state.train_progress().steps => match &**name {
                "pause" => handle.pause("asked for on one rank"),
                "finish" => state.finish("decided on one rank"),
                "term" => {
                    Command::new("kill").arg(process::id().to_string()).status()?;
                    while !handle.is_asked() {
                        thread::yield_now();
                    }
                }
                "callback" => return Err("this rank cannot go on".into()),
                "panic" => panic!("this rank cannot go on"),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    });
    if let Some(out) = &training.out {
        run = run.saver(Checkpointer::new(out).every(Every::steps(5)));
        run.restore_latest()?;
    }
    let _signals = Signals::pause(&run.pause_handle())?;
    let mut config = Fit::epochs(training.epochs);
    if let Some(steps) = training.steps {
        config = config.max_steps(steps);
    }
    let report = run.fit(&loader(1, true), &loader(2, false), config)?;
    drop(run);
    if rank == 0 {
        let trained = Trained {
            losses: unit.task().losses.clone(),
            values: values(&report),
            end: format!("{} {}", report.train.steps, end(&report.ended)),
        };
        fs::write(&training.record, serde_json::to_vec(&trained)?)?;
    }
    Ok(())
}

fn values(report: &Report) -> Vec<(String, f64)> {
    let values = report.epochs.iter().flat_map(|epoch| &epoch.values);
    values.map(|(key, value)| (key.to_string(), *value)).collect()
}

fn end(ended: &Ended) -> String {
    match ended {
        Ended::Complete => "complete".to_owned(),
        Ended::Finished(reason) => format!("finished: {reason}"),
        Ended::Paused(reason) => format!("paused: {reason}"),
        other => format!("{other:?}"),
    }
}

struct Regression {
    peers: Option<Arc<dyn Peers>>,
    trouble: Option<(String, u64)>,
    /// Those of the whole batches.
    losses: Vec<f64>,
}

impl Task<ToyEngine<ToyMlp>> for Regression {
    type Batch = Batch;
    type Output = ();

    fn compute_loss(
        &mut self,
        step: &Step,
        module: &ToyMlp,
        (x, y): &Batch,
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        let loss = module.forward(x).mean_squared_error(y);
        let loss = match &self.trouble {
            Some((name, at)) if step.is_train() && step.index + 1 == *at => match &**name {
                "nan" => loss.scale(f64::NAN),
                "unit" => return Err("this rank cannot compute".into()),
                _ => loss,
            },
            _ => loss,
        };
        Ok((Loss::mean(loss, x.shape()[0] as f64), ()))
    }

    fn on_train_step_end(&mut self, state: &mut State, _: &Batch, results: StepResults<()>) -> TestResult {
        state.log(Key::sum("train/samples"), results.weight, 1.0);
        let mut both = [results.loss()? * results.weight, results.weight];
        if let Some(peers) = &self.peers {
            peers.sum(Bucket::F64(&mut both))?;
        }
        // The record has no place for NaN.
        self.losses.extend(Some(both[0] / both[1]).filter(|loss| loss.is_finite()));
        Ok(())
    }
}

fn loader(seed: u64, shuffle: bool) -> impl Data<Batch = Batch> {
    let mut random = Random::new(seed);
    let row = |_| {
        let x = [(); INPUTS].map(|()| random.normal());
        (x, (x[0] * x[1]).sin() + 0.5 * x[2] - 0.1 * x[3] * x[3])
    };
    let rows: Vec<([f64; INPUTS], f64)> = (0..ROWS).map(row).collect();
    let batch = |rows: Vec<([f64; INPUTS], f64)>| {
        let x: Vec<f64> = rows.iter().flat_map(|row| row.0).collect();
        let y: Vec<f64> = rows.iter().map(|row| row.1).collect();
        Ok((ToyArray::new(&[y.len(), INPUTS], &x), ToyArray::new(&[y.len(), 1], &y)))
    };
    let loader = Loader::collate(rows, batch).batch_size(10);
    if shuffle { loader.shuffle() } else { loader }
}

/// The parts of the newest checkpoint.
fn parts(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let newest = entries.filter(|name| name.starts_with("step-")).max().unwrap();
    let files = fs::read_dir(folder.join(newest)).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "safetensors"));
    files
        .map(|file| (file.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(file).unwrap()))
        .collect()
}

#[track_caller]
fn check_near(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-13 * expected.abs(), "{what}: {found} is not {expected}");
    }
}

/// A folder, and the run of two epochs with checkpoints in `name` of it.
fn two_epochs(folder: &TempDir, name: &str) -> Training {
    let (out, record) = (folder.path().join(name), folder.path().join(format!("{name}.json")));
    Training { accumulate: 3, epochs: 2, steps: Some(STEPS), out: Some(out), record, ..Training::default() }
}

#[test]
fn the_curve_is_that_of_one_process() {
    let folder = TempDir::new().unwrap();
    for accumulate in [1, 3] {
        let record = folder.path().join("record");
        let training = Training { accumulate, epochs: 30, record, ..Training::default() };
        // In the ranks this is what they run.
        for ranks in [1, 2, 3, 4] {
            let Some(found) = training.run(ranks) else { return };
            let alone = training.run(0).unwrap();
            check_near(&found.losses, &alone.losses, "losses");
            let numbers = |trained: &Trained| trained.values.iter().map(|value| value.1).collect::<Vec<_>>();
            check_near(&numbers(&found), &numbers(&alone), "values of epochs");
            if ranks == 1 {
                assert_eq!(found, alone);
            }
        }
    }
}

#[test]
fn a_paused_run_goes_on_to_the_same_bytes_and_on_fewer_ranks_to_near_numbers() {
    let folder = TempDir::new().unwrap();
    let Some(whole) = two_epochs(&folder, "whole").run(4) else { return };
    let alone = two_epochs(&folder, "alone").run(0).unwrap();
    let expected = parts(&folder.path().join("whole"));
    for stop in 1..STEPS {
        let name = format!("paused-{stop}");
        let training = two_epochs(&folder, &name);
        let mut losses = Training { steps: Some(stop), ..training.clone() }.run(4).unwrap().losses;
        losses.extend(training.run(4).unwrap().losses);
        assert_eq!(losses, whole.losses, "paused at step {stop}");
        assert!(parts(&folder.path().join(&name)) == expected, "paused at step {stop}");
        if stop % 3 != 0 {
            continue;
        }
        let training = two_epochs(&folder, &format!("changed-{stop}"));
        let first = if stop % 2 == 0 { 0 } else { 4 };
        let second = [3, 2, 1][(stop / 3) as usize % 3];
        let mut losses = Training { steps: Some(stop), ..training.clone() }.run(first).unwrap().losses;
        let middle = (stop + 2).min(STEPS);
        losses.extend(Training { steps: Some(middle), ..training.clone() }.run(second).unwrap().losses);
        losses.extend(training.run(4).unwrap().losses);
        check_near(
            &losses,
            &alone.losses,
            &format!("{first} ranks up to step {stop}, then {second}, then 4"),
        );
    }
}

#[test]
fn all_ranks_end_at_the_same_step_with_one_reason() {
    let folder = TempDir::new().unwrap();
    let training =
        Training { accumulate: 1, epochs: 3, record: folder.path().join("end"), ..Training::default() };
    let check = |name: &str, rank: u64, skip: bool, expected: &str| {
        let trouble = Some((name.to_owned(), rank, 7));
        let trained = Training { trouble, skip, ..training.clone() }.run(3)?;
        assert_eq!(trained.end, expected, "{name}");
        Some(())
    };
    let ran = check("pause", 2, false, "7 paused: asked for on one rank");
    let Some(()) = ran else { return };
    check("finish", 1, false, "7 finished: decided on one rank");
    check("term", 1, false, "7 paused: SIGTERM");
    check("nan", 2, true, "30 complete");
}

#[test]
fn an_error_on_one_rank_is_one_on_all_with_rank_and_cause() {
    let folder = TempDir::new().unwrap();
    let training =
        Training { accumulate: 1, epochs: 3, record: folder.path().join("end"), ..Training::default() };
    for (name, rank, cause) in [
        ("nan", 2, "the loss is not finite: NaN"),
        ("unit", 1, "this rank cannot compute"),
        ("callback", 2, "this rank cannot go on"),
        ("panic", 0, "this rank cannot go on"),
    ] {
        let trouble = Some((name.to_owned(), rank, 7));
        let Some(ended) = Training { trouble, ..training.clone() }.end(3) else { return };
        assert!(!ended.status.success(), "{name}");
        let errors: Vec<&str> = ended.text.lines().filter(|line| line.contains(" ends with: ")).collect();
        let named = format!("rank {rank} failed: ");
        let of_others = errors.iter().filter(|line| line.contains(&named) && line.contains(cause)).count();
        let of_all = errors.iter().filter(|line| line.contains(cause)).count();
        assert_eq!((of_others, of_all), (2, 3), "{name}: {}", ended.text);
    }
}

#[test]
fn a_killed_rank_ends_the_job_and_a_restart_comes_to_the_same_bytes() {
    let folder = TempDir::new().unwrap();
    let Some(_) = two_epochs(&folder, "whole").run(4) else { return };
    let expected = parts(&folder.path().join("whole"));
    let mut killed = 0;
    for n in 0..10 {
        let mut random = Random::new(n);
        let name = format!("killed-{n}");
        let training = two_epochs(&folder, &name);
        let signal = Some(("-KILL".to_owned(), random.below(4), random.below(400_000)));
        let ended = Training { signal, pace: 20_000, ..training.clone() }.end(4).unwrap();
        if !ended.status.success() {
            killed += 1;
            training.run(4).unwrap();
        }
        assert!(parts(&folder.path().join(&name)) == expected, "{name}");
    }
    assert!(killed > 5, "{killed} of 10 were killed in time");
}

#[test]
fn a_rank_that_hangs_at_any_moment_ends_the_job() {
    let folder = TempDir::new().unwrap();
    let (mut hung, mut post_mortems) = (0, 0);
    for n in 0..10 {
        let mut random = Random::new(100 + n);
        let training = two_epochs(&folder, &format!("hung-{n}"));
        let signal = Some(("-STOP".to_owned(), random.below(4), random.below(400_000)));
        let out = training.out.clone().unwrap();
        let Some(ended) = Training { signal, pace: 20_000, ..training }.end(4) else { return };
        if ended.status.success() {
            continue;
        }
        hung += 1;
        assert!([Some(86), Some(9)].contains(&ended.status.code()), "{}", ended.text);
        assert!(ended.text.contains(" has waited 2 s: a rank hangs or is gone"), "{}", ended.text);
        let mut saves_post_mortem = false;
        for line in ended.text.lines().filter(|line| line.contains(" has waited 2 s: ")) {
            let number = line.split(" number ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
            // Before those of the first step.
            let is_of_start = number.parse::<u64>().unwrap() < 10;
            assert!(is_of_start || line.contains(" at epoch ") && line.contains(" step "), "{line}");
            saves_post_mortem |= line.starts_with("rank 0: agreement of the ranks failed in train ");
        }
        if saves_post_mortem {
            let saved = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().file_name().into_string());
            let is_post_mortem = |name: &str| name.starts_with("post-mortem-");
            assert!(saved.flatten().any(|name| is_post_mortem(&name)), "{}", ended.text);
            post_mortems += 1;
        }
    }
    assert!(hung > 5 && post_mortems > 0, "{hung} of 10 hung in time, with {post_mortems} post-mortems");
}
