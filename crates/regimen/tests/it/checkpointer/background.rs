//! The background writer: at most one save in flight, and none is lost when the run is dropped.

use std::sync::{Arc, Mutex};

use regimen::callback::{Event, Every};
use regimen::checkpoint::{Checkpointer, Checkpoints, SimDisk};
use regimen::run::Train;
use regimen::saved::{AppState, Parts, StateDict, Stateful};
use regimen::unit::TrainUnit;
use regimen::{BoxError, Callback, Error, Fit, Run, State};

use super::common::*;

/// Trains 6 steps with a save each, on a disk that is paused from the end of the first step to the
/// beginning of the one after `paused_to`. Returns the number acknowledged before each step, all that
/// were acknowledged, and the number skipped.
fn train(
    paused_to: Option<u64>,
    saver: impl FnOnce(Checkpointer) -> Checkpointer,
) -> (Vec<u64>, Vec<String>, u64) {
    let disk = SimDisk::new();
    let acknowledged = Acknowledged::default();
    let saver = saver(super::common::saver(&disk).every(Every::steps(1)));
    let saver = acknowledged.by(|checkpoint| name(checkpoint.path()), saver);
    let (stats, so_far) = (saver.stats(), Arc::new(Mutex::new(Vec::new())));
    let (told, list, paused, resumed) = (stats.clone(), so_far.clone(), disk.clone(), disk.clone());
    let mut unit = Walk::new();
    let mut run = Run::new(&mut unit)
        .on(Event::TrainStepStart, move |state: &mut State, _: &mut Walk| {
            list.lock().unwrap().push(told.saved());
            if Some(state.train_progress().steps) == paused_to {
                resumed.resume();
            }
        })
        .on(Event::TrainStepEnd, move |state: &mut State, _: &mut Walk| {
            if paused_to.is_some() && state.train_progress().steps == 1 {
                paused.pause();
            }
        })
        .saver(saver);
    run.train(&[1; 6], Train::steps(6)).unwrap();
    let so_far = so_far.lock().unwrap().clone();
    (so_far, acknowledged.list(), stats.skipped())
}

#[test]
fn training_goes_on_while_a_save_is_written_and_the_next_one_is_skipped_if_asked_to() {
    let (so_far, acknowledged, skipped) = train(Some(5), Checkpointer::skip_while_busy);
    assert_eq!(so_far, [0; 6]);
    assert_eq!(acknowledged.first().map(String::as_str), Some("1"));
    assert_eq!(acknowledged.last().map(String::as_str), Some("6"));
    // The saves of steps 2 to 5 came while that of step 1 was written; 6 was the end, and waited.
    assert!((4..=5).contains(&skipped), "{skipped}");
}

#[test]
fn the_next_save_waits_where_skipping_was_not_asked_for() {
    let (_, acknowledged, skipped) = train(Some(1), |saver| saver);
    assert_eq!((acknowledged.join(" "), skipped), ("1 2 3 4 5 6".to_owned(), 0));
}

#[test]
fn in_the_foreground_a_save_is_acknowledged_before_the_next_step() {
    let (so_far, ..) = train(None, Checkpointer::in_foreground);
    assert_eq!(so_far, [0, 1, 2, 3, 4, 5]);
}

/// Resumes a disk when the call has failed.
struct ResumeOnError(SimDisk);

impl<U: ?Sized> Callback<U> for ResumeOnError {
    fn on_error(&mut self, _: &State, _: &mut U, _: &Error) {
        self.0.resume();
    }
}

#[test]
fn no_save_is_lost_and_no_thread_left_when_the_run_is_dropped() {
    let disk = SimDisk::new();
    let store = Arc::new(disk.clone());
    let weak = Arc::downgrade(&store);
    let saver = Checkpointer::new(DIR).store(store).every(Every::steps(1)).without_post_mortem();
    let (stats, paused) = (saver.stats(), disk.clone());
    let mut unit = Walk { fail_after: Some(2), ..Walk::new() };
    let mut run = Run::new(&mut unit)
        .on(Event::TrainStepEnd, move |_: &mut State, _: &mut Walk| paused.pause())
        .callback(ResumeOnError(disk.clone()))
        .saver(saver);
    run.fit(&[1; 5], &[1; 2], Fit::epochs(1)).unwrap_err();
    drop(run);
    assert_eq!((stats.saved(), on_disk(&disk)), (1, "1".to_owned()));
    drop(stats);
    assert!(weak.upgrade().is_none(), "something still holds the disk");
}

#[test]
fn a_panic_while_saving_is_a_failure_and_the_next_save_is_written() {
    let disk = SimDisk::new();
    let saver = saver(&disk).every(Every::steps(1)).on_saved(|checkpoint| {
        assert_ne!(checkpoint.manifest().step, 2, "told to panic");
    });
    let stats = saver.stats();
    let mut unit = Walk::new();
    Run::new(&mut unit).saver(saver).train(&[1; 4], Train::steps(4)).unwrap();
    assert_eq!((stats.saved(), stats.failures(), on_disk(&disk)), (4, 1, "4 3 2 1".to_owned()));
    let failure = stats.last_failure().unwrap();
    assert!(failure.starts_with("the thread that saves panicked: ") && failure.contains("told to panic"));
}

/// A unit with a large state of the step's number, that notes the address of each copy.
struct Large {
    state: Vec<f32>,
    copies: Mutex<Vec<usize>>,
}

impl Stateful for Large {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let dict = self.state.state_dict()?;
        self.copies.lock().unwrap().push(dict.array("values")?.bytes().as_ptr() as usize);
        Ok(dict)
    }
    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.state.load_state_dict(dict)
    }
}

impl AppState for Large {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        parts.part("large", self)
    }
}

impl TrainUnit for Large {
    type Batch = u64;
    fn train_step(&mut self, _: &mut State, batch: u64) -> Result<(), BoxError> {
        self.state.fill(batch as f32);
        Ok(())
    }
}

#[test]
fn every_copy_is_made_in_the_memory_of_the_last_and_holds_its_own_step() {
    let disk = SimDisk::new();
    let saver = Checkpointer::new(DIR).store(Arc::new(disk.clone())).every(Every::steps(2));
    let mut unit = Large { state: vec![0.0; 50_000], copies: Mutex::default() };
    Run::new(&mut unit).saver(saver).train(&[1_u64, 2, 3, 4, 5, 6, 7], Train::steps(7)).unwrap();
    let copies = unit.copies.into_inner().unwrap();
    assert_eq!(copies, [copies[0]; 4]);
    let saved = Checkpoints::on(Arc::new(disk), DIR).list().unwrap().checkpoints;
    for (checkpoint, step) in saved.iter().zip([7.0_f32, 6.0, 4.0, 2.0]) {
        let values = checkpoint.read("large").unwrap().array("values").unwrap().to_vec::<f32>().unwrap();
        assert!(values.iter().all(|value| *value == step), "step {step}: {}", values[0]);
    }
    assert_eq!(saved.len(), 4);
}
