//! `AutoUnit::overlap_exchange` over the toy engine, which exchanges after the backward pass: what the ranks agree on
//! before it, and what they have when one of them fails.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use regimen_core::auto_unit::NonFinite;
use regimen_core::data::Rank;
use regimen_core::engine::{Bucket, Engine, Part};
use regimen_core::peers::{PeerLost, Peers};
use regimen_core::run::Train;
use regimen_core::saved::{AppState, Parts, StateDict, Stateful};
use regimen_core::{AutoUnit, BoxError, Loss, Run, State, Step, Task};
use regimen_test::peers::{Threads, on_ranks};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};

const BATCHES: u64 = 12;

/// A batch is the weight of the loss and the input.
struct Squares {
    /// The index of the step whose forward pass fails, and of the one whose backward pass panics.
    fails: [Option<u64>; 2],
}

impl Task<ToyEngine<ToyMlp>> for Squares {
    type Batch = (f64, f64);
    type Output = ();

    fn compute_loss(
        &mut self,
        step: &Step,
        module: &ToyMlp,
        &(weight, input): &(f64, f64),
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        let [forward, backward] = self.fails.map(|at| at == Some(step.index));
        if forward {
            return Err("a batch that cannot be used".into());
        }
        let output = module.forward(&ToyArray::new(&[2, 2], &[input, 1.0, 0.5, -input]));
        let output = if backward {
            output.on_backward(|| std::panic::resume_unwind(Box::new("no memory")))
        } else {
            output
        };
        Ok((Loss::mean(output.mean_squared_error(&ToyArray::new(&[2, 1], &[1.0, -1.0])), weight), ()))
    }
}

type Unit = AutoUnit<ToyEngine<ToyMlp>, Squares>;

fn unit(fails: [Option<u64>; 2]) -> Unit {
    manual_seed(7);
    let mut vars = ToyVars::new();
    let module = ToyMlp::plain(&mut vars, [2, 5, 1]);
    let engine = ToyEngine::new(vars, module, ToyOptimizer::adam_w(0.01));
    AutoUnit::new(engine, Squares { fails }).learning_rate(0.1)
}

/// Those of a rank, among them one for which the update is skipped, a rank without a loss, and a step without any.
fn batches(rank: u64) -> Vec<(f64, f64)> {
    let batch = |i: u64| {
        let input = if (i, rank) == (7, 2) { f64::NAN } else { (i * 3 + rank) as f64 / 10.0 };
        let weight = if (i, rank) == (4, 1) || i == 10 { 0.0 } else { (rank + 1) as f64 };
        (weight, input)
    };
    (0..BATCHES).map(batch).collect()
}

/// Notes the lengths of the sums.
#[derive(Debug)]
struct Noting {
    peers: Arc<dyn Peers>,
    sums: Mutex<Vec<usize>>,
}

impl Peers for Noting {
    fn rank(&self) -> Rank {
        self.peers.rank()
    }

    fn sum(&self, values: Bucket<'_>) -> Result<(), BoxError> {
        let length = match &values {
            Bucket::F32(values) => values.len(),
            Bucket::F64(values) => values.len(),
            _ => 0,
        };
        self.sums.lock().unwrap().push(length);
        self.peers.sum(values)
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

/// The weights after training on 3 ranks, and the lengths of all sums.
fn train(set: &(dyn Fn(Unit) -> Unit + Sync), overlap: bool) -> (Vec<u64>, Vec<usize>) {
    let ranks = on_ranks(Threads::of(3, Duration::from_secs(60)), |peers| {
        let rank = peers.rank().index;
        let noting = Arc::new(Noting { peers, sums: Mutex::default() });
        let mut unit = set(unit([None; 2]).non_finite(NonFinite::Skip)).overlap_exchange(overlap);
        let report =
            Run::new(&mut unit).peers(noting.clone()).train(&batches(rank), Train::epochs(2)).unwrap();
        assert!(0 < unit.skipped() && unit.skipped() < report.train.updates);
        let state = unit.engine().state(Part::Module).unwrap();
        let weights = state.iter().flat_map(|(_, array)| array.to_vec::<f64>().unwrap());
        let sums = noting.sums.lock().unwrap().clone();
        (weights.map(f64::to_bits).collect::<Vec<u64>>(), sums)
    });
    let mut ranks: Vec<_> = ranks.into_iter().map(Result::unwrap).collect();
    assert_eq!(ranks[0], ranks[2]);
    ranks.remove(0)
}

#[test]
fn the_weights_have_the_same_bits_with_overlap_and_the_ranks_make_as_many_calls() {
    let settings: [&(dyn Fn(Unit) -> Unit + Sync); 4] = [
        &|unit| unit,
        &|unit| unit.accumulate(5).bucket_bytes(1),
        &|unit| unit.accumulate(2).shard_optimizer(true).clip_norm(0.5),
        &|unit| unit.after_backward(|_: &mut ToyEngine<ToyMlp>, _: &mut State| Ok(())),
    ];
    for (i, set) in settings.into_iter().enumerate() {
        assert_eq!(train(set, true), train(set, false), "{i}");
    }
}

/// The part of the unit with the window and its gradients.
#[derive(Default)]
struct OwnPart(StateDict);

impl Parts for OwnPart {
    fn part(&mut self, name: &str, part: &mut dyn Stateful) -> Result<(), BoxError> {
        if name == "auto_unit" {
            self.0 = part.state_dict()?;
        }
        Ok(())
    }
}

/// The error of each rank if rank 1 fails in the last step of a window, with the steps that the window has then, and
/// whether there are gradients.
fn failing(fails: [Option<u64>; 2]) -> Vec<(String, bool, u64, bool)> {
    let ranks = on_ranks(Threads::of(3, Duration::from_secs(60)), |peers| {
        let rank = peers.rank().index;
        let mut unit = unit(if rank == 1 { fails } else { [None; 2] }).accumulate(3).overlap_exchange(true);
        let batches: Vec<_> = batches(0);
        let error = Run::new(&mut unit).peers(peers).train(&batches, Train::epochs(2)).unwrap_err();
        let mut own = OwnPart::default();
        unit.visit(&mut own).unwrap();
        let has_gradients = own.0.iter().any(|(name, _)| name.starts_with("gradients."));
        (format!("{error:#}"), PeerLost::is_in(&error), own.0.count("window.steps").unwrap(), has_gradients)
    });
    ranks.into_iter().map(Result::unwrap).collect()
}

#[test]
fn a_rank_that_fails_before_its_backward_pass_leaves_the_window_of_all() {
    let ranks = failing([Some(5), None]);
    let own = "unit failed in train_step in train at epoch 0 step 5: a batch that cannot be used";
    let others = format!("unit failed in train_step in train at epoch 0 step 5: rank 1 failed: {own}");
    let expected = [(&*others, true), (own, false), (&*others, true)];
    assert_eq!(ranks, expected.map(|(error, lost)| (error.to_owned(), lost, 2, true)));
}

#[test]
fn a_rank_that_fails_in_its_backward_pass_ends_the_call_on_all() {
    let ranks = failing([None, Some(5)]);
    let own = "unit panicked in train_step in train at epoch 0 step 5: no memory";
    let others = format!("unit failed in train_step in train at epoch 0 step 5: rank 1 failed: {own}");
    let expected = [(&*others, true), (own, false), (&*others, true)];
    // Their gradients are those of no step.
    assert_eq!(ranks, expected.map(|(error, lost)| (error.to_owned(), lost, 0, false)));
}
