//! Steps of the CNN whose gradients are exchanged after the backward pass and during it, for `cargo xtask bench overlap`.
//!
//! Two ranks of one thread, with [`keep_memory`]: over MPI, over MPI behind a slow link, or threads of this process behind
//! one. The latter wait for each other without a processor, and MPI with one. All ways take turns in one process. Rank 0
//! prints the median of the milliseconds of each.

// As `engines-torch` has it, which trains more networks.
#[allow(dead_code, reason = "the other networks are of `engines-torch` alone")]
#[path = "../engines-torch/networks.rs"]
mod networks;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use networks::{Batch, Cnn, Learn, Network};
use regimen::callback::Event;
use regimen::data::each_epoch;
use regimen::engine::{Bucket, Engine, Mode};
use regimen::peers::Peers;
use regimen::run::Train;
use regimen::{AutoUnit, BoxError, Run, State};
use regimen_dist::init;
use regimen_test::peers::{Slow, Threads, on_ranks};
use regimen_torch::tch::Device;
use regimen_torch::{Torch, initialize, keep_memory, tch};

const USAGE: &str = "usage: shared|slow|threads TURNS";
const SEED: u64 = 7;
const BATCH: usize = 64;

/// Steps of a way in a turn, the first of which are not timed.
const STEPS: usize = 8;
const WARM_UP: usize = 2;

/// The slow link: a network of 1 Gbit/s.
const LATENCY: Duration = Duration::from_micros(50);
const BYTES_PER_SECOND: u64 = 125_000_000;

/// The default of `AutoUnit`.
const BUCKET: usize = 4 << 20;

fn main() -> Result<(), BoxError> {
    keep_memory();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [link, turns] = &args[..] else { return Err(USAGE.into()) };
    let turns = turns.parse()?;
    let slow = |peers| -> Arc<dyn Peers> { Arc::new(Slow::new(peers, LATENCY, BYTES_PER_SECOND)) };
    match &**link {
        "shared" => measure(link, init()?, turns),
        "slow" => measure(link, slow(init()?), turns),
        "threads" => {
            let ranks = on_ranks(Threads::of(2, Duration::from_secs(600)), |peers| {
                measure(link, slow(peers), turns).map_err(|error| error.to_string())
            });
            ranks.into_iter().try_for_each(|rank| Ok(rank??))
        }
        _ => Err(USAGE.into()),
    }
}

fn measure(link: &str, peers: Arc<dyn Peers>, turns: usize) -> Result<(), BoxError> {
    tch::set_num_threads(1);
    let batch = Cnn::batch(BATCH);
    let [mut alone, mut after, mut during] = [unit(false)?, unit(false)?, unit(true)?];
    let mut bare = engine()?;
    let mut times: [(&str, Vec<f64>); 5] =
        ["step alone", "step, exchange after", "step, exchange during", "backward", "exchange"]
            .map(|name| (name, Vec::new()));
    for _ in 0..turns {
        let [(_, steps_alone), (_, steps_after), (_, steps_during), (_, backward), (_, exchange)] =
            &mut times;
        for (unit, peers_of_run, times) in [
            (&mut alone, None, steps_alone),
            (&mut after, Some(&peers), steps_after),
            (&mut during, Some(&peers), steps_during),
        ] {
            meet(&*peers)?;
            times.extend(steps(unit, peers_of_run, &batch)?);
        }
        for i in 0..STEPS {
            let loss = bare.with_module(Mode::Train, |network| network.loss(&batch, true).mean);
            meet(&*peers)?;
            let begun = Instant::now();
            bare.backward(&loss, None)?;
            let took = begun.elapsed();
            meet(&*peers)?;
            let begun = Instant::now();
            bare.exchange_gradients(BUCKET, &mut |bucket: Bucket<'_>| peers.sum(bucket))?;
            if WARM_UP <= i {
                backward.push(milliseconds(took));
                exchange.push(milliseconds(begun.elapsed()));
            }
            bare.discard_gradients();
        }
    }
    if peers.rank().is_first() {
        let mut out = io::stdout();
        for (name, times) in &mut times {
            times.sort_by(f64::total_cmp);
            writeln!(out, "{link}: {name}\tms\t{}\tms", times[times.len() / 2])?;
        }
    }
    Ok(())
}

/// Waits until all ranks are here.
fn meet(peers: &dyn Peers) -> Result<(), BoxError> {
    peers.gather(&[]).map(drop)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn engine() -> Result<Torch<Cnn>, BoxError> {
    let (vars, network) = initialize(SEED, Device::Cpu, Cnn::new);
    Torch::new(vars, network, Cnn::algorithm())
}

fn unit(overlaps: bool) -> Result<AutoUnit<Torch<Cnn>, Learn>, BoxError> {
    Ok(AutoUnit::new(engine()?, Learn).bucket_bytes(BUCKET).overlap_exchange(overlaps))
}

/// The milliseconds of each step.
fn steps(
    unit: &mut AutoUnit<Torch<Cnn>, Learn>,
    peers: Option<&Arc<dyn Peers>>,
    batch: &<Cnn as Network>::Batch,
) -> Result<Vec<f64>, BoxError> {
    let mut ends = Vec::with_capacity(STEPS);
    let data = each_epoch(|_| (0..STEPS).map(|_| batch.share()));
    let run = Run::new(unit)
        .seed(SEED)
        .on(Event::TrainStepEnd, |_: &mut State, _: &mut _| ends.push(Instant::now()));
    let mut run = match peers {
        Some(peers) => run.peers(peers.clone()),
        None => run,
    };
    run.train(&data, Train::epochs(1))?;
    drop(run);
    Ok(ends[WARM_UP - 1..].windows(2).map(|pair| milliseconds(pair[1] - pair[0])).collect())
}
