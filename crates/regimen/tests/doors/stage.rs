use regimen::fitloop::{FitLoop, record};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp};

fn main() {}

fn step_that_returns_nothing(engine: ToyEngine<ToyMlp>) {
    let trainer = FitLoop::new(engine, |net, x: &ToyArray| net.forward(x), |logits, labels: &Vec<usize>| logits.cross_entropy(labels));
    let _ = trainer.step(|s| {
        let output = s.output();
        s.loss(&output);
    });
}

fn step_without_a_loss(engine: ToyEngine<ToyMlp>) {
    let trainer = FitLoop::new(engine, |net, x: &ToyArray| net.forward(x), |logits, labels: &Vec<usize>| logits.cross_entropy(labels));
    let _ = trainer.step(|s| Ok(record! { running_corr: s.batch_size() }));
}
