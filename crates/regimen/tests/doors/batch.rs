use regimen::runner::Runner;
use regimen::{BoxError, Fit};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp};

fn main() {}

fn loader_of_inputs_alone(engine: ToyEngine<ToyMlp>, inputs: Vec<ToyArray>) -> Result<(), BoxError> {
    let mut runner = Runner::new(engine, |net, x: &ToyArray| net.forward(x), |logits, labels: &Vec<usize>| logits.cross_entropy(labels));
    runner.fit(&inputs, &inputs, Fit::epochs(1))?;
    Ok(())
}
