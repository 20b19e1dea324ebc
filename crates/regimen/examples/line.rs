//! Fits y = ax + b to points, without a tensor library: any type with a `train_step` is a unit.
#![allow(clippy::print_stdout, reason = "a program talks to a terminal")]

use regimen::callback::{Event, Every};
use regimen::run::Train;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};

/// A line and its learning rate.
struct Line {
    a: f64,
    b: f64,
    rate: f64,
}

impl TrainUnit for Line {
    /// A point.
    type Batch = (f64, f64);

    fn train_step(&mut self, _: &mut State, (x, y): (f64, f64)) -> Result<(), BoxError> {
        let error = self.a * x + self.b - y;
        self.a -= self.rate * error * x;
        self.b -= self.rate * error;
        Ok(())
    }
}

fn main() -> Result<(), regimen::Error> {
    let points: Vec<(f64, f64)> = (0..20).map(|i| f64::from(i) / 10.0).map(|x| (x, 3.0 * x - 1.0)).collect();
    let mut line = Line { a: 0.0, b: 0.0, rate: 0.1 };
    Run::new(&mut line)
        .on(Event::TrainEpochEnd.every(Every::epochs(10)), |state: &mut State, line: &mut Line| {
            println!("epoch {}: y = {:.3} x + {:.3}", state.train_progress().epochs, line.a, line.b);
        })
        .train(&points, Train::epochs(50))?;
    Ok(())
}
