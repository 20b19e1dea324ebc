//! The records of a `FitLoop` beside its logs: means, losses, epochs and names.

use std::sync::{Arc, Mutex};

use regimen::auto_unit::{NonFinite, TRAIN_LOSS};
use regimen::callback::Event;
use regimen::fitloop::{Set, StageStep, record};
use regimen::runner::term;
use regimen::{Loss, State};
use regimen_test::toy::ToyArray;

use crate::fitloop::{
    Engine, Labels, Trainer, Unit, bare, cause, classifier, engine, forward, loader, trainer,
};

type OneStep<'s> = StageStep<'s, Engine, ToyArray, Labels, ToyArray>;

#[test]
fn a_mean_is_the_logged_one_without_the_steps_that_do_not_count() {
    // The loss of the second step is NaN: it is masked, and then its update is skipped.
    for weight in [0.0, 4.0] {
        let mut trainer = bare()
            .train_data(loader(0, 12))
            .step(move |s| {
                let output = s.output();
                let loss = s.loss(&output)?;
                Ok(match s.step().index {
                    1 => (Loss::mean(loss.mean.scale(f64::NAN), weight), record! { n: f64::NAN }),
                    index => (loss, record! { n: index as f64 + 1.0 }),
                })
            })
            .epoch_end(|s| Ok(record! { loss: s.mean("loss")?, mean: s.mean("n")?, sum: s.sum("n")? }))
            .map_unit(|unit| unit.non_finite(NonFinite::Skip));
        let report = trainer.fit(1).unwrap();
        let [loss, mean, sum] = [0, 1, 2].map(|n| trainer.record(Set::Train)[n].1);
        let logged = report.metric(TRAIN_LOSS).unwrap();
        assert!((loss - logged).abs() < 1e-12, "{loss} is not {logged}");
        // Of 1 and 3. A sum is that of all steps.
        assert_eq!((mean, sum.is_nan()), (2.0, true), "weight {weight}");
    }
}

#[test]
fn a_loss_of_another_formula_is_an_error_at_the_end_of_the_epoch() {
    let mut plain = trainer();
    plain.fit(1).unwrap();
    for set in [Set::Train, Set::Valid] {
        let with =
            |add: f64| trainer().epoch_end_on(set, move |s| Ok(record! { loss: s.mean("loss")? + add }));
        let logged = plain.record(set)[0].1;
        let found = logged + 0.5;
        assert_eq!(
            cause(&with(0.5).fit(1).unwrap_err()),
            format!(
                "`loss` is {found} in the record of the epoch, and {logged} in the log, which is the mean of the \
                 losses of the steps; give another value another name"
            )
        );
        let mut rounded = with(1e-12);
        rounded.fit(1).unwrap();
        assert_eq!(rounded.record(set)[0].0, "loss");
    }
}

#[test]
fn a_record_is_that_of_the_newest_epoch_alone() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let see = Arc::clone(&seen);
    let mut trainer =
        classifier()
            .epoch_end_on(Set::Valid, |s| {
                if s.epoch() == 2 { Err("no luck".into()) } else { Ok(record! { a: 1.0 }) }
            })
            .on(Event::EvalStepEnd, move |_: &mut State, unit: &mut Unit| {
                see.lock().unwrap().push(unit.task().record(Set::Valid).len());
            });
    assert_eq!(cause(&trainer.fit(3).unwrap_err()), "no luck");
    assert_eq!(trainer.record(Set::Valid), []);
    assert_eq!(*seen.lock().unwrap(), [0; 4]);
}

#[test]
fn a_name_that_is_taken_is_an_error_of_the_first_step_or_epoch() {
    let fit = |mut trainer: Trainer<'static>| cause(&trainer.fit(1).unwrap_err());
    let twice = "`a` is twice in a record; give one another name";
    assert_eq!(fit(trainer().epoch_start(|_| Ok(record! { a: 1.0, a: 1.0 }))), twice);
    assert_eq!(fit(trainer().epoch_end(|_| Ok(record! { a: 1.0, b: 1.0, a: 2.0 }))), twice);
    let step = |s: &mut OneStep<'_>| {
        let output = s.output();
        Ok((s.loss(&output)?, record! { a: 1.0, a: output.mean() }))
    };
    assert_eq!(fit(trainer().step(step)), twice);
    let skipped = "`skipped` counts the updates that were skipped; give the value another name";
    assert_eq!(fit(trainer().epoch_start(|_| Ok(record! { skipped: 1.0 }))), skipped);
    assert_eq!(fit(trainer().epoch_end(|_| Ok(record! { skipped: 1.0 }))), skipped);
    let step = |s: &mut OneStep<'_>| {
        let output = s.output();
        Ok((s.loss(&output)?, record! { skipped: 1.0 }))
    };
    assert_eq!(fit(trainer().step(step)), skipped);
}

#[test]
fn a_term_of_the_loss_takes_its_name_from_the_steps_that_have_it_alone() {
    let criterion = |logits: &ToyArray, labels: &Labels| {
        term("entropy", logits.cross_entropy(labels)) + 0.5 * term("size", logits.mul(logits).mean())
    };
    let trainer: Trainer<'_> = regimen::fitloop::FitLoop::new(engine(), forward, criterion);
    let mut trainer = trainer.train_data(loader(0, 8)).valid_data(loader(8, 16)).step_on(Set::Valid, |s| {
        let output = s.output();
        Ok((Loss::mean(output.mean(), s.batch_size()), record! { size: 3.0 }))
    });
    trainer.fit(1).unwrap();
    assert_eq!(trainer.record(Set::Valid)[1], ("size".to_owned(), 3.0));
}
