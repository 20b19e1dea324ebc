use regimen_core::{BoxError, State};
use regimen_core::run::{Train, train};
use regimen_core::unit::TrainUnit;

struct Numbers;

impl TrainUnit for Numbers {
    type Batch = u32;
    fn train_step(&mut self, _: &mut State, _: u32) -> Result<(), BoxError> {
        Ok(())
    }
}

fn main() {
    let texts = vec!["one", "two"];
    let _ = train(&mut Numbers, &texts, Train::epochs(1));
}
