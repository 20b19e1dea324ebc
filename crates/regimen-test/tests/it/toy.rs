//! The toy library against finite differences, closed forms, and a second way to compute.

use std::panic::{AssertUnwindSafe, catch_unwind};

use regimen_core::BoxError;
use regimen_core::engine::{Engine, Mode, Part, ToDevice};
use regimen_core::saved::{Array, Dtype, StateDict};
use regimen_test::toy::{ToyArray, ToyDevice, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};

type Operation = fn(&ToyArray, &ToyArray) -> ToyArray;

/// Each is a single number made of `a`, of shape `[3, 4]`, and `b`, of shape `[4, 2]`.
const OPERATIONS: [(&str, Operation); 10] = [
    ("matmul", |a, b| square(&a.matmul(b))),
    ("add", |a, _| square(&a.add(&a.tanh()))),
    ("add a row", |a, b| square(&a.matmul(b).add(&b.mean_row()))),
    ("sub", |a, _| square(&a.sub(&a.mean_row()).sub(&a.scale(0.3)))),
    ("mul", |a, b| square(&a.mul(a).matmul(&b.mul(b)))),
    ("relu", |a, b| a.matmul(b).relu().mean()),
    ("tanh", |a, b| square(&a.matmul(b).tanh())),
    ("dropout", |a, b| {
        manual_seed(3);
        square(&a.dropout(0.4).matmul(b))
    }),
    ("mean squared error", |a, b| a.matmul(b).mean_squared_error(&ToyArray::new(&[3, 2], &[0.5; 6]))),
    ("cross entropy", |a, b| a.matmul(b).cross_entropy(&[1, 0, 1])),
];

fn square(x: &ToyArray) -> ToyArray {
    x.mul(x).mean()
}

#[test]
fn gradients_agree_with_finite_differences() -> Result<(), BoxError> {
    for (name, operation) in OPERATIONS {
        manual_seed(5);
        let mut vars = ToyVars::new();
        let module = (vars.parameter("a", &[3, 4], 1.0), vars.parameter("b", &[4, 2], 1.0));
        let mut engine = ToyEngine::new(vars, module, ToyOptimizer::sgd(0.0));
        let loss = operation(&engine.module().0, &engine.module().1);
        engine.backward(&loss, None)?;
        for (parameter, gradient) in engine.state(Part::Gradients)? {
            for (i, gradient) in gradient.to_vec::<f64>()?.into_iter().enumerate() {
                let mut shifted = |by: f64| -> Result<f64, BoxError> {
                    let before = engine.state(Part::Module)?;
                    let mut values = before.array(&parameter)?.to_vec::<f64>()?;
                    values[i] += by;
                    engine.load_state(Part::Module, &replaced(&before, &parameter, &values)?)?;
                    let loss = operation(&engine.module().0, &engine.module().1);
                    engine.load_state(Part::Module, &before)?;
                    engine.value(&loss)
                };
                let difference = (shifted(1e-6)? - shifted(-1e-6)?) / 2e-6;
                assert!((gradient - difference).abs() < 1e-8, "{name}: {parameter} {gradient} {difference}");
            }
        }
    }
    Ok(())
}

fn replaced(dict: &StateDict, name: &str, values: &[f64]) -> Result<StateDict, BoxError> {
    let mut dict = dict.clone();
    let shape = dict.remove(name)?.shape().to_vec();
    dict.insert(name, array(&shape, values)?)?;
    Ok(dict)
}

fn array(shape: &[usize], values: &[f64]) -> Result<Array, BoxError> {
    Array::new(Dtype::F64, shape.to_vec(), Array::from_slice(values).into_bytes())
}

/// The values of one parameter from 1.0 on, one step per gradient, at the rate 0.1.
fn path(optimizer: ToyOptimizer, gradients: &[f64]) -> Result<Vec<f64>, BoxError> {
    let mut vars = ToyVars::new();
    vars.parameter("p", &[1], 0.0);
    let mut engine = ToyEngine::new(vars, (), optimizer);
    engine.load_state(Part::Module, &replaced(&engine.state(Part::Module)?, "p", &[1.0])?)?;
    let mut path = Vec::new();
    for &gradient in gradients {
        let mut held = StateDict::new();
        held.insert("p", array(&[1], &[gradient])?)?;
        engine.load_state(Part::Gradients, &held)?;
        engine.step(&[0.1])?;
        path.extend(engine.state(Part::Module)?.array("p")?.to_vec::<f64>()?);
    }
    Ok(path)
}

fn assert_near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12);
    assert!(near, "{found:?} is not {expected:?}");
}

#[test]
fn sgd_under_a_constant_gradient_moves_by_a_geometric_sum() -> Result<(), BoxError> {
    let mut expected = Vec::new();
    for n in 1..=8 {
        let moment = |k: i32| (1.0 - 0.9_f64.powi(k)) / (1.0 - 0.9);
        expected.push(1.0 - 0.1 * 2.0 * (1..=n).map(moment).sum::<f64>());
    }
    assert_near(&path(ToyOptimizer::sgd(0.9), &[2.0; 8])?, &expected);
    Ok(())
}

#[test]
fn adam_under_a_constant_gradient_moves_by_the_rate() -> Result<(), BoxError> {
    let expected: Vec<f64> = (1..=8).map(|n| 1.0 - 0.1 * f64::from(n) * 2.0 / (2.0 + 1e-8)).collect();
    assert_near(&path(ToyOptimizer::adam_w(0.0), &[2.0; 8])?, &expected);
    Ok(())
}

#[test]
fn adam_agrees_with_its_moments_written_as_sums() -> Result<(), BoxError> {
    let gradients = [0.3_f64, -1.0, 2.0, 0.0, -0.5, 4.0];
    let (mut p, mut expected) = (1.0, Vec::new());
    for t in 1..=gradients.len() {
        let moment = |beta: f64, power: i32| {
            let terms = gradients[..t].iter().rev().enumerate();
            let sum: f64 = terms.map(|(age, g)| beta.powi(age as i32) * g.powi(power)).sum();
            (1.0 - beta) * sum / (1.0 - beta.powi(t as i32))
        };
        p = p * (1.0 - 0.1 * 0.05) - 0.1 * moment(0.9, 1) / (moment(0.999, 2).sqrt() + 1e-8);
        expected.push(p);
    }
    assert_near(&path(ToyOptimizer::adam_w(0.05), &gradients)?, &expected);
    Ok(())
}

#[test]
fn a_batch_that_was_not_moved_cannot_be_used() -> Result<(), BoxError> {
    let mut vars = ToyVars::on(ToyDevice(1));
    let mlp = ToyMlp::plain(&mut vars, [2, 2, 1]);
    let x = ToyArray::new(&[1, 2], &[1.0, 2.0]);
    let forward = |x: ToyArray| catch_unwind(AssertUnwindSafe(|| mlp.forward(&x))).is_ok();
    assert!(!forward(x.clone()));
    assert!(forward(x.move_to(&ToyDevice(1))?));
    Ok(())
}

#[test]
fn the_running_mean_follows_the_batches_in_training_only() -> Result<(), BoxError> {
    let mut vars = ToyVars::new();
    let mlp = ToyMlp::regularized(&mut vars, [1, 1, 1], 0.0);
    let mut engine = ToyEngine::new(vars, mlp, ToyOptimizer::sgd(0.0));
    let hidden = |engine: &ToyEngine<ToyMlp>, x: f64| -> Result<f64, BoxError> {
        let state = engine.state(Part::Module)?;
        let number = |name: &str| -> Result<f64, BoxError> { Ok(state.array(name)?.to_vec::<f64>()?[0]) };
        Ok((number("hidden.weight")? * x + number("hidden.bias")?).tanh())
    };
    let mean = (hidden(&engine, 1.0)? + hidden(&engine, 5.0)?) / 2.0;
    let x = ToyArray::new(&[2, 1], &[1.0, 5.0]);
    for mode in [Mode::Train, Mode::Eval, Mode::Train] {
        engine.with_module(mode, |mlp| mlp.forward(&x));
    }
    let running = engine.state(Part::Module)?.array("centre.running_mean")?.to_vec::<f64>()?;
    assert_near(&running, &[0.1 * mean + 0.9 * 0.1 * mean]);
    Ok(())
}

#[test]
fn dropout_keeps_the_mean() {
    manual_seed(2);
    let dropped = ToyArray::new(&[10_000], &[1.0; 10_000]).dropout(0.3).values();
    assert!(dropped.iter().all(|&value| value == 0.0 || value == 1.0 / 0.7));
    let mean = dropped.iter().sum::<f64>() / 10_000.0;
    assert!((mean - 1.0).abs() < 0.02, "{mean}");
}
