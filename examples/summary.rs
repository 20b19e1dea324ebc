//! A summary at the end of a run: a callback adds to the report and prints it, and the program reads it.

use std::time::Instant;

use regimen::auto_unit::EVAL_LOSS;
use regimen::callback::{EarlyStopping, Events};
use regimen::run::Report;
use regimen::{BoxError, Callback, Fit, Run};
use regimen_examples::digits::{Digits, Split};
use regimen_examples::reading::{EVAL_ACCURACY, loader, unit};

/// Prints a report and the throughput when a call ends.
struct Summary(Instant);

impl<U> Callback<U> for Summary {
    fn events(&self) -> Events {
        Events::NONE
    }

    fn on_report(&mut self, report: &Report) {
        let steps = report.train.steps as f64 / self.0.elapsed().as_secs_f64();
        println!("{report}\n{steps:.0} steps per second\n\nepoch  loss    accuracy");
        for epoch in &report.epochs {
            if let (Some(loss), Some(accuracy)) = (epoch.metric(EVAL_LOSS), epoch.metric(EVAL_ACCURACY)) {
                println!("{:5}  {loss:.4}  {accuracy:.4}", epoch.epoch);
            }
        }
    }
}

fn main() -> Result<(), BoxError> {
    let Split { train, validation, .. } = Digits::bundled()?.split();
    let mut unit = unit(7)?;
    let mut run =
        Run::new(&mut unit).callback(EarlyStopping::min(EVAL_LOSS, 3)).callback(Summary(Instant::now()));
    let report = run.fit(&loader(train), &loader(validation), Fit::epochs(8))?;

    let best = report.best(EVAL_LOSS).ok_or("no rule has judged the loss")?;
    println!("\nthe loss was lowest in epoch {}: {:.4}", best.epoch, best.value);
    if best.value < 0.3 { Ok(()) } else { Err("the network has not learned to read".into()) }
}
