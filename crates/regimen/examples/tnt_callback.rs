//! A callback that prints, for a unit that trains, evaluates and predicts.
#![allow(clippy::print_stdout, reason = "a program talks to a terminal")]

use regimen::callback::{Event, Events};
use regimen::metric::Key;
use regimen::run::{Evaluate, Predict, Train};
use regimen::unit::{EvalUnit, PredictUnit, TrainUnit};
use regimen::{BoxError, Callback, Run, State};

const ERROR: Key = Key::mean("eval/error");

struct Printer;

impl<U> Callback<U> for Printer {
    fn events(&self) -> Events {
        use Event::*;
        Events::of(&[TrainStart, TrainEpochEnd, TrainEnd, EvalStart, EvalEnd, PredictStart, PredictEnd])
    }

    fn on_event(&mut self, event: Event, state: &mut State, _: &mut U) -> Result<(), BoxError> {
        println!("{}, {} steps", event.name(), state.progress().steps);
        Ok(())
    }
}

struct Slope(f64);

impl TrainUnit for Slope {
    type Batch = (f64, f64);

    fn train_step(&mut self, _: &mut State, (x, y): (f64, f64)) -> Result<(), BoxError> {
        self.0 += 0.1 * (y - self.0 * x) * x;
        Ok(())
    }
}

impl EvalUnit for Slope {
    type Batch = (f64, f64);

    fn eval_step(&mut self, state: &mut State, (x, y): (f64, f64)) -> Result<(), BoxError> {
        state.log(ERROR, (y - self.0 * x).powi(2), 1.0);
        Ok(())
    }
}

impl PredictUnit for Slope {
    type Batch = f64;
    type Output = f64;

    fn predict_step(&mut self, _: &mut State, x: f64) -> Result<f64, BoxError> {
        Ok(self.0 * x)
    }
}

fn main() -> Result<(), BoxError> {
    let (mut slope, data) = (Slope(0.0), [(0.5, 1.5), (1.0, 3.0), (2.0, 6.0)]);
    let mut run = Run::new(&mut slope).callback(Printer);
    run.train(&data, Train::epochs(5))?;
    let report = run.evaluate(&data, Evaluate::whole())?;
    println!("mean squared error {:?}", report.metric(ERROR));
    run.predict(&[3.0, 4.0], Predict::whole(), |y| {
        println!("prediction {y:.3}");
        Ok(())
    })?;
    Ok(())
}
