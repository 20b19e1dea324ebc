use regimen_core::{BoxError, Fit, State};
use regimen_core::unit::TrainUnit;
use regimen_core::run::fit;

struct OnlyTrains;

impl TrainUnit for OnlyTrains {
    type Batch = u32;
    fn train_step(&mut self, _: &mut State, _: u32) -> Result<(), BoxError> {
        Ok(())
    }
}

fn main() {
    let _ = fit(&mut OnlyTrains, &[1], &[2], Fit::epochs(1));
}
