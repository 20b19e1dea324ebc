//! A save of 512 MB to a server of S3, compared with puts of the same bytes by hand, and the time of training steps
//! beside such a save.
//!
//! `cargo xtask bench object-store` starts a server and runs it. It finds the bucket `regimen` by the variables of
//! `ObjectStore::open`.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../../../bench/src/rounds.rs"]
#[allow(
    unreachable_pub,
    unused_imports,
    reason = "it is of another crate, whose tests are not compiled here"
)]
mod rounds;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::multipart::MultipartStore;
use object_store::{ObjectStoreExt, PutPayload};
use regimen::BoxError;
use regimen::checkpoint::{Keep, Snapshot, Writer};
use regimen::saved::{Array, StateDict};
use regimen_object_store::{ObjectStore, object_store};
use rounds::{median, rounds};

const MEGABYTES: usize = 512;
const ROUNDS: usize = 5;
/// Bytes per part, and parts under way: the defaults of `ObjectStore`.
const PART: usize = 16 << 20;
const AHEAD: usize = 4;

fn main() -> Result<(), BoxError> {
    let store = Arc::new(ObjectStore::open("s3://regimen/runs")?);
    let mut save = Save { writer: Writer::open_on(store, "bench", "bench")?, snapshot: snapshot()? };
    let hand = Hand::new(&save.snapshot)?;
    let times = rounds(ROUNDS, &mut [&mut || save.time(), &mut || hand.time()])?;
    let rate = |seconds: &f64| MEGABYTES as f64 / seconds;
    let [saves, puts] = [0, 1].map(|contestant| times[contestant].iter().map(rate).collect::<Vec<_>>());
    let ratios = saves.iter().zip(&puts).map(|(save, put)| save / put).collect();
    let case = format!("save/{MEGABYTES}MB");
    figure(&case, "mb_per_s", median(saves), "MB/s");
    figure(&case, "by_hand_mb_per_s", median(puts), "MB/s");
    figure(&case, "ratio_to_by_hand", median(ratios), "ratio");
    beside(&mut save)
}

/// Prints one figure for `cargo xtask bench`.
fn figure(case: &str, metric: &str, value: f64, unit: &str) {
    println!("{case}\t{metric}\t{value}\t{unit}");
}

/// A state with the proportions of a network under Adam: the weights, and two numbers per weight.
fn snapshot() -> Result<Snapshot, BoxError> {
    let bytes = MEGABYTES << 20;
    let part = |bytes: usize| -> Result<StateDict, BoxError> {
        let mut part = StateDict::new();
        for layer in 0..4_u64 {
            let number = |i: usize| (i as u64 + layer).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let numbers: Vec<u64> = (0..bytes / 32).map(number).collect();
            part.insert(format!("layer{layer}.weight"), Array::from_slice(&numbers))?;
        }
        Ok(part)
    };
    let parts = [("module", part(bytes / 3)?), ("optimizer", part(bytes - bytes / 3)?)];
    let parts: BTreeMap<_, _> = parts.map(|(name, part)| (name.to_owned(), part)).into();
    Ok(Snapshot { parts, ..Snapshot::default() })
}

struct Save {
    writer: Writer,
    snapshot: Snapshot,
}

impl Save {
    /// Saves, and returns the seconds until the save is acknowledged. Older ones are removed after that.
    fn time(&mut self) -> Result<f64, BoxError> {
        self.snapshot.step += 1;
        let begun = Instant::now();
        self.writer.save(&self.snapshot)?;
        let seconds = begun.elapsed().as_secs_f64();
        self.writer.prune(&Keep::all().last(1));
        Ok(seconds)
    }
}

/// The same bytes as one object, in parts that were cut before.
struct Hand {
    client: AmazonS3,
    parts: Vec<PutPayload>,
    runtime: tokio::runtime::Runtime,
}

impl Hand {
    fn new(snapshot: &Snapshot) -> Result<Self, BoxError> {
        let arrays = snapshot.parts.values().flat_map(StateDict::iter);
        let bytes: Vec<u8> = arrays.flat_map(|(_, array)| array.bytes()).copied().collect();
        let parts = bytes.chunks(PART).map(|part| part.to_vec().into()).collect();
        let client = AmazonS3Builder::from_env().with_url("s3://regimen").build()?;
        // As many threads as a store has.
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        Ok(Hand { client, parts, runtime: runtime.worker_threads(2).enable_all().build()? })
    }

    /// Puts the object, and returns the seconds.
    fn time(&self) -> Result<f64, BoxError> {
        let (key, client) = ("by-hand".into(), &self.client);
        self.runtime.block_on(async {
            let begun = Instant::now();
            let id = &client.create_multipart(&key).await?;
            let put = |(n, part): (usize, &PutPayload)| {
                let (client, key, id, part) = (client.clone(), key.clone(), id.clone(), part.clone());
                async move { Ok(tokio::spawn(async move { client.put_part(&key, &id, n, part).await }).await??) }
            };
            let puts = futures_util::stream::iter(self.parts.iter().enumerate()).map(put);
            let parts: Vec<_> = puts.buffered(AHEAD).try_collect::<Vec<_>>().await.map_err(|error: BoxError| error)?;
            client.complete_multipart(&key, id, parts).await?;
            let seconds = begun.elapsed().as_secs_f64();
            client.delete(&key).await?;
            Ok(seconds)
        })
    }
}

/// The mean time of a training step while a save is under way, and of as many after it.
fn beside(save: &mut Save) -> Result<(), BoxError> {
    let mut weights = vec![0.01; 1 << 16];
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let over = AtomicBool::new(false);
        let (beside, steps) = std::thread::scope(|scope| {
            let saving = scope.spawn(|| {
                let saved = save.time().map_err(|error| error.to_string());
                over.store(true, Ordering::Release);
                saved
            });
            let (begun, mut steps) = (Instant::now(), 0_u32);
            while !over.load(Ordering::Acquire) {
                step(&mut weights);
                steps += 1;
            }
            let mean = begun.elapsed().as_secs_f64() / f64::from(steps.max(1));
            saving.join().map_err(|_| "the save panicked")??;
            Ok::<_, BoxError>((mean, steps))
        })?;
        let begun = Instant::now();
        (0..steps).for_each(|_| step(&mut weights));
        let alone = begun.elapsed().as_secs_f64() / f64::from(steps.max(1));
        // The first round is a warm-up.
        if round != 0 {
            with.push(beside);
            without.push(alone);
        }
    }
    let ratios = with.iter().zip(&without).map(|(with, without)| with / without).collect();
    let case = format!("step beside a save/{MEGABYTES}MB");
    figure(&case, "ms", 1e3 * median(with), "ms");
    figure(&case, "ms_without", 1e3 * median(without), "ms");
    figure(&case, "ratio", median(ratios), "ratio");
    Ok(())
}

/// A training step on one core, of some milliseconds: forward and backward passes multiply each weight three times per
/// sample.
fn step(weights: &mut [f32]) {
    for weights in weights.chunks_mut(1024) {
        let mut gradients = [0.0; 1024];
        for pass in 0..3 * 64 {
            let input = black_box(0.5 + pass as f32);
            gradients.iter_mut().zip(&*weights).for_each(|(gradient, weight)| *gradient += input * weight);
        }
        weights.iter_mut().zip(gradients).for_each(|(weight, gradient)| *weight -= 1e-9 * gradient);
    }
}
