//! The toy engine as a fixture.

use std::ops::Range;

use regimen::engine::{Mode, Precision, any_of};
use regimen::{BoxError, Loss};
use regimen_test::engine_suite::EngineFixture;
use regimen_test::resume_matrix::{Interface, ResumeFixture};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};

/// A perceptron that learns a sine, in the test of that name.
#[derive(Clone)]
pub(crate) struct Toy {
    pub(crate) test: &'static str,
    pub(crate) precision: Precision,
    /// Losses and norms stay on the device until somebody looks.
    pub(crate) reads_later: bool,
    pub(crate) interface: Interface,
    /// Each rank has a share of the optimizer.
    pub(crate) shards_optimizer: bool,
}

/// In single precision.
pub(crate) const TOY: Toy = toy("resume_matrix::the_toy_engine_resumes_to_the_bit");

/// The same in the test of that name.
pub(crate) const fn toy(test: &'static str) -> Toy {
    let (precision, interface) = (Precision::F32, Interface::ByUnit);
    Toy { test, precision, reads_later: false, interface, shards_optimizer: false }
}

impl Toy {
    fn engine(&self, make: impl FnOnce(&mut ToyVars) -> ToyMlp) -> ToyEngine<ToyMlp> {
        manual_seed(1);
        let mut vars = ToyVars::new();
        let module = make(&mut vars);
        let engine = ToyEngine::new(vars, module, ToyOptimizer::adam_w(0.01));
        let engine = engine.group("output", any_of(["output.*"]));
        if self.reads_later { engine.reads_later() } else { engine }
    }
}

impl EngineFixture for Toy {
    type Engine = ToyEngine<ToyMlp>;
    type Batch = (ToyArray, ToyArray);

    fn plain(&self) -> Self::Engine {
        self.engine(|vars| ToyMlp::plain(vars, [1, 8, 1]))
    }

    fn regularized(&self) -> Self::Engine {
        self.engine(|vars| ToyMlp::regularized(vars, [1, 8, 1], 0.3))
    }

    fn batch(&self, rows: Range<u64>) -> Self::Batch {
        let x: Vec<f64> = rows.map(|row| row as f64 / 8.0).collect();
        let y: Vec<f64> = x.iter().map(|x| x.sin()).collect();
        (ToyArray::new(&[x.len(), 1], &x), ToyArray::new(&[y.len(), 1], &y))
    }

    fn misshapen(&self) -> Self::Batch {
        (ToyArray::new(&[1, 2], &[0.0, 0.0]), ToyArray::new(&[1, 1], &[0.0]))
    }

    fn loss(&self, _: Mode, mlp: &ToyMlp, (x, y): &Self::Batch) -> Result<Loss<ToyArray>, BoxError> {
        Ok(Loss::mean(mlp.forward(x).mean_squared_error(y), x.shape()[0] as f64))
    }

    fn tolerance(&self) -> f64 {
        1e-13
    }

    fn test_name(&self) -> &str {
        self.test
    }
}

impl ResumeFixture for Toy {
    fn interface(&self) -> Interface {
        self.interface
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn shards_optimizer(&self) -> bool {
        self.shards_optimizer
    }
}
