//! The shortest program of a `Runner`: a network that tells the three sectors of a circle apart.
#![allow(clippy::print_stdout, reason = "a program talks to a terminal")]

use regimen::callback::ProgressBar;
use regimen::data::Loader;
use regimen::metric::argmax;
use regimen::run::Evaluate;
use regimen::runner::Runner;
use regimen::{BoxError, Fit};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};

type Sectors = Vec<usize>;

fn main() -> Result<(), BoxError> {
    let (train, valid, test) = (loader(0..300).shuffle(), loader(300..400), loader(400..500));

    let mut runner = Runner::new(
        engine(),
        |net, points: &ToyArray| net.forward(points),
        |logits, sectors: &Sectors| logits.cross_entropy(sectors),
    )
    .metric("accuracy", accuracy)
    .learning_rate(0.01)
    .callback(ProgressBar::new());
    println!("{}", runner.fit(&train, &valid, Fit::epochs(20))?);
    println!("{}", runner.evaluate(&test, Evaluate::whole())?);
    Ok(())
}

fn engine() -> ToyEngine<ToyMlp> {
    manual_seed(7);
    let mut vars = ToyVars::new();
    let net = ToyMlp::plain(&mut vars, [2, 16, 3]);
    ToyEngine::new(vars, net, ToyOptimizer::adam_w(0.01))
}

/// The share of points whose sector has the largest logit.
fn accuracy(logits: &ToyArray, sectors: &Sectors) -> f64 {
    let values = logits.values();
    let found = values.chunks(3).zip(sectors).filter(|(row, sector)| argmax(row) == Some(**sector));
    found.count() as f64 / sectors.len() as f64
}

/// Points on a circle with their sectors.
fn loader(numbers: std::ops::Range<usize>) -> Loader<(ToyArray, Sectors)> {
    let batch = |numbers: Vec<usize>| {
        let angles = numbers.iter().map(|&n| n as f64 * 2.4 % std::f64::consts::TAU);
        let points: Vec<f64> = angles.clone().flat_map(|angle| [angle.cos(), angle.sin()]).collect();
        Ok((
            ToyArray::new(&[numbers.len(), 2], &points),
            angles.map(|angle| (angle / 2.1) as usize).collect(),
        ))
    };
    Loader::collate(numbers.collect::<Vec<_>>(), batch).batch_size(20)
}
