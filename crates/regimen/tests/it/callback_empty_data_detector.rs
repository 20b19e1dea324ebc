//! The detector of empty data: known lengths of epochs, and restarts between them.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use regimen::callback::EmptyDataDetector;
use regimen::data::{Data, each_epoch};
use regimen::run::Train;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};

struct Unit;

impl TrainUnit for Unit {
    type Batch = u64;
    fn train_step(&mut self, _: &mut State, _: u64) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Epochs of as many batches as the list says.
fn data(lengths: &[u64]) -> impl Data<Batch = u64> {
    each_epoch(move |epoch| 0..lengths[epoch as usize])
}

/// The error of a run over epochs of those lengths, or its notices. It is the same if each epoch is
/// trained by another process.
#[track_caller]
fn check(threshold: u64, lengths: &[u64], expected: Result<&[&str], &str>) {
    let epochs = lengths.len() as u64;
    let whole = || -> Result<Vec<String>, String> {
        let mut run = Run::new(&mut Unit).callback(EmptyDataDetector::new(threshold));
        let report = run.train(&data(lengths), Train::epochs(epochs).allow_empty());
        Ok(report.map_err(|error| format!("{error:#}"))?.notices)
    };
    let restarted = || -> Result<Vec<String>, String> {
        let (mut saved, mut notices) = (None, Vec::new());
        for epoch in 1..=epochs {
            let mut run = Run::new(&mut Unit).callback(EmptyDataDetector::new(threshold));
            saved.iter().for_each(|saved| run.load_run_state(saved).unwrap());
            let report = run.train(&data(lengths), Train::epochs(epoch).allow_empty());
            notices.extend(report.map_err(|error| format!("{error:#}"))?.notices);
            saved = Some(run.run_state().unwrap());
        }
        Ok(notices)
    };
    let expected = match expected {
        Ok(notices) => Ok(notices.iter().map(|&notice| notice.to_owned()).collect()),
        Err(error) => Err(error.to_owned()),
    };
    assert_eq!(whole(), expected);
    assert_eq!(restarted(), expected);
}

#[test]
fn the_last_of_several_empty_epochs_in_a_row_is_an_error() {
    let error = "callback EmptyDataDetector failed at train epoch end in train at epoch 2 step 0: the train \
                 data gave no batch in 2 epochs in a row; is its source still there?";
    check(2, &[0, 0, 0], Err(error));
    let error = "callback EmptyDataDetector failed at train epoch end in train at epoch 5 step 2: the train \
                 data gave no batch in 3 epochs in a row; is its source still there?";
    check(3, &[1, 1, 0, 0, 0], Err(error));
    let error = "callback EmptyDataDetector failed at train epoch end in train at epoch 1 step 0: the train \
                 data gave no batch in 1 epoch in a row; is its source still there?";
    check(1, &[0], Err(error));
}

#[test]
fn an_epoch_with_a_batch_sets_the_count_back() {
    let notices =
        ["training epoch 1 had no batch", "training epoch 3 had no batch", "training epoch 5 had no batch"];
    check(2, &[0, 1, 0, 1, 0, 1], Ok(&notices));
    check(1, &[3, 1, 2], Ok(&[]));
}

#[test]
fn a_run_that_does_not_allow_empty_epochs_refuses_the_first() {
    let mut run = Run::new(&mut Unit).callback(EmptyDataDetector::new(9));
    let error = run.train(&data(&[0]), Train::epochs(1)).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "data failed in train at epoch 0 step 0: the train data gave no batch; fill it, or say `allow_empty()`"
    );
}

#[test]
fn a_threshold_of_zero_is_refused_before_the_first_step() {
    let mut run = Run::new(&mut Unit).callback(EmptyDataDetector::new(0));
    let error = run.train(&data(&[1]), Train::epochs(1)).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "callback EmptyDataDetector failed at train start in train at epoch 0 step 0: a threshold \
         of 0 epochs refuses every epoch; give 1 or more"
    );
}
