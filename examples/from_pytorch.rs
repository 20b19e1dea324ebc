//! Weights from PyTorch: a file that `safetensors.torch.save_file(model.state_dict(), path)` wrote,
//! in a module of Burn's. PyTorch keeps the weight of a linear layer as `[outputs, inputs]`, Burn as
//! `[inputs, outputs]`; names are those of `nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))`.

use std::path::Path;

use regimen::BoxError;
use regimen::checkpoint::safetensors::load_file;
use regimen::engine::{Engine, Part};
use regimen::saved::{Array, StateDict};
use regimen_burn::burn::module::Module;
use regimen_burn::burn::nn::{Linear, LinearConfig, Relu};
use regimen_burn::burn::optim::SgdConfig;
use regimen_burn::burn::tensor::Tensor;
use regimen_burn::{Burn, burn, device, initialize};

#[derive(Module, Debug)]
struct Network {
    hidden: Linear,
    output: Linear,
}

/// The output of PyTorch, exact in single precision.
const EXPECTED: [f32; 2] = [-0.625, 0.0625];

/// The arrays of PyTorch under the names of `Network`, weights transposed.
fn translated(from: &StateDict) -> Result<StateDict, BoxError> {
    let mut to = StateDict::new();
    for (theirs, ours) in [("0", "hidden"), ("2", "output")] {
        to.insert(format!("{ours}.bias"), from.array(&format!("{theirs}.bias"))?.clone())?;
        to.insert(format!("{ours}.weight"), transposed(from.array(&format!("{theirs}.weight"))?)?)?;
    }
    Ok(to)
}

fn transposed(matrix: &Array) -> Result<Array, BoxError> {
    let &[rows, columns] = matrix.shape() else { return Err(format!("{matrix:?} is no matrix").into()) };
    let numbers = matrix.to_vec::<f32>()?;
    let numbers = (0..rows * columns).flat_map(|i| numbers[i % rows * columns + i / rows].to_le_bytes());
    Array::new(matrix.dtype(), vec![columns, rows], numbers.collect())
}

fn main() -> Result<(), BoxError> {
    let cpu = device("cpu")?;
    let layer = |inputs, outputs| LinearConfig::new(inputs, outputs).init(&cpu);
    let network = initialize(7, &cpu, |_| Network { hidden: layer(3, 2), output: layer(2, 1) })?;
    let mut engine = Burn::new(network, SgdConfig::new().init(), &cpu)?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/pytorch.safetensors");
    engine.load_state(Part::Module, &translated(&load_file(file)?)?)?;

    // It can be trained from here on; this program compares it with what PyTorch computed.
    let network = engine.into_module().valid();
    let x = Tensor::<2>::from_floats([[1.0, 2.0, 3.0], [4.0, 0.5, 2.0]], &cpu);
    let y = network.output.forward(Relu::new().forward(network.hidden.forward(x))).try_into_data()?;
    let y: Vec<f32> = y.iter().collect();
    println!("the network of PyTorch gives {y:?}");
    if y == EXPECTED { Ok(()) } else { Err(format!("PyTorch gives {EXPECTED:?}").into()) }
}
