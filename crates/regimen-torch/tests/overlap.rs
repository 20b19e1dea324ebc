//! Gradients that are exchanged while the backward pass computes others.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use regimen_core::auto_unit::{NonFinite, Thaw};
use regimen_core::engine::{Bucket, Engine, Mode, Part, Precision};
use regimen_core::peers::{PeerLost, Peers};
use regimen_core::run::Train;
use regimen_core::{AutoUnit, BoxError, Loss, Run, Step, Task};
use regimen_test::peers::{Threads, on_ranks};
use regimen_torch::tch::nn::{self, Init, Module};
use regimen_torch::tch::{Device, Kind, Tensor, no_grad};
use regimen_torch::{Adam, Torch, initialize};

/// Two layers, a parameter that the loss never uses, and one that it uses on the first rank alone.
struct Layers {
    first: nn::Linear,
    at_times: Tensor,
    last: nn::Linear,
}

/// The square of the outputs. A batch is the weight of the loss and the input. NaN is one for which the update is skipped.
struct Squares {
    is_first: bool,
    /// The step whose backward pass fails between the two layers.
    fails: Option<u64>,
}

impl Task<Torch<Layers>> for Squares {
    type Batch = (f64, f64);
    type Output = ();

    fn compute_loss(
        &mut self,
        step: &Step,
        module: &Layers,
        &(weight, input): &(f64, f64),
    ) -> Result<(Loss<Tensor>, ()), BoxError> {
        let hidden = module.first.forward(&Tensor::full([3, 4], input, (Kind::Float, Device::Cpu))).tanh();
        let output = module.last.forward(&hidden);
        if self.fails == Some(step.index) {
            // The gradient of the layer before needs its values.
            let _ = no_grad(|| hidden.shallow_clone().detach().fill_(0.0));
        }
        let own = module.at_times.square().mean(Kind::Float);
        let loss = output.square().mean(Kind::Float);
        Ok((Loss::mean(if self.is_first { loss + own } else { loss }, weight), ()))
    }
}

type Unit = AutoUnit<Torch<Layers>, Squares>;

fn unit(is_first: bool, fails: Option<u64>) -> Unit {
    let (vars, module) = initialize(7, Device::Cpu, |root| {
        let first = nn::linear(root / "first", 4, 5, Default::default());
        let at_times = root.var("at_times", &[3], Init::Const(0.5));
        let _ = root.var("unused", &[2], Init::Const(0.5));
        Layers { first, at_times, last: nn::linear(root / "last", 5, 2, Default::default()) }
    });
    // The ranks are threads, and libtorch has one generator for all: random weights would differ from run to run.
    for mut variable in vars.trainable_variables() {
        let values = Tensor::arange(variable.numel() as i64, (Kind::Float, Device::Cpu)).sin();
        no_grad(|| variable.copy_(&values.reshape(variable.size())));
    }
    let engine = Torch::new(vars, module, Adam::new()).unwrap();
    let engine = engine.group("first", |name| name.starts_with("first"), Adam::new()).unwrap();
    AutoUnit::new(engine, Squares { is_first, fails }).learning_rate(0.1)
}

/// Those of a rank, among them one for which the update is skipped, a rank without a loss, and a step without any.
fn batches(rank: u64) -> Vec<(f64, f64)> {
    let batch = |i: u64| {
        let input = if (i, rank) == (7, 2) { f64::NAN } else { (i * 3 + rank) as f64 / 10.0 };
        let weight = if (i, rank) == (4, 1) || i == 10 { 0.0 } else { (rank + 1) as f64 };
        (weight, input)
    };
    (0..12).map(batch).collect()
}

/// The weights of each rank after training on 3.
fn weights(set: &(dyn Fn(Unit) -> Unit + Sync), overlap: bool) -> Vec<Vec<u8>> {
    let ranks = on_ranks(Threads::of(3, Duration::from_secs(60)), |peers| {
        let rank = peers.rank().index;
        let mut unit = set(unit(rank == 0, None).non_finite(NonFinite::Skip)).overlap_exchange(overlap);
        Run::new(&mut unit).peers(peers).train(&batches(rank), Train::epochs(2)).unwrap();
        let state = unit.engine().state(Part::Module).unwrap();
        state.iter().flat_map(|(_, array)| array.bytes().to_vec()).collect::<Vec<u8>>()
    });
    ranks.into_iter().map(Result::unwrap).collect()
}

#[test]
fn the_weights_have_the_same_bits_with_overlap() {
    let settings: [&(dyn Fn(Unit) -> Unit + Sync); 6] = [
        &|unit| unit,
        &|unit| unit.bucket_bytes(1),
        &|unit| unit.accumulate(5).bucket_bytes(60),
        &|unit| unit.bucket_bytes(60).shard_optimizer(true).clip_norm(0.5),
        &|unit| unit.bucket_bytes(1).precision(Precision::F16).accumulate(2),
        &|unit| unit.bucket_bytes(1).freeze("first", Thaw::AtEpoch(1)),
    ];
    for (i, set) in settings.into_iter().enumerate() {
        let (expected, found) = (weights(set, false), weights(set, true));
        assert!(expected.iter().chain(&found).all(|weights| *weights == expected[0]), "{i}");
    }
}

#[test]
fn a_backward_pass_that_fails_on_one_rank_after_a_bucket_ends_the_call_on_all() {
    let ranks = on_ranks(Threads::of(3, Duration::from_secs(60)), |peers| {
        let rank = peers.rank().index;
        let mut unit = unit(rank == 0, (rank == 1).then_some(5)).bucket_bytes(1).overlap_exchange(true);
        let error = Run::new(&mut unit).peers(peers).train(&batches(0), Train::epochs(1)).unwrap_err();
        (format!("{error:#}"), PeerLost::is_in(&error))
    });
    let ranks: Vec<_> = ranks.into_iter().map(Result::unwrap).collect();
    let at = "unit failed in train_step in train at epoch 0 step 5: ";
    let own =
        "one of the variables needed for gradient computation has been modified by an inplace operation";
    assert!(ranks[1].0.starts_with(&format!("{at}{own}")) && !ranks[1].1, "{:?}", ranks[1]);
    for other in [&ranks[0], &ranks[2]] {
        assert!(other.0.starts_with(&format!("{at}rank 1 failed: {at}{own}")) && other.1, "{other:?}");
    }
}

fn three_weights() -> Torch<[Tensor; 2]> {
    let (vars, used) = initialize(1, Device::Cpu, |root| {
        let first = root.var("first", &[2], Init::Const(0.5));
        let _ = root.var("unused", &[3], Init::Const(2.0));
        [first, root.var("last", &[5], Init::Const(0.5))]
    });
    Torch::new(vars, used, Adam::new()).unwrap()
}

fn loss(engine: &mut Torch<[Tensor; 2]>) -> Tensor {
    engine.with_module(Mode::Train, |[first, last]| {
        (first * first).sum(Kind::Float) + (last * last).sum(Kind::Float) * 3.0
    })
}

#[test]
fn the_last_bucket_is_exchanged_first_and_by_another_thread_and_the_flags_follow() {
    let mut engine = three_weights();
    let loss = loss(&mut engine);
    let calls = Mutex::new(Vec::new());
    let caller = std::thread::current().id();
    let exchange = &mut |bucket: Bucket<'_>| {
        let Bucket::F32(flat) = bucket else { return Err("single precision".into()) };
        calls.lock().unwrap().push((flat.to_vec(), std::thread::current().id() == caller));
        Ok(())
    };
    engine.backward_and_exchange(Some(&loss), Some(2.0), Some(0.5), 1, exchange).unwrap();
    let expected =
        [(vec![3.0; 5], false), (vec![0.0; 3], false), (vec![1.0; 2], false), (vec![1.0, 0.0, 1.0], true)];
    assert_eq!(*calls.lock().unwrap(), expected);
    // No rank holds a gradient of the unused one.
    let gradients = engine.state(Part::Gradients).unwrap();
    let names: Vec<&str> = gradients.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["first", "last"]);
    assert_eq!(gradients.array("last").unwrap().to_vec::<f32>().unwrap(), [3.0; 5]);
    assert_eq!(engine.unreached().unwrap(), ["unused"]);
}

#[test]
fn a_failed_exchange_and_a_panic_are_errors_and_leave_no_hook() {
    let check = |exchange: fn() -> Result<(), BoxError>, expected: &str| {
        let mut engine = three_weights();
        let own = loss(&mut engine);
        let failed = engine.backward_and_exchange(Some(&own), None, None, 1, &mut |_| exchange());
        assert_eq!(failed.unwrap_err().to_string(), expected);
        let own = loss(&mut engine);
        engine.backward(&own, None).unwrap();
    };
    check(|| Err("the link is down".into()), "the link is down");
    check(|| std::panic::resume_unwind(Box::new("the link is gone")), "the link is gone");
}

#[test]
fn a_rank_without_a_loss_takes_part_with_zeros() {
    let lengths = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&lengths);
    let exchange = &mut move |bucket: Bucket<'_>| {
        let Bucket::F32(flat) = bucket else { return Err("single precision".into()) };
        told.lock().unwrap().push(flat.len());
        flat.fill(1.0);
        Ok(())
    };
    let mut engine = three_weights();
    engine.backward_and_exchange(None, None, Some(0.5), 1, exchange).unwrap();
    assert_eq!(*lengths.lock().unwrap(), [5, 3, 2, 3]);
    assert_eq!(engine.state(Part::Gradients).unwrap().iter().count(), 3);
    assert_eq!(engine.unreached().unwrap(), ["first", "last", "unused"]);
}
