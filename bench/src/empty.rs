//! The empty step: a run whose cost is the loop itself.

use regimen::profile::Profile;
use regimen::run::Train;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Callback, Error, Run, State};

/// Numbers of callbacks in the cases. At most 30.
pub const CALLBACKS: [usize; 4] = [0, 1, 10, 30];

/// Trains a unit that does nothing for `steps` steps of one epoch, with `callbacks` callbacks. Each
/// has a distinct type, overrides the step's end, and writes to its own field.
pub fn empty_run(callbacks: usize, steps: usize) -> Result<(), Error> {
    train(Run::new(&mut Empty), callbacks, steps)
}

/// The same with a profile.
pub fn profiled_run(callbacks: usize, steps: usize) -> Result<(), Error> {
    train(Run::new(&mut Empty).probe(Profile::new().probe()), callbacks, steps)
}

fn train(mut run: Run<'_, Empty>, callbacks: usize, steps: usize) -> Result<(), Error> {
    macro_rules! watch {
        ($($i:literal)*) => {
            $(if $i < callbacks {
                run = run.callback(Watch::<$i>::default());
            })*
        };
    }
    watch!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29);
    run.train(&vec![(); steps], Train::epochs(1)).map(drop)
}

struct Empty;

impl TrainUnit for Empty {
    type Batch = ();

    fn train_step(&mut self, _state: &mut State, (): ()) -> Result<(), BoxError> {
        Ok(())
    }
}

#[derive(Default)]
struct Watch<const I: usize> {
    steps: u64,
}

impl<const I: usize> Callback<Empty> for Watch<I> {
    fn on_train_step_end(&mut self, _state: &mut State, _unit: &mut Empty) -> Result<(), BoxError> {
        // The run calls it as `dyn Callback`, so the compiler cannot remove this.
        self.steps += 1;
        Ok(())
    }
}
