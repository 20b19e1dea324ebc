//! Resume from the best checkpoint instead of the newest: a `Checkpointer` that keeps the best, and `Run::restore_best`.

use regimen::auto_unit::EVAL_LOSS;
use regimen::callback::Every;
use regimen::checkpoint::Checkpointer;
use regimen::{BoxError, Fit, Run};
use regimen_examples::digits::{Digits, Split};
use regimen_examples::reading::{loader, unit};

fn main() -> Result<(), BoxError> {
    // Each call begins from nothing.
    let _ = std::fs::remove_dir_all("runs/best");
    let Split { train, validation, .. } = Digits::bundled()?.split();
    let (train, validation) = (loader(train), loader(validation));
    let saver = || Checkpointer::new("runs/best").every(Every::epochs(1)).keep_min(1, EVAL_LOSS);

    // A rate that is far too high after the third epoch: the newest weights are worse than the best.
    let mut diverging = unit(7)?.learning_rate_by_epoch(|epoch| if epoch < 3 { 5e-3 } else { 0.5 });
    let report = Run::new(&mut diverging).saver(saver()).fit(&train, &validation, Fit::epochs(6))?;
    let best = report.best(EVAL_LOSS).ok_or("no checkpoint was the best")?.clone();
    println!("{report}");

    let mut unit = unit(8)?;
    let mut run = Run::new(&mut unit).saver(saver());
    let restored = run.restore_best()?;
    println!("going on from step {}, in {}", restored.step, restored.from);
    let report = run.fit(&train, &validation, Fit::epochs(6))?;
    println!("{report}");
    match report.metric(EVAL_LOSS) {
        Some(loss) if loss < best.value => Ok(()),
        loss => Err(format!("the loss is {loss:?} after going on from {}", best.value).into()),
    }
}
