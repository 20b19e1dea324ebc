//! Recomputed activations give the same gradients, to the bit, and leave nothing behind: no draw, no
//! statistic, no closure.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use regimen::data::each_epoch;
use regimen::engine::Precision;
use regimen::run::Train;
use regimen::{AutoUnit, BoxError, Loss, Run, Step, Task};
use regimen_torch::tch::nn::{self, Module, ModuleT, Path, VarStore};
use regimen_torch::tch::{self, Device, Kind, Tensor, set_num_threads};
use regimen_torch::{Adam, Recomputed, Torch, checkpoint_activations, initialize};

/// libtorch's generator is one for the whole process, and the number of threads changes sums.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    set_num_threads(1);
    guard
}

#[derive(Debug)]
struct Block {
    linear: nn::Linear,
    norm: nn::BatchNorm,
}

impl Block {
    fn new(path: Path<'_>) -> Self {
        let linear = nn::linear(&path / "linear", 6, 6, Default::default());
        Block { linear, norm: nn::batch_norm1d(&path / "norm", 6, Default::default()) }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        self.norm.forward_t(&self.linear.forward(x).tanh(), true).dropout(0.3, true).sigmoid()
    }
}

/// Blocks that keep their activations or recompute them.
struct Blocks {
    blocks: [Recomputed<Block>; 3],
    keeps: bool,
}

impl Blocks {
    fn new(root: &Path<'_>, keeps: bool) -> Self {
        Blocks { blocks: ["a", "b", "c"].map(|name| Recomputed::new(Block::new(root / name))), keeps }
    }

    fn run(&self, i: usize, x: &Tensor) -> Tensor {
        if self.keeps {
            self.blocks[i].lock().forward(x)
        } else {
            self.blocks[i].forward(x, Block::forward).unwrap()
        }
    }

    /// The first two as one, each of which may be computed again by itself.
    fn nested(&self, x: &Tensor) -> Tensor {
        let [a, b, _] = self.blocks.clone();
        let keeps = self.keeps;
        let both = move |x: &Tensor| {
            let inner = Blocks { blocks: [a.clone(), b.clone(), a.clone()], keeps };
            (inner.run(1, &inner.run(0, x)) * x).exp()
        };
        if self.keeps { both(x) } else { checkpoint_activations(x, both).unwrap() }
    }
}

fn input() -> Tensor {
    Tensor::arange(24, (Kind::Float, Device::Cpu)).view([4, 6]).sin()
}

/// The effects of two backward passes: gradients, statistics, and the next draw.
fn trace(keeps: bool, x: &Tensor, forward: impl Fn(&Blocks, &Tensor) -> Tensor) -> Vec<(String, Tensor)> {
    let x = x.detach().set_requires_grad(x.requires_grad());
    let (vars, blocks) = initialize(3, Device::Cpu, |root| Blocks::new(root, keeps));
    let mut all = Vec::new();
    for _ in 0..2 {
        let y = forward(&blocks, &x);
        (&y * &y).sum(Kind::Float).backward();
        all.push(("draw".to_owned(), Tensor::rand([8], (Kind::Float, Device::Cpu))));
        all.push(("output".to_owned(), y.detach()));
    }
    all.push(("x".to_owned(), x.grad()));
    for (name, variable) in vars.variables() {
        all.push((name.clone(), if variable.requires_grad() { variable.grad() } else { variable.copy() }));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    let numbers: Vec<f32> = tensor.flatten(0, -1).try_into().unwrap();
    numbers.into_iter().map(f32::to_bits).collect()
}

#[track_caller]
fn check(forward: impl Fn(&Blocks, &Tensor) -> Tensor) {
    let _alone = alone();
    // The first layer's input needs no gradient, and an inner one's is no leaf.
    for (name, x) in [("a leaf", input().set_requires_grad(true)), ("data", input())] {
        let [kept, again] = [true, false].map(|keeps| trace(keeps, &x, &forward));
        assert_eq!(kept.len(), again.len());
        for ((key, expected), (_, found)) in kept.iter().zip(&again) {
            assert_eq!(expected.defined(), found.defined(), "{key} of {name}");
            if expected.defined() {
                assert_eq!(bits(expected), bits(found), "{key} of {name}");
            }
        }
    }
}

#[test]
fn a_block_and_several_in_a_row_are_as_without() {
    check(|blocks, x| blocks.run(0, x));
    check(|blocks, x| (0..3).fold(x.shallow_clone(), |x, i| blocks.run(i, &x)));
}

#[test]
fn a_residual_is_as_without() {
    check(|blocks, x| (0..3).fold(x * 2.0, |x, i| &x + blocks.run(i, &x)));
}

#[test]
fn the_same_block_several_times_inside_and_outside_is_as_without() {
    check(|blocks, x| {
        let x = blocks.run(0, &blocks.run(0, &blocks.run(0, x)));
        let own = blocks.blocks[0].lock().linear.forward(&x);
        own.tanh() + blocks.run(1, &own)
    });
}

#[test]
fn blocks_in_a_block_are_as_without() {
    check(|blocks, x| blocks.run(2, &blocks.nested(&blocks.nested(x))));
}

#[test]
fn gradients_of_some_inputs_and_second_derivatives_are_as_without() {
    let _alone = alone();
    let second = |keeps| {
        let (vars, blocks) = initialize(3, Device::Cpu, |root| Blocks::new(root, keeps));
        let x = input().set_requires_grad(true);
        let y = blocks.run(2, &blocks.nested(&x)).sum(Kind::Float);
        let first = Tensor::f_run_backward(&[&y], &[&x], true, true).unwrap().remove(0);
        (first.square().sum(Kind::Float) + y).backward();
        let mut all = vec![bits(&first), bits(&x.grad())];
        let mut names: Vec<_> = vars.variables().into_iter().collect();
        names.sort_by(|a, b| a.0.cmp(&b.0));
        all.extend(names.iter().filter(|(_, v)| v.requires_grad()).map(|(_, v)| bits(&v.grad())));
        all
    };
    assert_eq!(second(true), second(false));
}

#[test]
fn several_outputs_of_which_some_are_used_are_as_without() {
    check(|blocks, x| {
        let [a, b, _] = blocks.blocks.clone();
        let pair = move |x: &Tensor| {
            let y = a.lock().forward(x);
            (b.lock().forward(&y), y.exp())
        };
        let (y, unused) = if blocks.keeps { pair(x) } else { checkpoint_activations(x, pair).unwrap() };
        drop(unused);
        y
    });
}

#[test]
fn a_graph_goes_to_another_thread_and_through_backward_once_unless_it_is_kept() {
    let _alone = alone();
    let (vars, blocks) = initialize(3, Device::Cpu, |root| Blocks::new(root, false));
    let weight = vars.variables()["a.linear.weight"].shallow_clone();
    let y = blocks.nested(&input()).sum(Kind::Float);
    let run = |keep| Tensor::f_run_backward(&[&y], &[&weight], keep, false).map(|all| bits(&all[0]));
    let first = run(true).unwrap();
    assert_eq!(first, run(true).unwrap());
    let other = thread::scope(|threads| {
        let y = y.shallow_clone();
        threads.spawn(move || y.f_backward()).join().unwrap()
    });
    other.unwrap();
    assert_eq!(bits(&weight.grad()), first);
    let error = y.f_backward().unwrap_err().to_string();
    assert!(error.contains("Trying to backward through the graph a second time"), "{error}");
}

/// Calls of a closure, and whether it still lives.
struct Watched {
    calls: Arc<AtomicUsize>,
    weight: Tensor,
}

impl Watched {
    fn new() -> Self {
        let weight = Tensor::full([6, 6], 0.1, (Kind::Float, Device::Cpu)).set_requires_grad(true);
        Watched { calls: Arc::default(), weight }
    }

    /// `before` sees how often it has been called.
    fn closure(
        &self,
        before: impl Fn(usize) + Send + 'static,
    ) -> impl Fn(&Tensor) -> Tensor + Send + 'static {
        let (calls, weight) = (Arc::clone(&self.calls), self.weight.shallow_clone());
        move |x| {
            before(calls.fetch_add(1, Ordering::Relaxed));
            x.matmul(&weight).tanh().matmul(&weight).tanh()
        }
    }

    fn seen(&self) -> (usize, usize) {
        (self.calls.load(Ordering::Relaxed), Arc::strong_count(&self.calls) - 1)
    }
}

#[test]
fn a_closure_lives_as_long_as_something_may_call_it() {
    let _alone = alone();
    let run = |watched: &Watched| checkpoint_activations(&input(), watched.closure(|_| ())).unwrap();
    let watched = Watched::new();
    let y = run(&watched);
    assert_eq!(watched.seen(), (1, 1));
    y.sum(Kind::Float).backward();
    assert_eq!(watched.seen(), (2, 0), "after the backward pass");
    let y = run(&watched);
    drop(y);
    assert_eq!(watched.seen(), (3, 0), "after a graph that was dropped");
    assert!(!tch::no_grad(|| run(&watched)).requires_grad());
    assert_eq!(watched.seen(), (4, 0), "where nothing is recorded");
    let frozen = Watched { weight: watched.weight.detach(), ..Watched::new() };
    assert!(!run(&frozen).requires_grad());
    assert_eq!(frozen.seen(), (1, 0), "where nothing needs a gradient");
    let error = checkpoint_activations(&Tensor::new(), watched.closure(|_| ())).unwrap_err();
    assert_eq!((error.to_string().lines().count(), watched.seen()), (1, (4, 0)));
}

fn text(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| payload.downcast_ref::<&str>().unwrap().to_string())
}

#[test]
fn a_panic_in_the_forward_pass_goes_on_and_leaves_nothing_behind() {
    let _alone = alone();
    let watched = Watched::new();
    let panicking = || {
        let calls = Arc::clone(&watched.calls);
        let inner = move || -> Tensor {
            calls.fetch_add(1, Ordering::Relaxed);
            tch::no_grad(|| panic!("on {}", "purpose"))
        };
        let inner = Arc::new(inner);
        checkpoint_activations(&input(), move |x| {
            let inner = Arc::clone(&inner);
            checkpoint_activations(&x.exp(), move |_| inner()).unwrap()
        })
    };
    let payload = catch_unwind(AssertUnwindSafe(panicking)).unwrap_err();
    assert_eq!(text(&*payload), "on purpose");
    assert_eq!(watched.seen(), (1, 0));
    // What is computed next is recorded, and kept.
    let mut x = input().set_requires_grad(true);
    let y = x.exp();
    y.sum(Kind::Float).backward();
    assert_eq!(bits(&x.grad()), bits(&y.detach()));
    x.zero_grad();
    // libtorch's own words are one line.
    let payload = catch_unwind(|| checkpoint_activations(&input(), |x| x.matmul(x))).unwrap_err();
    assert_eq!(text(&*payload), "mat1 and mat2 shapes cannot be multiplied (4x6 and 4x6)");
}

#[test]
fn a_panic_in_the_backward_pass_is_its_error_and_leaves_nothing_behind() {
    let _alone = alone();
    let draw = || bits(&Tensor::rand([4], (Kind::Float, Device::Cpu)));
    let watched = Watched::new();
    let closure = watched.closure(|calls| assert!(calls != 1, "on {}\nin two lines", "purpose"));
    let y = checkpoint_activations(&input(), closure).unwrap().sum(Kind::Float);
    tch::manual_seed(5);
    let error = y.f_backward().unwrap_err().to_string();
    assert_eq!(error, "Internal torch error: on purpose\nin two lines");
    let drawn = draw();
    tch::manual_seed(5);
    assert_eq!(drawn, draw());
    assert_eq!(watched.seen(), (2, 1));
    assert!((&watched.weight * 2.0).requires_grad());
    drop(y);
    assert_eq!(watched.seen(), (2, 0));
    // The process goes on.
    let y = checkpoint_activations(&input(), watched.closure(|_| ())).unwrap();
    y.sum(Kind::Float).backward();
    assert_eq!(watched.seen(), (4, 0));
}

#[track_caller]
fn refused(y: &Tensor, part: &str) {
    let error = y.sum(Kind::Float).f_backward().unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

#[test]
fn what_is_not_the_same_in_the_backward_pass_is_an_error() {
    let _alone = alone();
    let mut watched = Watched::new();
    let y = checkpoint_activations(&input(), watched.closure(|_| ())).unwrap();
    let _ = tch::no_grad(|| watched.weight.fill_(2.0));
    refused(&y, "a parameter of shape [6, 6] was changed between the forward and the backward pass");

    let mut x = input();
    let y = checkpoint_activations(&x, watched.closure(|_| ())).unwrap();
    let _ = x.fill_(2.0);
    refused(&y, "modified by an inplace operation");

    let weight = watched.weight.shallow_clone();
    let y = checkpoint_activations(&input(), move |x| {
        let mut y = (x * &weight.sum(Kind::Float)).exp();
        let _ = y.fill_(1.0);
        y
    });
    refused(&y.unwrap(), "changed in place later on");

    for (kept, again) in [(1, 2), (2, 1)] {
        let (calls, weight) = (Cell::new(0), watched.weight.shallow_clone());
        let y = checkpoint_activations(&input(), move |x| {
            let n = if calls.replace(1) == 0 { kept } else { again };
            (0..n).fold(x.matmul(&weight), |x, _| x.tanh())
        });
        let text =
            format!("the forward pass kept {} tensors, computed again it kept {}", kept + 1, again + 1);
        refused(&y.unwrap(), &text);
    }

    let (calls, weight) = (Cell::new(0), watched.weight.shallow_clone());
    let y = checkpoint_activations(&input(), move |x| {
        let rows = 4 - calls.replace(1);
        x.narrow(0, 0, rows).matmul(&weight).tanh()
    });
    refused(&y.unwrap(), "the forward pass kept Float[4, 6], computed again it kept Float[3, 6]");
}

#[test]
fn a_backward_pass_within_is_an_error() {
    let _alone = alone();
    let watched = Watched::new();
    let inner = watched.closure(|_| ());
    let run = move |x: &Tensor| inner(x).sum(Kind::Float).f_backward().unwrap_err().to_string();
    let error = checkpoint_activations(&input(), run).unwrap();
    assert!(error.contains("a backward pass in the middle of a region"), "{error}");
    assert!(!watched.weight.grad().defined());
}

/// The blocks, trained to reproduce their input.
struct Same;

impl Task<Torch<Blocks>> for Same {
    type Batch = Tensor;
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        blocks: &Blocks,
        x: &Tensor,
    ) -> Result<(Loss<Tensor>, ()), BoxError> {
        let y = blocks.run(2, &blocks.nested(x));
        Ok((Loss::mean((y - x).square().mean(Kind::Float), x.size()[0] as f64), ()))
    }
}

fn trained(keeps: bool, precision: Precision) -> VarStore {
    let (vars, blocks) = initialize(3, Device::Cpu, |root| Blocks::new(root, keeps));
    let engine = Torch::new(vars, blocks, Adam::new()).unwrap();
    let mut unit = AutoUnit::new(engine, Same).learning_rate(0.05).accumulate(2).precision(precision);
    let data = each_epoch(|_| (1..9).map(|i| input() * f64::from(i)));
    Run::new(&mut unit).train(&data, Train::epochs(2)).unwrap();
    unit.into_parts().0.into_parts().0
}

#[test]
fn a_training_goes_the_same_way() {
    let _alone = alone();
    for precision in [Precision::F32, Precision::BF16] {
        let [kept, again] = [true, false].map(|keeps| trained(keeps, precision).variables());
        for (name, tensor) in &kept {
            assert_eq!(bits(tensor), bits(&again[name]), "{name} in {precision:?}");
        }
        assert_eq!(kept.len(), again.len());
    }
}
