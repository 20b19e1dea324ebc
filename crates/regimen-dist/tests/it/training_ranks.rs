//! Training on several ranks under a real MPI: its numbers, its restarts and its ends.
#![allow(clippy::print_stdout, reason = "a rank tells the test its end")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::{env, fs, slice};

use regimen::auto_unit::{GradientScaler, NonFinite, StepResults};
use regimen::callback::{EarlyStopping, Event, Every, TimeLimit};
use regimen::checkpoint::Checkpointer;
use regimen::data::{Data, DataExt, Loader};
use regimen::engine::{Bucket, Engine as _, Precision};
use regimen::metric::Key;
use regimen::peers::Peers;
use regimen::random::Random;
use regimen::run::{Ended, Moment, Report, Restored, Saver, Which};
use regimen::signal::Signals;
use regimen::{AutoUnit, BoxError, Fit, Loss, Run, State, Step, Task};
use regimen_test::BadData;
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::on_ranks::{self, on_ranks};
use crate::ranks::kill_in_a_minute;

/// Steps of the runs that are paused, killed and hung: two epochs of 10.
const STEPS: u64 = 20;
/// Features of a row, and rows. The last batch of 10 has 6.
const INPUTS: usize = 4;
const ROWS: usize = 96;
/// Batches per epoch.
const BATCHES: u64 = 10;
const TOLD: Key = Key::mean("eval/told");

type Batch = (ToyArray, ToyArray);
type Engine = ToyEngine<ToyMlp>;
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
    /// The same on all ranks.
    end: String,
}

const VARIABLE: &str = "REGIMEN_TEST_TRAINING";

impl Training {
    /// Runs it alone if `ranks` is 0. Returns `None` in the ranks, and without a launcher.
    fn run(&self, ranks: usize) -> Option<Trained> {
        Training::run_all(slice::from_ref(self), ranks)?.pop()
    }

    /// The same for several runs, one after another by the same ranks.
    fn run_all(all: &[Training], ranks: usize) -> Option<Vec<Trained>> {
        if ranks > 0 {
            Training::end_all(all, ranks)?.well();
        } else {
            (env::var_os(on_ranks::IS_RANK).is_none() && env::var_os(on_ranks::LAUNCHER).is_some())
                .then_some(())?;
            all.iter().for_each(|training| train(training, None).unwrap());
        }
        let read =
            |training: &Training| serde_json::from_slice(&fs::read(&training.record).unwrap()).unwrap();
        Some(all.iter().map(read).collect())
    }

    /// The same for a run that may fail.
    fn end(&self, ranks: usize) -> Option<on_ranks::Ended> {
        Training::end_all(slice::from_ref(self), ranks)
    }

    fn end_all(all: &[Training], ranks: usize) -> Option<on_ranks::Ended> {
        let text = serde_json::to_string(all).unwrap();
        on_ranks(ranks, &[(VARIABLE, &text)], as_rank)
    }
}

/// The program of a rank.
fn as_rank() {
    let all: Vec<Training> = serde_json::from_str(&env::var(VARIABLE).unwrap()).unwrap();
    let peers = regimen_dist::init().unwrap();
    let rank = peers.rank().index;
    for training in all {
        if let Some((signal, of, after)) = training.signal.clone() {
            if signal == "-STOP" {
                peers.set_patience(Duration::from_secs(2));
            }
            if of == rank {
                thread::spawn(move || {
                    thread::sleep(Duration::from_micros(after));
                    if signal == "-STOP" {
                        kill_in_a_minute();
                    }
                    Command::new("kill").args([&signal, &process::id().to_string()]).status()
                });
            }
        }
        if let Err(error) = train(&training, Some(peers.clone())) {
            println!("\nrank {rank} ends with: {error:#}");
            panic!("the run has failed");
        }
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
    let is = |wanted: &str| training.trouble.as_ref().is_some_and(|(name, ..)| name == wanted);
    let is_own = |wanted: &str| own.as_ref().is_some_and(|(name, _)| name == wanted);
    // The mean of three ranks is 1 after an epoch and rises; it would fall on two of them.
    let told = is("early").then_some(if is_own("early") { 5.0 } else { -1.0 });
    let task = Regression { peers: peers.clone(), trouble: own.clone(), told, losses: Vec::new() };
    let mut unit =
        AutoUnit::new(engine, task).learning_rate(1e-2).clip_norm(0.5).accumulate(training.accumulate);
    if training.skip {
        unit = unit.non_finite(NonFinite::Skip);
    }
    if is("overflow") {
        let overflows = own.clone().map(|(_, step)| step);
        unit = unit
            .precision(Precision::F16)
            .gradient_scaler(GradientScaler::new().initial(64.0).back_off(0.25))
            .after_backward(move |engine: &mut Engine, state: &mut State| {
                match overflows == Some(state.train_progress().steps + 1) {
                    true => engine.scale_gradients(f64::INFINITY),
                    false => Ok(()),
                }
            });
    }

    let mut run = Run::new(&mut unit).seed(42);
    if let Some(peers) = peers.clone() {
        run = run.peers(peers);
    }
    if is("early") {
        run = run.callback(EarlyStopping::min(TOLD, 1));
    }
    if is("clock") {
        let day = Duration::from_secs(86_400);
        run = run.callback(TimeLimit::new(if is_own("clock") { Duration::ZERO } else { day }));
    }
    if is("saver") || is("saver panic") {
        run = run.saver(BadSaver(own.clone()));
    }
    let data = BadData::new(loader(1, true).take_batches(BATCHES - u64::from(is_own("short"))));
    let data = match &own {
        Some((name, step)) if name == "data" => data.fail_at(*step),
        Some((name, step)) if name == "data panic" => data.panic_at(*step),
        _ => data,
    };
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
    let report = run.fit(&data, &loader(2, false), config)?;
    drop(run);
    let mut end = format!("{} {}", report.train.steps, end(&report.ended));
    if unit.skipped() > 0 {
        end += &format!(", {} skipped", unit.skipped());
    }
    if let Some(scale) = unit.gradient_scale() {
        end += &format!(", scale {scale}");
    }
    let ends = peers.map_or(Ok(Vec::new()), |peers| peers.gather(end.as_bytes()))?;
    if ends.iter().any(|other| other != end.as_bytes()) {
        return Err(format!("rank {rank} ends differently: {end}").into());
    }
    if rank == 0 {
        let trained = Trained { losses: unit.task().losses.clone(), values: values(&report), end };
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
    /// Logged in evaluations, times the epochs of training.
    told: Option<f64>,
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

    fn on_eval_step_end(&mut self, state: &mut State, _: &Batch, _: StepResults<()>) -> TestResult {
        if let Some(told) = self.told {
            state.log(TOLD, told * (state.train_progress().steps / BATCHES) as f64, 1.0);
        }
        Ok(())
    }
}

/// A saver that fails at the end of a step.
struct BadSaver(Option<(String, u64)>);

impl Saver for BadSaver {
    fn on_event(&mut self, event: Event, moment: &mut Moment<'_>) -> TestResult {
        match &self.0 {
            Some((name, step))
                if event == Event::TrainStepEnd && *step == moment.state().train_progress().steps =>
            {
                assert!(name != "saver panic", "this rank cannot save");
                Err("this rank cannot save".into())
            }
            _ => Ok(()),
        }
    }

    fn restore(&mut self, _: Which<'_>, _: &mut Moment<'_>) -> Result<Option<Restored>, BoxError> {
        Ok(None)
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

/// Three epochs in which a rank has trouble in the seventh step.
fn troubled(folder: &TempDir, name: &str, rank: u64) -> Training {
    let record = folder.path().join(format!("{name}-{rank}"));
    let trouble = Some((name.to_owned(), rank, 7));
    Training { accumulate: 1, epochs: 3, record, trouble, ..Training::default() }
}

#[test]
fn all_ranks_end_at_the_same_step_with_one_reason() {
    let folder = TempDir::new().unwrap();
    let lines = [
        ("pause", 2, "7 paused: asked for on one rank"),
        ("finish", 1, "7 finished: decided on one rank"),
        ("nan", 2, "30 complete, 1 skipped"),
        ("overflow", 1, "30 complete, 1 skipped, scale 16"),
        ("early", 2, "20 finished: early stopping: eval/told has not improved on 1 in 1 check"),
        ("clock", 0, "0 paused: time limit of 0 s reached"),
        ("clock", 2, "30 complete"),
        ("term", 1, "7 paused: SIGTERM"),
    ];
    let trainings = lines.map(|(name, rank, _)| Training { skip: true, ..troubled(&folder, name, rank) });
    let Some(trained) = Training::run_all(&trainings, 3) else { return };
    for ((name, rank, expected), trained) in lines.into_iter().zip(trained) {
        assert_eq!(trained.end, expected, "{name} on rank {rank}");
    }
}

/// Checks the errors of 3 ranks of which one has trouble. Returns `None` in the ranks, and without a launcher.
#[track_caller]
fn check_errors(name: &str, rank: u64, expected: impl Fn(u64) -> String) -> Option<()> {
    let folder = TempDir::new().unwrap();
    let ended = troubled(&folder, name, rank).end(3)?;
    assert!(!ended.status.success(), "{name}");
    let mut found: Vec<&str> = ended.text.lines().filter(|line| line.contains(" ends with: ")).collect();
    found.sort_unstable();
    let expected = [0, 1, 2].map(|rank| format!("rank {rank} ends with: {}", expected(rank)));
    assert_eq!(found, expected, "{name}: {}", ended.text);
    Some(())
}

#[test]
fn an_error_or_a_panic_on_one_rank_is_an_error_on_all_with_rank_and_cause() {
    let [before, after] = [6, 7].map(|step| format!("train at epoch 0 step {step}"));
    let unit = format!("unit failed in train_step in {before}");
    let [data, end] = [&before, &after].map(|at| format!("agreement of the ranks failed in {at}"));
    let callback =
        |how| format!("callback closure {how} at train step end in {after}: this rank cannot go on");
    for (name, rank, own, place) in [
        ("nan", 2, format!("{unit}: the loss is not finite: NaN"), &unit),
        ("unit", 1, format!("{unit}: this rank cannot compute"), &unit),
        ("data", 1, format!("data failed in {before}: told to fail"), &data),
        ("data panic", 2, format!("data panicked in {before}: told to panic"), &data),
        ("callback", 2, callback("failed"), &end),
        ("panic", 0, callback("panicked"), &end),
        ("saver", 1, format!("state failed in {after}: this rank cannot save"), &end),
        ("saver panic", 0, format!("state panicked in {after}: this rank cannot save"), &end),
    ] {
        let expected = |of| match of == rank {
            true => own.clone(),
            false => format!("{place}: rank {rank} failed: {own}"),
        };
        let Some(()) = check_errors(name, rank, expected) else { return };
    }
}

#[test]
fn data_that_is_one_batch_shorter_on_one_rank_is_an_error_on_all() {
    check_errors("short", 1, |rank| {
        let here = if rank == 1 { "is one of them" } else { "has more batches" };
        format!(
            "agreement of the ranks failed in train at epoch 0 step 8: the epoch is over on 1 of 3 ranks, and rank \
             {rank} {here}; give every rank as many batches"
        )
    });
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
