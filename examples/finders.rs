//! Before a long training: a few batches of everything, a learning rate, a batch size, and the spread over seeds.

use regimen::auto_unit::TRAIN_LOSS;
use regimen::data::DataExt;
use regimen::finder::{BatchSizeFinder, LearningRateFinder, Seeds};
use regimen::run::{FastDevRun, SanityEvaluation, Train};
use regimen::{BoxError, Fit, Run};
use regimen_examples::digits::{Digits, Split};
use regimen_examples::reading::{EVAL_ACCURACY, loader, unit};

fn main() -> Result<(), BoxError> {
    let Split { train, validation, .. } = Digits::bundled()?.split();
    let (train, validation) = (loader(train), loader(validation));
    let mut unit = unit(7)?;
    let mut run = Run::new(&mut unit);

    // Does every stage work? Two batches of each.
    println!("{}", FastDevRun::batches(2).fit(&mut run, &train, &validation)?);

    // Can the network learn at all? The same two batches, again and again.
    let few = (&train).overfit_batches(2);
    let report = run.dry_run(|mut dry| dry.train(&few, Train::epochs(100)))??;
    println!("loss of 2 batches: {:.4}", report.metric(TRAIN_LOSS).ok_or("no loss")?);

    let curve = LearningRateFinder::new().find(&mut run, &train)?;
    curve.figure().save_svg("rates.svg")?;
    let rate = curve.suggestion().ok_or("the loss falls at no rate")?;
    println!("learning rate: {rate:.4}");

    // Without `most`, up to the size of the data set or until memory runs out.
    let found = BatchSizeFinder::power().most(64).find(&mut run, |size| train.clone().batch_size(size))?;
    println!("{found}");

    // The evaluation is tried before each training.
    let results = Seeds::new([1, 2, 3]).run(|seed| {
        let mut unit = regimen_examples::reading::unit(seed)?.learning_rate(rate);
        let mut run = Run::new(&mut unit).seed(seed);
        let report = SanityEvaluation::steps(2).fit(&mut run, &train, &validation, Fit::epochs(8))?;
        Ok(report.metrics())
    });
    println!("{results}");
    let accuracy = results.metric(EVAL_ACCURACY).and_then(|accuracy| accuracy.min());
    if accuracy > Some(0.8) { Ok(()) } else { Err("a network has not learned to read".into()) }
}
