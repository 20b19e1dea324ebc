//! One digit whose pixels are not numbers: the guard rolls the run back, and it learns to read without that batch.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use regimen::callback::{Every, Flight};
use regimen::folder::RunFolder;
use regimen::run::{Ended, NanGuard};
use regimen::{Fit, Run};
use regimen_examples::digits::{Digits, Split};
use regimen_examples::reading::{EVAL_ACCURACY, loader, unit};

#[test]
fn a_run_with_one_poisoned_digit_ends_and_reads_digits() {
    const POISONED: usize = 100;
    const EPOCHS: u64 = 8;
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("poisoned");
    let _ = std::fs::remove_dir_all(&folder);
    let Split { mut train, validation, .. } = Digits::bundled().unwrap().split();
    train[POISONED].0.fill(f32::NAN);
    let (train, validation) = (loader(train), loader(validation));

    // Without the guard it is an error.
    let mut alone = unit(7).unwrap();
    let error = Run::new(&mut alone).fit(&train, &validation, Fit::epochs(EPOCHS)).unwrap_err();
    assert!(error.is_not_finite(), "{error:#}");

    let mut unit = unit(7).unwrap();
    let mut run = RunFolder::new(&folder)
        .checkpoints(|saver| saver.every(Every::steps(2)))
        .flight(|recorder| recorder.samples_of(&train))
        .open(Run::new(&mut unit))
        .unwrap();
    let report = NanGuard::new().fit(&mut run, &train, &validation, Fit::epochs(EPOCHS)).unwrap();
    assert_eq!(report.ended, Ended::Complete);
    assert_eq!(report.train.epochs, EPOCHS);
    let accuracy = report.metric(EVAL_ACCURACY).unwrap();
    assert!(accuracy > 0.8, "{accuracy}");

    // Each epoch met the digit once.
    let log = std::fs::read_to_string(folder.join("log.txt")).unwrap();
    assert_eq!(log.matches("is passed over").count() as u64, EPOCHS, "{log}");
    let flight = Flight::read(folder.join("flight.json")).unwrap().unwrap();
    let blamed = flight.steps.iter().find(|step| Some(step.step) == flight.step).unwrap();
    assert!(blamed.indices.as_ref().unwrap().contains(&POISONED), "{blamed:?}");
}
