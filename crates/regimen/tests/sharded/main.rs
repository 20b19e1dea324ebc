//! A sharded optimizer, and sharded gradients: the curve, the checkpoints and the memory, against those without sharding.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod checkpoints;
mod curve;
mod gradients;
mod losses;
mod matrix;
mod pieces;
mod pieces_whole;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use regimen::auto_unit::{Averaging, EVAL_LOSS, Plateau, Thaw};
use regimen::callback::{Event, Every};
use regimen::checkpoint::{Checkpointer, Checkpoints, LoadedCheckpoint, SimDisk};
use regimen::data::Loader;
use regimen::peers::Peers;
use regimen::run::Which;
use regimen::saved::StateDict;
use regimen::state::PauseHandle;
use regimen::{AutoUnit, BoxError, Fit, Loss, Run, State, Step, Task};
use regimen_test::peers::{Threads, on_ranks};
use regimen_test::toy::{ToyArray, ToyCentre, ToyEngine, ToyLinear, ToyOptimizer, ToyVars, manual_seed};

/// No call waits as long on any machine that passes.
const PATIENCE: Duration = Duration::from_secs(600);
const FEATURES: usize = 4;
/// Rows of training, in batches of 10, 10, 10, 10 and 6.
const ROWS: usize = 46;
const EVAL_ROWS: usize = 15;
/// Layers between features.
const LAYERS: usize = 8;
/// The folder on disks in memory.
const DISK: &str = "/run";
/// Steps of the run.
const STEPS: u64 = 15;

type Batch = (ToyArray, ToyArray);
type Unit = AutoUnit<ToyEngine<Net>, Regression>;

/// Layers of one size, running statistics, and a layer that is not used.
struct Net {
    centre: ToyCentre,
    layers: Vec<ToyLinear>,
    output: ToyLinear,
}

impl Net {
    fn new(vars: &mut ToyVars) -> Self {
        let layer = |n| ToyLinear::new(vars, &format!("layer-{n}"), FEATURES, FEATURES);
        let layers = (0..LAYERS).map(layer).collect();
        ToyLinear::new(vars, "unused", FEATURES, FEATURES);
        let output = ToyLinear::new(vars, "output", FEATURES, 1);
        Net { centre: ToyCentre::new(vars, "centre", FEATURES), layers, output }
    }
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
        // The statistics of a share of a batch are not those of the batch.
        let centred = net.centre.forward(x);
        let first = if step.is_train() { x.clone() } else { centred };
        let last = net.layers.iter().fold(first, |x, layer| layer.forward(&x).tanh().add(&x));
        let loss = net.output.forward(&last).mean_squared_error(y);
        Ok((Loss::mean(loss, step.samples as f64), ()))
    }
}

fn loader(count: usize) -> Loader<Batch> {
    let row = |row: usize| {
        let at = row as f64;
        ([(0.1 * at).cos(), (1.7 * at).sin(), (0.3 * at * at).cos(), (0.9 * at).cos()], (0.2 * at).sin())
    };
    let batch = |rows: Vec<([f64; FEATURES], f64)>| {
        let x: Vec<f64> = rows.iter().flat_map(|row| row.0).collect();
        let y: Vec<f64> = rows.iter().map(|row| row.1).collect();
        Ok((ToyArray::new(&[y.len(), FEATURES], &x), ToyArray::new(&[y.len(), 1], &y)))
    };
    Loader::collate((0..count).map(row).collect::<Vec<_>>(), batch).batch_size(10).shuffle()
}

/// An engine whose weights are another rank's own, unless it is of rank 0.
fn engine(rank: u64) -> ToyEngine<Net> {
    manual_seed(7 + rank);
    let mut vars = ToyVars::new();
    let net = Net::new(&mut vars);
    ToyEngine::new(vars, net, ToyOptimizer::adam_w(0.01))
        .group("late", |name| name.starts_with("layer-1"))
        .group("never", |name| name.starts_with("layer-2"))
}

/// With clipping.
fn unit(rank: u64, shards: bool) -> Unit {
    unclipped(rank, shards).clip_norm(0.5)
}

/// With windows, decay, frozen groups, an average and a plateau.
fn unclipped(rank: u64, shards: bool) -> Unit {
    AutoUnit::new(engine(rank), Regression)
        .learning_rate(1e-2)
        .accumulate(2)
        .bucket_bytes(300)
        .compare_replicas(2)
        .freeze("late", Thaw::AtUpdate(3))
        .freeze("never", Thaw::Never)
        .average(Averaging::ema(0.9).warm_up(2))
        .reduce_on_plateau(Plateau::min(EVAL_LOSS).patience(1).factor(0.5).threshold_absolute(0.05))
        .shard_optimizer(shards)
}

fn rank_of(peers: &Option<Arc<dyn Peers>>) -> u64 {
    peers.as_ref().map_or(0, |peers| peers.rank().index)
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

fn run_of<'u>(peers: Option<Arc<dyn Peers>>, unit: &'u mut Unit, disk: &SimDisk) -> Run<'u, Unit> {
    run_with(peers, unit, pieces::saver(Arc::new(disk.clone()), false))
}

fn run_with<'u>(peers: Option<Arc<dyn Peers>>, unit: &'u mut Unit, saver: Checkpointer) -> Run<'u, Unit> {
    let run = Run::new(unit).seed(42).saver(saver);
    match peers {
        Some(peers) => run.peers(peers),
        None => run,
    }
}

fn fit(run: &mut Run<'_, Unit>) -> Result<(), BoxError> {
    let limits = Fit::epochs(3).eval_every(Every::steps(4).or(Every::epochs(1)));
    run.fit(&loader(ROWS), &loader(EVAL_ROWS), limits)?;
    Ok(())
}

/// Pauses after so many steps of training.
fn pause_after(at: u64, handle: &PauseHandle) -> impl FnMut(&mut State, &mut Unit) + Send + use<> {
    let handle = handle.clone();
    move |state, _| {
        if state.train_progress().steps == at {
            handle.pause("told to");
        }
    }
}

/// A part of a run: its ranks, whether they shard, and the step of its pause.
type Leg = (u64, bool, Option<u64>);

/// The last checkpoint of a run in these parts.
fn run_in_parts(legs: &[Leg]) -> LoadedCheckpoint {
    run_in_parts_of(legs, unit)
}

/// A run up to a step, or to its end. Returns whether it began with a checkpoint.
fn leg(mut run: Run<'_, Unit>, stop: Option<u64>) -> Result<bool, BoxError> {
    if let Some(stop) = stop {
        let handle = run.pause_handle();
        run = run.on(Event::TrainStepEnd, pause_after(stop, &handle));
    }
    let is_restored = run.restore_latest()?.is_some();
    fit(&mut run)?;
    Ok(is_restored)
}

fn run_in_parts_of(legs: &[Leg], unit: fn(u64, bool) -> Unit) -> LoadedCheckpoint {
    let disk = SimDisk::new();
    for (n, &(ranks, shards, stop)) in legs.iter().enumerate() {
        let ended = on(ranks, |peers| {
            let own = if rank_of(&peers) == 0 { disk.clone() } else { SimDisk::new() };
            let mut unit = unit(rank_of(&peers), shards);
            leg(run_of(peers, &mut unit, &own), stop)
        });
        ended.into_iter().for_each(|restored| assert_eq!(restored, Ok(n > 0), "part {n} of {legs:?}"));
    }
    saved(&disk)
}

fn saved(disk: &SimDisk) -> LoadedCheckpoint {
    let all = Checkpoints::on(Arc::new(disk.clone()), Path::new(DISK));
    all.load(Which::Latest).unwrap().unwrap()
}

/// Fails unless the arrays have the same names and layout, and floats within 1e-13 of each other.
#[track_caller]
fn check_near(found: &StateDict, expected: &StateDict, what: &str) {
    expected.check_same_layout(found).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
    for ((name, found), (_, expected)) in found.iter().zip(expected.iter()) {
        match (found.to_vec::<f64>(), expected.to_vec::<f64>()) {
            (Ok(found), Ok(expected)) => {
                for (found, expected) in found.into_iter().zip(expected) {
                    let apart = (found - expected).abs();
                    assert!(
                        apart <= 1e-13 * expected.abs().max(1.0),
                        "{what}: `{name}`: {found}, not {expected}"
                    );
                }
            }
            _ => assert!(found.bytes() == expected.bytes(), "{what}: `{name}` differs"),
        }
    }
}

/// Fails unless the parts of the unit are near each other.
#[track_caller]
fn check_parts(found: &LoadedCheckpoint, expected: &LoadedCheckpoint, what: &str) {
    for part in ["module", "averaged_module", "optimizer"] {
        check_near(&found.content[part], &expected.content[part], &format!("`{part}` {what}"));
    }
    let counts = ["updates", "epochs", "averaged", "skipped"];
    let counts =
        |saved: &LoadedCheckpoint| counts.map(|name| saved.content["auto_unit"].count(name).unwrap());
    assert_eq!(counts(found), counts(expected), "{what}");
}
