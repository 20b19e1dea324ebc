use regimen::runner::Runner;
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp};

fn main() {}

fn metric_of_another_output(engine: ToyEngine<ToyMlp>) {
    let runner = Runner::new(engine, |net, x: &ToyArray| net.forward(x), |logits, labels: &Vec<usize>| logits.cross_entropy(labels));
    let _ = runner.metric("accuracy", |classes: &Vec<usize>, labels| f64::from(u8::from(classes == labels)));
}

fn metric_that_is_no_number(engine: ToyEngine<ToyMlp>) {
    let runner = Runner::new(engine, |net, x: &ToyArray| net.forward(x), |logits, labels: &Vec<usize>| logits.cross_entropy(labels));
    let _ = runner.metric("rows", |_, labels| labels.len());
}
