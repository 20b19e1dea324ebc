//! Steps of a run folder that are made again, and those that cannot be.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use regimen::callback::{Event, Every, Flight, LearningRateMonitor};
use regimen::folder::RunFolder;
use regimen::replay::{Replay, Replayed};
use regimen::run::{NanGuard, Train};
use regimen::saved::save_parts;
use regimen::{Error, Fit, Run, State};
use tempfile::TempDir;

use super::{Seen, Unit, data, told, unit};

/// Of 12 steps, with checkpoints after 3, 5, 6, 9, 10 and 12.
fn folder(dir: &Path, poisoned: Option<usize>) -> RunFolder {
    let data = data(poisoned);
    let saves = Every::steps(5).or(Every::epochs(1));
    RunFolder::new(dir)
        .metrics_every(Every::steps(1))
        .checkpoints(|saver| saver.every(saves).keep_last(9))
        .flight(|recorder| recorder.samples_of(&data))
}

/// Trains in a new folder. Returns the samples and losses of its steps.
fn trained() -> (TempDir, Vec<(Vec<usize>, f64)>) {
    let (dir, seen, data) = (tempfile::tempdir().unwrap(), Seen::default(), data(None));
    let mut unit = unit(&seen, false);
    let mut run = folder(dir.path(), None).open(Run::new(&mut unit).seed(7)).unwrap();
    run.fit(&data, &data, Fit::epochs(4)).unwrap();
    drop(run);
    let seen = seen.lock().unwrap().clone();
    (dir, seen)
}

/// Makes a step again with a unit that has not been trained.
fn replay(dir: &Path, step: u64, seed: u64, poisoned: Option<usize>) -> Result<Replayed, Error> {
    let data = data(poisoned);
    let mut unit = unit(&Seen::default(), false);
    let mut run = Run::new(&mut unit).seed(seed);
    Replay::of(dir, step).samples_of(&data).callback(LearningRateMonitor::new()).fit(
        &mut run,
        &data,
        &data,
        Fit::epochs(4),
    )
}

/// The bytes of every file under `dir`, by its path.
fn bytes(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut bytes(&path));
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

#[test]
fn every_step_is_made_again_to_the_bit_and_nothing_else_changes() {
    let (dir, seen) = trained();
    let before = bytes(dir.path());
    for (step, (indices, loss)) in (1..).zip(&seen) {
        let replayed = replay(dir.path(), step, 7, None).unwrap();
        let made = &replayed.step;
        assert_eq!((made.step, made.indices.as_ref()), (step, Some(indices)));
        assert_eq!(made.metrics["train/loss"].to_bits(), loss.to_bits(), "step {step}");
        assert_eq!(made.metrics["learning_rate/default"], 0.01 / step as f64);
        assert_eq!(replayed.is_equal(), Some(true), "{replayed}");
        let nearest = [10, 9, 6, 5, 3].into_iter().find(|&saved| saved < step);
        assert_eq!(replayed.from.map(|restored| restored.step), nearest, "step {step}");
    }
    assert_eq!(bytes(dir.path()), before);
}

#[test]
fn the_unit_is_as_it_was_before() {
    let ((dir, _), data) = (trained(), data(None));
    let mut unit = unit(&Seen::default(), false);
    let before = save_parts(&mut unit).unwrap();
    let mut run = Run::new(&mut unit).seed(7);
    Replay::of(dir.path(), 12).train(&mut run, &data, Train::epochs(4)).unwrap();
    assert_eq!(run.state().train_progress().steps, 0);
    drop(run);
    assert_eq!(save_parts(&mut unit).unwrap(), before);
}

#[test]
fn a_replay_says_from_where_it_came_and_how_it_compares() {
    let (dir, seen) = trained();
    let from = dir.path().join("step-000000003");
    let loss = seen[4].1;
    let text = replay(dir.path(), 5, 7, None).unwrap().to_string();
    let expected = format!(
        "step 5: batch 1 of epoch 1, 4 samples, from {}\nlearning_rate/default 0.002: not recorded\ntrain/loss {loss}: \
         metrics.jsonl has {loss}, equal to the last bit",
        from.display()
    );
    assert_eq!(text, expected);
    // Other data is another loss.
    let other = data(None).sampler(regimen::data::Sampler::sequential());
    let mut unit = unit(&Seen::default(), false);
    let replayed =
        Replay::of(dir.path(), 5).train(&mut Run::new(&mut unit).seed(7), &other, Train::epochs(4)).unwrap();
    let made = replayed.step.metrics["train/loss"];
    assert_eq!(replayed.is_equal(), Some(false));
    assert!(
        replayed.to_string().ends_with(&format!("train/loss {made}: metrics.jsonl has {loss}, NOT equal"))
    );
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let (dir, seen) = trained();
    let part = dir.path().join("step-000000010/module.safetensors");
    let mut content = fs::read(&part).unwrap();
    *content.last_mut().unwrap() ^= 1;
    fs::write(&part, content).unwrap();
    let replayed = replay(dir.path(), 12, 7, None).unwrap();
    assert_eq!(replayed.from.as_ref().map(|restored| restored.step), Some(9));
    assert_eq!(replayed.step.metrics["train/loss"].to_bits(), seen[11].1.to_bits());
    let passed = format!("passed over cannot read `{}`: its checksum is", part.display());
    assert!(replayed.to_string().contains(&passed), "{replayed}");
}

#[test]
fn what_cannot_be_made_again_is_an_error_that_says_why() {
    let (dir, _) = trained();
    let path = dir.path().display();
    let check = |result: Result<Replayed, Error>, expected: &str| {
        assert_eq!(format!("{:#}", result.unwrap_err()), expected);
    };
    check(replay(dir.path(), 0, 7, None), "`Replay::of`: the first step is 1, not 0");
    check(
        replay(dir.path(), 99, 7, None),
        "`Replay`: training does not come to step 99; it ends after step 12",
    );
    check(
        replay(dir.path(), 5, 8, None),
        &format!("`{path}` is of the seed 7, and this run has 8; give it `seed(7)`"),
    );
    let empty = tempfile::tempdir().unwrap();
    for missing in [empty.path().to_owned(), empty.path().join("missing")] {
        let expected = format!("`{}` has no checkpoint and no record of step 5", missing.display());
        check(replay(&missing, 5, 7, None), &expected);
    }
    let (mut unit, data) = (unit(&Seen::default(), false), data(None));
    let mut run = Run::new(&mut unit).seed(7);
    run.train(&data, Train::steps(1)).unwrap();
    check(
        Replay::of(dir.path(), 2).train(&mut run, &data, Train::epochs(4)),
        &format!(
            "`{path}` has no whole checkpoint before step 2, and this run has begun: give one that has not"
        ),
    );
    // From a checkpoint it does not matter.
    assert_eq!(
        Replay::of(dir.path(), 8).train(&mut run, &data, Train::epochs(4)).unwrap().is_equal(),
        Some(true)
    );
}

#[test]
fn a_guarded_run_goes_on_and_its_poisoned_batch_is_named_and_made_again() {
    let (dir, data) = (tempfile::tempdir().unwrap(), data(Some(3)));
    let mut poisoned = unit(&Seen::default(), false);
    let mut run = folder(dir.path(), Some(3))
        .checkpoints(|saver| saver.every(Every::steps(1)))
        .open(Run::new(&mut poisoned).seed(7))
        .unwrap();
    // A guard needs a checkpoint, so the first step is another call.
    run.train(&data, Train::steps(1)).unwrap();
    let report = NanGuard::new().train(&mut run, &data, Train::epochs(1)).unwrap();
    drop(run);
    assert_eq!((report.train.steps, report.train.epochs), (2, 1));
    let flight = Flight::read(dir.path().join("flight.json")).unwrap().unwrap();
    let step = flight.step.unwrap();
    let failed = flight.steps.last().unwrap();
    assert_eq!((failed.step, failed.complete), (step, false));
    let indices = failed.indices.clone().unwrap();
    assert!(indices.contains(&3), "{indices:?}");
    let notice = report.notices.iter().find(|notice| notice.starts_with("rolled back to step "));
    let expected = format!("; batch {} of epoch 0 is passed over: ", failed.batch);
    assert!(notice.unwrap().contains(&expected), "{notice:?}");
    assert!(flight.reason.contains("the loss is not finite: NaN"), "{}", flight.reason);

    // From before the roll-back it fails again, with the same samples.
    let replayed = replay(dir.path(), step, 7, Some(3)).unwrap();
    assert_eq!(replayed.step.indices, Some(indices));
    assert!(!replayed.step.complete && replayed.recorded.as_ref().is_some_and(|recorded| !recorded.complete));
    let text = replayed.to_string();
    assert!(text.starts_with(&format!("step {step}: batch {} of epoch 0, from ", failed.batch)), "{text}");
    let error = replayed.error.unwrap();
    assert_eq!((error.is_not_finite(), error.not_finite_step()), (true, Some(step - 1)));
}

#[test]
fn a_step_that_only_the_flight_has_is_compared_with_it() {
    let (dir, data) = (tempfile::tempdir().unwrap(), data(None));
    let mut trained = unit(&Seen::default(), true);
    let folder = RunFolder::new(dir.path()).without_metrics();
    let mut run = folder.open(Run::new(&mut trained).seed(7)).unwrap().on(
        Event::TrainStepEnd,
        |state: &mut State, _: &mut Unit| {
            if state.train_progress().steps == 5 {
                state.pause("enough");
            }
        },
    );
    run.train(&data, Train::epochs(2)).unwrap();
    drop(run);
    assert_eq!(told(&Flight::read(dir.path().join("flight.json")).unwrap().unwrap()).len(), 5);
    let replayed = replay(dir.path(), 5, 7, None).unwrap();
    assert_eq!(replayed.compared.len(), 1);
    assert_eq!((replayed.compared[0].file, replayed.is_equal()), ("flight.json", Some(true)));
}
