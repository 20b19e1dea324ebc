//! The costs of layers: their operations as PyTorch counts them, and their outputs.
//!
//! `tests/reference/flops.py` prints the numbers of operations.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path as FilePath;
use std::time::{Duration, Instant};

use regimen_core::BoxError;
use regimen_core::engine::{Cost, Engine, Mode, Precision, Work};
use regimen_torch::tch::nn::{self, ConvConfig, Module, Path, VarStore};
use regimen_torch::tch::{Device, Kind, Tensor};
use regimen_torch::{Recomputed, ScriptModule, Sgd, Torch, initialize};

/// Costs of a training step, whose loss is the sum of what `forward` returns.
fn measured<M>(engine: &mut Torch<M>, forward: impl Fn(&M) -> Tensor) -> Vec<Cost> {
    engine.measure(true);
    let loss = engine.with_module(Mode::Train, |module| forward(module).sum(Kind::Float));
    engine.backward(&loss, None).unwrap();
    engine.costs()
}

fn network<M>(new: impl FnOnce(&Path<'_>) -> M) -> Torch<M> {
    let (vars, module) = initialize(7, Device::Cpu, new);
    Torch::new(vars, module, Sgd::new()).unwrap()
}

fn zeros(shape: &[i64]) -> Tensor {
    Tensor::zeros(shape, (Kind::Float, Device::Cpu))
}

fn sums(costs: &[Cost]) -> (u64, u64) {
    let sum = |of: fn(&Cost) -> Work| costs.iter().filter_map(|cost| of(cost).flops).sum();
    (sum(|cost| cost.forward), sum(|cost| cost.backward))
}

#[test]
fn the_operations_are_as_many_as_pytorch_counts() {
    #[track_caller]
    fn check<M>(
        shape: &[i64],
        flops: (u64, u64),
        new: impl FnOnce(&Path<'_>) -> M,
        forward: impl Fn(&M, &Tensor) -> Tensor,
    ) {
        let x = zeros(shape);
        assert_eq!(sums(&measured(&mut network(new), |module| forward(module, &x))), flops);
    }
    let in_turn = |net: &nn::Sequential, x: &Tensor| net.forward(x);
    let linear =
        |root: &Path<'_>, name: &str, from, to| nn::linear(root / name, from, to, Default::default());

    let mlp = |root: &Path<'_>| {
        nn::seq().add(linear(root, "0", 10, 70)).add(linear(root, "1", 70, 5)).add(linear(root, "2", 5, 1))
    };
    check(&[1, 10], (1055, 1410), mlp, in_turn);

    let rows = |root: &Path<'_>| {
        let without = nn::LinearConfig { bias: false, ..Default::default() };
        nn::seq().add(linear(root, "0", 4, 6)).add_fn(|x| x.relu()).add(nn::linear(root / "2", 6, 3, without))
    };
    check(&[2, 5, 4], (420, 600), rows, in_turn);

    let config = |stride, padding, groups| ConvConfig { stride, padding, groups, ..Default::default() };
    let convolution = |root: &Path<'_>| {
        nn::seq().add(nn::conv2d(root / "0", 3, 8, 3, config(2, 1, 1))).add(nn::conv2d(
            root / "1",
            8,
            4,
            3,
            Default::default(),
        ))
    };
    check(&[2, 3, 9, 11], (19_872, 26_784), convolution, in_turn);

    let groups = |root: &Path<'_>| {
        nn::seq().add(nn::conv2d(root / "0", 2, 4, 3, Default::default())).add(nn::conv2d(
            root / "1",
            4,
            6,
            3,
            config(2, 1, 2),
        ))
    };
    check(&[2, 2, 9, 11], (13_392, 17_712), groups, in_turn);

    let one_dimension = |root: &Path<'_>| {
        nn::seq().add(nn::conv1d(root / "0", 2, 3, 3, Default::default())).add(nn::conv1d(
            root / "1",
            3,
            2,
            5,
            ConvConfig { dilation: 2, ..Default::default() },
        ))
    };
    check(&[4, 2, 20], (2496, 3696), one_dimension, in_turn);

    let three_dimensions = |root: &Path<'_>| {
        nn::seq().add(nn::conv3d(root / "0", 1, 2, 3, Default::default())).add(nn::conv3d(
            root / "1",
            2,
            3,
            2,
            Default::default(),
        ))
    };
    check(&[2, 1, 5, 6, 7], (8784, 11_088), three_dimensions, in_turn);

    let transposed = |root: &Path<'_>| {
        let stride = nn::ConvTransposeConfig { stride: 2, ..Default::default() };
        nn::seq().add(nn::conv2d(root / "0", 2, 3, 3, Default::default())).add(nn::conv_transpose2d(
            root / "1",
            3,
            2,
            3,
            stride,
        ))
    };
    check(&[2, 2, 6, 7], (4320, 6480), transposed, in_turn);

    let attention = |root: &Path<'_>| ["q", "k", "v", "out"].map(|name| linear(root, name, 8, 8));
    check(&[2, 5, 8], (2560 + 800, 3200 + 2000), attention, |[q, k, v, out], x| {
        let [q, k, v] = [q, k, v].map(|layer| layer.forward(x).view([2, -1, 4, 2]).transpose(1, 2));
        let y = Tensor::scaled_dot_product_attention(&q, &k, &v, None::<Tensor>, 0.0, false, None, false);
        out.forward(&y.transpose(1, 2).reshape([2, -1, 8]))
    });

    let products = |root: &Path<'_>| ["q", "k"].map(|name| linear(root, name, 8, 8));
    check(&[2, 5, 8], (2080, 2480), products, |[q, k], x| {
        let scores = q.forward(x).matmul(&k.forward(x).transpose(1, 2));
        scores.softmax(-1, Kind::Float).matmul(x)
    });
}

/// A line per cost: layer, output, operations forward and backward.
fn table(costs: &[Cost]) -> String {
    let line = |cost: &Cost| {
        let output = cost.output.as_ref().map_or("-".to_owned(), |output| format!("{output:?}"));
        let [forward, backward] = [cost.forward, cost.backward].map(|work| work.flops.unwrap());
        format!(
            "{} {output} {forward} {backward}\n",
            if cost.layer.is_empty() { "(all)" } else { &cost.layer }
        )
    };
    costs.iter().map(line).collect()
}

struct Block {
    norm: nn::LayerNorm,
    qk: [nn::Linear; 2],
    out: nn::Linear,
}

impl Block {
    fn new(path: Path<'_>) -> Self {
        let linear = |name| nn::linear(&path / "attention" / name, 8, 8, Default::default());
        Block {
            norm: nn::layer_norm(&path / "norm", vec![8], Default::default()),
            qk: ["q", "k"].map(linear),
            out: linear("out"),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let y = self.norm.forward(x);
        let [q, k] = [&self.qk[0], &self.qk[1]].map(|layer| layer.forward(&y));
        // Products of no layer: 400 forward, and the same again.
        let scores = q.matmul(&k.transpose(1, 2)).softmax(-1, Kind::Float);
        x + self.out.forward(&scores.matmul(&y))
    }
}

struct Transformer {
    tokens: nn::Embedding,
    blocks: [Block; 2],
    head: nn::Linear,
}

impl Transformer {
    fn new(root: &Path<'_>) -> Self {
        Transformer {
            tokens: nn::embedding(root / "tokens", 10, 8, Default::default()),
            blocks: ["0", "1"].map(|name| Block::new(root / "blocks" / name)),
            head: nn::linear(root / "head", 8, 3, Default::default()),
        }
    }

    fn forward(&self, tokens: &Tensor) -> Tensor {
        let x = self.tokens.forward(tokens);
        let y = self.head.forward(&self.blocks.iter().fold(x, |x, block| block.forward(&x)));
        // A penalty on weights is no output of theirs.
        y.square().mean(Kind::Float) + self.head.ws.square().sum(Kind::Float)
    }
}

const TRANSFORMER: &str = "\
(all) - 0 0
blocks - 0 0
blocks.0.attention - 800 1600
blocks.0.attention.k [2, 5, 8] 640 1280
blocks.0.attention.out [2, 5, 8] 640 1280
blocks.0.attention.q [2, 5, 8] 640 1280
blocks.0.norm [2, 5, 8] 0 0
blocks.1.attention - 800 1600
blocks.1.attention.k [2, 5, 8] 640 1280
blocks.1.attention.out [2, 5, 8] 640 1280
blocks.1.attention.q [2, 5, 8] 640 1280
blocks.1.norm [2, 5, 8] 0 0
head [2, 5, 3] 240 480
tokens [2, 5, 8] 0 0
";

#[test]
fn an_operation_counts_for_the_layer_whose_parameters_it_reads_or_the_module_around_it() {
    let tokens = Tensor::zeros([2, 5], (Kind::Int64, Device::Cpu));
    let mut engine = network(Transformer::new);
    let costs = |engine: &mut Torch<Transformer>| measured(engine, |module| module.forward(&tokens));
    assert_eq!(table(&costs(&mut engine)), TRANSFORMER);
    engine.set_precision(Precision::BF16).unwrap();
    assert_eq!(table(&costs(&mut engine)), TRANSFORMER, "in bf16");
    engine.set_precision(Precision::F32).unwrap();
    engine.detect_anomaly(true);
    assert_eq!(table(&costs(&mut engine)), TRANSFORMER, "with detection of NaN");
}

#[test]
fn a_module_of_torchscript_has_the_costs_of_its_layers() {
    let vars = VarStore::new(Device::Cpu);
    let file = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/script/network.pt");
    let script = ScriptModule::load(file, &vars.root()).unwrap();
    let mut engine = Torch::new(vars, script, Sgd::new()).unwrap();
    let images = zeros(&[5, 1, 4, 4]);
    // By hand: a convolution of 4 x 9 weights at 5 x 16 places, and products of 5 x 16 x 16 and 5 x 16 x 3.
    // The executor optimizes after two calls.
    for _ in 0..4 {
        let costs = measured(&mut engine, |script| script.forward(&[&images], true).unwrap());
        assert_eq!(
            table(&costs),
            "\
(all) [5, 3] 0 0
conv [5, 4, 4, 4] 2880 2880
gate [5, 16] 1280 2560
head [5, 3] 240 480
norm [5, 4, 4, 4] 0 0
"
        );
    }
}

#[test]
fn operations_that_are_computed_again_count_for_the_backward_pass() {
    let mut engine = network(|root| {
        let linear = |name| nn::linear(root / name, 4, 4, Default::default());
        ["0", "1"].map(|name| Recomputed::new(linear(name)))
    });
    let x = zeros(&[2, 4]);
    let costs = measured(&mut engine, |layers| {
        let x = layers[0].lock().forward(&x);
        layers[1].forward(&x, |layer, x| layer.forward(x).tanh()).unwrap()
    });
    assert_eq!(table(&costs), "(all) - 0 0\n0 [2, 4] 32 32\n1 [2, 4] 32 96\n");
}

#[test]
fn passes_are_added_up_and_only_those_of_training_while_it_is_on_count() {
    let mut engine = network(|root| nn::linear(root / "layer", 4, 2, Default::default()));
    let x = zeros(&[3, 4]);
    assert_eq!(sums(&measured(&mut engine, |layer| layer.forward(&x))), (24, 24));
    let panics = || engine.with_module(Mode::Train, |layer| drop(layer.forward(&zeros(&[3, 5]))));
    catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
    let pass = |engine: &mut Torch<nn::Linear>, mode| {
        engine.with_module(mode, |layer| layer.forward(&x).sum(Kind::Float))
    };
    for mode in [Mode::Eval, Mode::Predict, Mode::Train] {
        let loss = pass(&mut engine, mode);
        if mode == Mode::Train {
            engine.backward(&loss, Some(0.5)).unwrap();
        }
    }
    assert_eq!(sums(&engine.costs()), (48, 48));
    engine.step(&[0.1]).unwrap();
    engine.measure(false);
    let loss = pass(&mut engine, Mode::Train);
    engine.backward(&loss, None).unwrap();
    assert_eq!(engine.costs(), []);
}

#[test]
fn the_time_of_operations_is_within_that_of_the_step() {
    let mut engine = network(|root| nn::linear(root / "layer", 4, 2, Default::default()));
    let x = zeros(&[3, 4]);
    let begun = Instant::now();
    let costs = measured(&mut engine, |layer| layer.forward(&x));
    let took = begun.elapsed();
    let time: Duration = costs.iter().map(|cost| cost.forward.time + cost.backward.time).sum();
    assert!(Duration::ZERO < time && time < took, "{time:?} of {took:?}");
}

#[test]
fn a_parameter_of_no_layer_is_of_the_module_itself() -> Result<(), BoxError> {
    let mut engine = network(|root| root.zeros("weight", &[4, 2]));
    let x = zeros(&[3, 4]);
    let costs = measured(&mut engine, |weight| x.matmul(weight));
    assert_eq!(table(&costs), "(all) [3, 2] 24 24\n");
    Ok(())
}
