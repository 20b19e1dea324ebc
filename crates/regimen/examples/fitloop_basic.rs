//! A `FitLoop` with stages of its own: a network that tells the three sectors of a circle apart.
#![allow(clippy::print_stdout, reason = "a program talks to a terminal")]

use regimen::BoxError;
use regimen::data::Loader;
use regimen::fitloop::{FitLoop, FitTable, max, record};
use regimen::metric::argmax;
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};

type Sectors = Vec<usize>;

fn main() -> Result<(), BoxError> {
    let (train, valid, test) = (loader(0..300).shuffle(), loader(300..400), loader(400..500));

    let mut trainer = FitLoop::new(
        engine(),
        |net, points: &ToyArray| net.forward(points),
        |logits, sectors: &Sectors| logits.cross_entropy(sectors),
    )
    .train_data(&train)
    .valid_data(&valid)
    .test_data(&test)
    .step(|s| {
        let logits = s.output();
        let right = right(&logits, &s.batch().1);
        Ok((s.loss(&logits)?, record! { running_right: right }))
    })
    .epoch_end(|s| Ok(record! { loss: s.mean("loss")?, accuracy: s.sum("running_right")? / s.size() }))
    .criteria(max("accuracy"))
    .learning_rate(0.01)
    .callback(FitTable::to(std::io::stdout()));
    trainer.fit(4)?;
    trainer.test()?;
    Ok(())
}

fn engine() -> ToyEngine<ToyMlp> {
    manual_seed(7);
    let mut vars = ToyVars::new();
    let net = ToyMlp::plain(&mut vars, [2, 16, 3]);
    ToyEngine::new(vars, net, ToyOptimizer::adam_w(0.01))
}

/// The number of points whose sector has the largest logit.
fn right(logits: &ToyArray, sectors: &Sectors) -> f64 {
    let values = logits.values();
    values.chunks(3).zip(sectors).filter(|(row, sector)| argmax(row) == Some(**sector)).count() as f64
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
