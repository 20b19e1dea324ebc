//! Data parallel training equals that of one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use regimen::callback::Every;
use regimen::data::{Loader, Rank};
use regimen::engine::{Bucket, Engine, Part};
use regimen::metric::Key;
use regimen::peers::Peers;
use regimen::run::{Evaluate, Train};
use regimen::saved::StateDict;
use regimen::{AutoUnit, BoxError, Fit, Loss, Run, State, Step, Task};
use regimen_core::auto_unit::StepResults;
use regimen_test::peers::{Threads, on_ranks};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};

/// No call waits as long on any machine that passes.
const PATIENCE: Duration = Duration::from_secs(600);
const SAMPLES: Key = Key::sum("train/samples");
/// The number of features, and their rows. The last batch of 10 has 6 of them.
const INPUTS: usize = 4;
const ROWS: usize = 96;

type Batch = (ToyArray, ToyArray);

/// Regression, which notes its losses with their weights.
struct Regression(Vec<(f64, f64)>);

impl Task<ToyEngine<ToyMlp>> for Regression {
    type Batch = Batch;
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        module: &ToyMlp,
        (x, y): &Batch,
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        let loss = module.forward(x).mean_squared_error(y);
        Ok((Loss::mean(loss, x.shape()[0] as f64), ()))
    }

    fn on_train_step_end(
        &mut self,
        state: &mut State,
        _: &Batch,
        results: StepResults<()>,
    ) -> Result<(), BoxError> {
        state.log(SAMPLES, results.weight, 1.0);
        self.0.push((results.loss()?, results.weight));
        Ok(())
    }
}

fn loader(seed: u64) -> impl regimen::data::Data<Batch = Batch> {
    let mut random = regimen::random::Random::new(seed);
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
    Loader::collate(rows, batch).batch_size(10).shuffle()
}

#[derive(Clone, Copy)]
struct Case {
    accumulate: u64,
    bucket_bytes: usize,
    epochs: u64,
    /// With running statistics and dropout.
    regularized: bool,
}

/// The record of a rank.
#[derive(Clone, Debug, PartialEq)]
struct Trained {
    losses: Vec<(f64, f64)>,
    epochs: Vec<(String, f64)>,
    module: StateDict,
    optimizer: StateDict,
    samples: u64,
}

fn train(peers: Option<Arc<dyn Peers>>, case: Case) -> Result<Trained, BoxError> {
    // Each rank draws other weights, and rank 0 those of the lone process.
    static RUNS: AtomicU64 = AtomicU64::new(1);
    let rank = peers.as_ref().map_or(0, |peers| peers.rank().index);
    manual_seed(if rank == 0 { 7 } else { 7 + RUNS.fetch_add(1, Ordering::Relaxed) });
    let mut vars = ToyVars::new();
    let module = match case.regularized {
        true => ToyMlp::regularized(&mut vars, [INPUTS, 16, 1], 0.1),
        false => ToyMlp::plain(&mut vars, [INPUTS, 16, 1]),
    };
    let engine = ToyEngine::new(vars, module, ToyOptimizer::adam_w(0.01));
    let mut unit = AutoUnit::new(engine, Regression(Vec::new()))
        .learning_rate(1e-2)
        .clip_norm(0.5)
        .accumulate(case.accumulate)
        .bucket_bytes(case.bucket_bytes)
        .compare_replicas(5);
    let mut run = Run::new(&mut unit).seed(42);
    if let Some(peers) = peers {
        run = run.peers(peers);
    }
    let report = run.fit(&loader(1), &loader(2), Fit::epochs(case.epochs).eval_every(Every::epochs(2)))?;
    drop(run);
    let values = report.epochs.iter().flat_map(|epoch| &epoch.values);
    let epochs = values.map(|(key, value)| (key.to_string(), *value)).collect();
    let samples = report.train.samples;
    let (engine, task) = unit.into_parts();
    let (module, optimizer) = (engine.state(Part::Module)?, engine.state(Part::Optimizer)?);
    Ok(Trained { losses: task.0, epochs, module, optimizer, samples })
}

fn on_threads(ranks: u64, case: Case) -> Vec<Trained> {
    let trained = on_ranks(Threads::of(ranks, PATIENCE), |peers| {
        train(Some(peers), case).map_err(|error| format!("{error:?}"))
    });
    trained.into_iter().map(|trained| trained.and_then(|trained| trained).unwrap()).collect()
}

/// The losses of whole batches.
fn losses(ranks: &[Trained]) -> Vec<f64> {
    let of_step = |step| {
        let of_ranks = || ranks.iter().map(|rank: &Trained| rank.losses[step]);
        let weight: f64 = of_ranks().map(|(_, weight)| weight).sum();
        of_ranks().map(|(loss, weight)| loss * weight).sum::<f64>() / weight
    };
    (0..ranks[0].losses.len()).map(of_step).collect()
}

#[track_caller]
fn check_near(found: f64, expected: f64, what: &str) {
    let relative = (found - expected).abs() / expected.abs().max(1e-300);
    assert!(relative <= 1e-13, "{what}: {found} is not {expected}, but off by {relative:e} of it");
}

#[test]
fn every_number_of_ranks_has_the_curve_of_one_process() {
    for accumulate in [1, 3] {
        let case = Case { accumulate, bucket_bytes: 4 << 20, epochs: 30, regularized: false };
        let alone = train(None, case).unwrap();
        assert_eq!((alone.losses.len(), alone.epochs.len()), (300, 75));
        assert!(losses(std::slice::from_ref(&alone)).last() < losses(std::slice::from_ref(&alone)).first());
        for ranks in 1..=4 {
            let together = on_threads(ranks, case);
            for (found, expected) in losses(&together).into_iter().zip(losses(std::slice::from_ref(&alone))) {
                check_near(found, expected, &format!("a loss on {ranks} ranks"));
            }
            for rank in &together {
                assert_eq!((rank.losses.len(), rank.samples), (alone.losses.len(), alone.samples));
                assert_eq!(rank.epochs.len(), alone.epochs.len());
                for ((key, found), (_, expected)) in rank.epochs.iter().zip(&alone.epochs) {
                    check_near(*found, *expected, &format!("{key} on {ranks} ranks"));
                }
                assert_eq!((&rank.module, &rank.optimizer), (&together[0].module, &together[0].optimizer));
            }
            if ranks == 1 {
                assert_eq!(together[0], alone);
            }
        }
    }
}

#[test]
fn runs_of_as_many_ranks_have_the_same_bits_with_buckets_of_any_size() {
    for (ranks, regularized) in [(2, false), (4, false), (3, true)] {
        let trained = [1, 100, 4 << 20, 4 << 20].map(|bucket_bytes| {
            on_threads(ranks, Case { accumulate: 3, bucket_bytes, epochs: 5, regularized })
        });
        for other in &trained[1..] {
            assert_eq!(*other, trained[0], "{ranks} ranks");
        }
    }
}

/// Peers that also take buckets of the toy device, and count them.
#[derive(Debug)]
struct OnDevice {
    peers: Arc<dyn Peers>,
    buckets: AtomicU64,
}

impl Peers for OnDevice {
    fn rank(&self) -> Rank {
        self.peers.rank()
    }

    fn sum(&self, bucket: Bucket<'_>) -> Result<(), BoxError> {
        let Bucket::Device(bucket) = bucket else { return self.peers.sum(bucket) };
        self.buckets.fetch_add(1, Ordering::Relaxed);
        self.peers.sum(Bucket::F64(bucket.downcast_mut::<Vec<f64>>().ok_or("not of the toy device")?))
    }

    fn takes_device(&self) -> bool {
        true
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, BoxError> {
        self.peers.gather(own)
    }

    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), BoxError> {
        self.peers.broadcast(bytes)
    }

    fn abort(&self, why: &str) {
        self.peers.abort(why);
    }
}

#[test]
fn peers_that_take_buckets_on_a_device_get_all_gradients_there() {
    let case = Case { accumulate: 3, bucket_bytes: 100, epochs: 2, regularized: true };
    let trained = on_ranks(Threads::of(2, PATIENCE), |peers| {
        let peers = Arc::new(OnDevice { peers, buckets: AtomicU64::new(0) });
        let trained = train(Some(peers.clone()), case).unwrap();
        // Four parameters, of which no two are as short as a bucket, and four windows per epoch.
        assert_eq!(peers.buckets.load(Ordering::Relaxed), 2 * 4 * 4);
        trained
    });
    assert_eq!(trained.into_iter().map(Result::unwrap).collect::<Vec<_>>(), on_threads(2, case));
}

type Unit = AutoUnit<ToyEngine<ToyMlp>, Regression>;

/// A unit whose weights differ between ranks.
fn unit_of(rank: u64) -> Unit {
    manual_seed(7 + rank);
    let mut vars = ToyVars::new();
    let module = ToyMlp::plain(&mut vars, [INPUTS, 16, 1]);
    AutoUnit::new(ToyEngine::new(vars, module, ToyOptimizer::adam_w(0.01)), Regression(Vec::new()))
}

#[test]
fn an_evaluation_before_training_is_of_the_weights_of_rank_0() {
    let evaluate = |peers: Option<Arc<dyn Peers>>| -> Result<Vec<f64>, String> {
        let mut unit = unit_of(peers.as_ref().map_or(0, |peers| peers.rank().index));
        let mut run = Run::new(&mut unit);
        if let Some(peers) = peers {
            run = run.peers(peers);
        }
        let report = run.evaluate(&loader(2), Evaluate::whole()).map_err(|error| format!("{error:#}"))?;
        Ok(report.epochs.iter().flat_map(|epoch| &epoch.values).map(|(_, value)| *value).collect())
    };
    let alone = evaluate(None).unwrap();
    assert_eq!(alone.len(), 1);
    for found in on_ranks(Threads::of(3, PATIENCE), |peers| evaluate(Some(peers))) {
        check_near(found.unwrap().unwrap()[0], alone[0], "the loss of an evaluation");
    }
}

#[test]
fn ranks_that_begin_other_calls_or_have_other_seeds_are_refused() {
    type Begin = dyn Fn(u64, &mut Run<'_, Unit>) -> Result<(), regimen::Error> + Sync;
    let errors = |begin: &Begin, seeds: [u64; 3]| {
        let ended = on_ranks(Threads::of(3, PATIENCE), |peers| {
            let rank = peers.rank().index;
            let mut unit = unit_of(rank);
            let mut run = Run::new(&mut unit).seed(seeds[rank as usize]).peers(peers.clone());
            let error = begin(rank, &mut run).unwrap_err();
            // The ranks have the same error, so that the next call can be right.
            peers.gather(&[]).unwrap();
            format!("{error:#}")
        });
        ended.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    let calls = errors(
        &|rank, run| match rank {
            2 => run.evaluate(&loader(2), Evaluate::whole()).map(drop),
            _ => run.train(&loader(1), Train::epochs(1)).map(drop),
        },
        [0; 3],
    );
    let text = |wrong: &str, right: &str| {
        format!(
            "agreement of the ranks failed in train at epoch 0 step 0: rank {wrong}, and rank 0 {right}; \
             make the same calls, with the same seed, on all"
        )
    };
    assert_eq!(calls, vec![text("2 calls `evaluate` with the seed 0", "`train` with the seed 0"); 3]);
    let seeds = errors(&|_, run| run.train(&loader(1), Train::epochs(1)).map(drop), [5, 6, 5]);
    assert_eq!(seeds, vec![text("1 calls `train` with the seed 6", "`train` with the seed 5"); 3]);
}
