use regimen_core::{BoxError, State};
use regimen_core::run::{Train, train};
use regimen_core::unit::TrainUnit;

/// As a tensor of tch: not `Clone`.
struct Tensor;

struct Learns;

impl TrainUnit for Learns {
    type Batch = (Tensor, Tensor);
    fn train_step(&mut self, _: &mut State, _: (Tensor, Tensor)) -> Result<(), BoxError> {
        Ok(())
    }
}

fn main() {
    let batches = vec![(Tensor, Tensor)];
    let _ = train(&mut Learns, &batches, Train::epochs(1));
}
