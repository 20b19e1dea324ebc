use regimen::runner::Runner;
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp};

fn main() {}

fn loss_that_is_no_number(engine: ToyEngine<ToyMlp>) {
    let forward = |net: &ToyMlp, x: &ToyArray| net.forward(x);
    let _ = Runner::new(engine, forward, |logits: &ToyArray, labels: &Vec<usize>| logits.shape().len() + labels.len());
}

fn loss_of_another_argument(engine: ToyEngine<ToyMlp>) {
    let forward = |net: &ToyMlp, x: &ToyArray| net.forward(x);
    let _ = Runner::new(engine, forward, |logits: ToyArray, labels: &Vec<usize>| logits.cross_entropy(labels));
}
