//! The window of a profiler: where it starts and stops.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use std::sync::Mutex;

use regimen::callback::{Event, ProfilerWindow};
use regimen::run::Train;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Error, Run, State};

/// A unit that fails at the batch 13.
struct Unit;

impl TrainUnit for Unit {
    type Batch = u64;
    fn train_step(&mut self, _: &mut State, batch: u64) -> Result<(), BoxError> {
        if batch == 13 { Err("unlucky".into()) } else { Ok(()) }
    }
}

/// Runs with a profiler in `windows`: `(` where it starts, its number and `)` where it stops, and the number
/// of each step of the run between.
#[track_caller]
fn check(windows: &[(u64, u64)], calls: impl FnOnce(&mut Run<'_, Unit>), expected: &str) {
    let told = Mutex::new(String::new());
    let tell = |text: &str| told.lock().unwrap().push_str(text);
    let begin = || {
        tell("( ");
        Ok("profile")
    };
    let end = |profile| {
        assert_eq!(profile, "profile");
        tell(") ");
        Ok(())
    };
    let mut profiler = ProfilerWindow::new(windows[0].0..windows[0].1, begin, end);
    for &(first, behind) in &windows[1..] {
        profiler = profiler.and(first..behind);
    }
    let mut run = Run::new(&mut Unit)
        .on(Event::TrainStepEnd, |state: &mut State, _: &mut Unit| {
            tell(&format!("{} ", state.train_progress().steps));
        })
        .callback(profiler);
    calls(&mut run);
    drop(run);
    assert_eq!(told.into_inner().unwrap().trim_end(), expected);
}

fn train(run: &mut Run<'_, Unit>) {
    run.train(&[1, 2, 3], Train::epochs(2)).unwrap();
}

#[test]
fn the_profiler_runs_in_the_steps_of_its_windows() {
    check(&[(0, 1)], train, "( 1 ) 2 3 4 5 6");
    check(&[(2, 4)], train, "1 2 ( 3 4 ) 5 6");
    check(&[(4, 5), (1, 2)], train, "1 ( 2 ) 3 4 ( 5 ) 6");
    check(&[(1, 2), (2, 4), (3, 4)], train, "1 ( 2 3 4 ) 5 6");
    check(&[(3, 3)], train, "1 2 3 4 5 6");
}

#[test]
fn the_profiler_never_runs_on_behind_a_call() {
    check(&[(5, 99)], train, "1 2 3 4 5 ( 6 )");
    let paused = |run: &mut Run<'_, Unit>| {
        run.train(&[1, 2, 3], Train::steps(2)).unwrap();
        train(run);
    };
    check(&[(1, 4)], paused, "1 ( 2 ) ( 3 4 ) 5 6");
    let failed = |run: &mut Run<'_, Unit>| {
        run.train(&[1, 13], Train::epochs(1)).unwrap_err();
    };
    check(&[(0, 9)], failed, "( 1 )");
}

#[test]
fn a_profiler_that_fails_is_an_error_of_its_step() {
    let run = |begin: fn() -> Result<(), BoxError>, end: fn(()) -> Result<(), BoxError>| -> Error {
        let mut run = Run::new(&mut Unit).callback(ProfilerWindow::new(1..2, begin, end));
        run.train(&[1, 2, 3], Train::epochs(1)).unwrap_err()
    };
    assert_eq!(
        format!("{:#}", run(|| Err("no space".into()), |()| Ok(()))),
        "callback ProfilerWindow failed at train fetch start in train at epoch 0 step 1: no space"
    );
    assert_eq!(
        format!("{:#}", run(|| Ok(()), |()| Err("no space".into()))),
        "callback ProfilerWindow failed at train step end in train at epoch 0 step 2: no space"
    );
}
