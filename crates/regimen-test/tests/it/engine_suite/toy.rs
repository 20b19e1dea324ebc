//! The toy engine as a fixture.

use std::ops::Range;

use regimen_core::engine::Mode;
use regimen_core::random::Random;
use regimen_core::{BoxError, Loss};
use regimen_test::engine_suite::EngineFixture;
use regimen_test::toy::{
    ToyArray, ToyDevice, ToyEngine, ToyLinear, ToyMlp, ToyOptimizer, ToyVars, host_reads, manual_seed,
};

/// A perceptron on a device of its own, with the biases in a group of their own.
pub(crate) struct Toy;

const SIZES: [usize; 3] = [3, 8, 2];

impl Toy {
    fn engine(make: impl FnOnce(&mut ToyVars) -> ToyMlp) -> ToyEngine<ToyMlp> {
        manual_seed(1);
        let mut vars = ToyVars::on(ToyDevice(1));
        let module = make(&mut vars);
        Toy::engine_with(ToyOptimizer::adam_w(0.01), vars, module)
    }

    fn engine_with(optimizer: ToyOptimizer, vars: ToyVars, module: ToyMlp) -> ToyEngine<ToyMlp> {
        ToyEngine::new(vars, module, optimizer).group("biases", |name| name.ends_with("bias"))
    }
}

impl EngineFixture for Toy {
    type Engine = ToyEngine<ToyMlp>;
    type Batch = (ToyArray, Vec<usize>);

    fn plain(&self) -> Self::Engine {
        Toy::engine(|vars| ToyMlp::plain(vars, SIZES))
    }

    fn regularized(&self) -> Self::Engine {
        Toy::engine(|vars| ToyMlp::regularized(vars, SIZES, 0.3))
    }

    fn with_momentum(&self) -> Option<Self::Engine> {
        manual_seed(1);
        let mut vars = ToyVars::on(ToyDevice(1));
        let mlp = ToyMlp::plain(&mut vars, SIZES);
        Some(Toy::engine_with(ToyOptimizer::sgd(0.7), vars, mlp))
    }

    fn reading_later(&self, engine: Self::Engine) -> Option<Self::Engine> {
        Some(engine.reads_later())
    }

    fn host_reads() -> u64 {
        host_reads()
    }

    fn with_unused_part(&self) -> Option<(Self::Engine, Vec<&'static str>)> {
        let engine = Toy::engine(|vars| {
            ToyLinear::new(vars, "unused", 3, 2);
            ToyMlp::plain(vars, SIZES)
        });
        Some((engine, vec!["unused.bias", "unused.weight"]))
    }

    fn with_integer_buffer(&self) -> Option<Self::Engine> {
        Some(Toy::engine(|vars| {
            vars.integer_buffer("centre.batches", &[2]);
            ToyMlp::regularized(vars, SIZES, 0.3)
        }))
    }

    fn batch(&self, rows: Range<u64>) -> Self::Batch {
        let row = |row: u64| {
            let mut random = Random::new(row);
            [random.normal(), random.normal(), random.normal()]
        };
        let x: Vec<f64> = rows.clone().flat_map(row).collect();
        let labels: Vec<usize> = x.chunks_exact(3).map(|x| usize::from(x[0] * x[1] < x[2])).collect();
        (ToyArray::new(&[labels.len(), 3], &x), labels)
    }

    fn misshapen(&self) -> Self::Batch {
        (ToyArray::new(&[1, 2], &[0.0, 0.0]), vec![0])
    }

    fn loss(&self, _: Mode, mlp: &ToyMlp, (x, labels): &Self::Batch) -> Result<Loss<ToyArray>, BoxError> {
        Ok(Loss::mean(mlp.forward(x).cross_entropy(labels), labels.len() as f64))
    }

    fn unit_dimension(&self, _parameter: &str) -> usize {
        1
    }

    fn tolerance(&self) -> f64 {
        1e-13
    }

    fn test_name(&self) -> &str {
        "engine_suite::the_toy_engine_passes"
    }
}
