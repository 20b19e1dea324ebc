//! A callback of one's own: it watches a run of any unit, and may end it.

use regimen::auto_unit::TRAIN_LOSS;
use regimen::run::Ended;
use regimen::{BoxError, Callback, Fit, Run, State};
use regimen_examples::digits::{Digits, Split};
use regimen_examples::reading::{loader, unit};

/// Ends a run when the training loss of an epoch is below a bound.
struct StopBelow(f64);

impl<U> Callback<U> for StopBelow {
    fn on_train_epoch_end(&mut self, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        if state.value(TRAIN_LOSS).is_some_and(|loss| loss < self.0) {
            state.finish("the loss is low enough");
        }
        Ok(())
    }
}

fn main() -> Result<(), BoxError> {
    let Split { train, validation, .. } = Digits::bundled()?.split();
    let mut unit = unit(7)?;
    let mut run = Run::new(&mut unit).callback(StopBelow(0.2));
    let report = run.fit(&loader(train), &loader(validation), Fit::epochs(50))?;
    println!("{report}");
    match report.ended {
        Ended::Finished(_) => Ok(()),
        ended => Err(format!("the callback did not end the run: {ended}").into()),
    }
}
