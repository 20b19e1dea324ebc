//! PyTorch state dicts load into a model of the same names, and ours into PyTorch.
//!
//! `tests/reference/weights.py` wrote the files read here, and reads those written here.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::path::Path;
use std::process::Command;

use regimen::checkpoint::safetensors::{encode, load_file};
use regimen_core::engine::{Engine, Mode, Part};
use regimen_torch::tch::nn::{self, Module, ModuleT, RNN, RNNConfig};
use regimen_torch::tch::{Device, Tensor, no_grad, set_num_threads};
use regimen_torch::{Sgd, Torch, initialize};

/// Named as the one in weights.py.
#[derive(Debug)]
struct Network {
    conv: nn::Conv2D,
    norm: nn::BatchNorm,
    embedding: nn::Embedding,
    lstm: nn::LSTM,
    layer_norm: nn::LayerNorm,
    head: nn::Linear,
}

impl Network {
    fn new(root: &nn::Path<'_>) -> Self {
        let lstm = RNNConfig { num_layers: 2, bidirectional: true, ..Default::default() };
        Network {
            conv: nn::conv2d(root / "conv", 1, 4, 3, Default::default()),
            norm: nn::batch_norm2d(root / "norm", 4, Default::default()),
            embedding: nn::embedding(root / "embedding", 11, 6, Default::default()),
            lstm: nn::lstm(root / "lstm", 6, 8, lstm),
            layer_norm: nn::layer_norm(root / "layer_norm", vec![32], Default::default()),
            head: nn::linear(root / "head", 32, 3, Default::default()),
        }
    }

    fn logits(&self, images: &Tensor, tokens: &Tensor, is_train: bool) -> Tensor {
        let seen = self.norm.forward_t(&self.conv.forward(images), is_train).relu();
        let seen = seen.mean_dim(-1, false, None).flatten(1, -1);
        let (read, _) = self.lstm.seq(&self.embedding.forward(tokens));
        let both = Tensor::cat(&[seen, read.mean_dim(1, false, None)], 1);
        self.head.forward(&self.layer_norm.forward(&both))
    }
}

/// A model with other initial weights than Python's.
fn engine() -> Torch<Network> {
    set_num_threads(1);
    let (vars, network) = initialize(1, Device::Cpu, Network::new);
    Torch::new(vars, network, Sgd::new()).unwrap()
}

fn reference(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name)
}

/// The images, the tokens and Python's logits of them.
fn inputs_and_logits() -> [Tensor; 3] {
    let io = Tensor::read_safetensors(reference("weights_io.safetensors")).unwrap();
    let named = |wanted| io.iter().find(|(name, _)| name == wanted).unwrap().1.shallow_clone();
    ["images", "tokens", "logits"].map(named)
}

fn logits(engine: &mut Torch<Network>, images: &Tensor, tokens: &Tensor) -> Tensor {
    engine.with_module(Mode::Eval, |network| network.logits(images, tokens, false))
}

/// Distance of two tensors, relative to the largest element of the second.
fn apart(found: &Tensor, expected: &Tensor) -> f64 {
    no_grad(|| (found - expected).abs().max() / expected.abs().max()).double_value(&[])
}

#[test]
fn pythons_weights_give_pythons_logits() {
    let (mut engine, mut weights) = (engine(), load_file(reference("weights.safetensors")).unwrap());
    let [images, tokens, expected] = inputs_and_logits();
    assert!(apart(&logits(&mut engine, &images, &tokens), &expected) > 0.1);
    engine.load_state(Part::Module, &weights).unwrap();
    let apart = apart(&logits(&mut engine, &images, &tokens), &expected);
    assert!(apart <= 1e-6, "the logits are {apart:e} apart");
    // Nothing is lost but the counter that tch has no place for.
    weights.remove("norm.num_batches_tracked").unwrap();
    assert_eq!(engine.state(Part::Module).unwrap(), weights);
}

#[test]
fn python_loads_trained_weights_and_has_the_same_logits() {
    let Some(python) = std::env::var_os("REGIMEN_PEERS_PYTHON") else {
        eprintln!(
            "NOT RUN: python_loads_trained_weights_and_has_the_same_logits needs REGIMEN_PEERS_PYTHON, \
             a Python with torch and safetensors"
        );
        return;
    };
    let mut engine = engine();
    let [images, tokens, _] = inputs_and_logits();
    // With running means and variances that have moved.
    for _ in 0..3 {
        let loss = engine.with_module(Mode::Train, |network| {
            network.logits(&images, &tokens, true).cross_entropy_for_logits(&tokens.select(1, 0).remainder(3))
        });
        engine.backward(&loss, None).unwrap();
        engine.step(&[0.5]).unwrap();
    }
    let logits = logits(&mut engine, &images, &tokens);

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let [weights, io] = ["weights.safetensors", "weights_io.safetensors"].map(|name| folder.join(name));
    encode(&engine.state(Part::Module).unwrap(), &mut File::create(&weights).unwrap()).unwrap();
    let named = [("images", &images), ("tokens", &tokens), ("logits", &logits)];
    Tensor::write_safetensors(&named, &io).unwrap();

    let script = reference("weights.py");
    let output = Command::new(python).arg(script).arg("--check").arg(weights).arg(io).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok");
}
