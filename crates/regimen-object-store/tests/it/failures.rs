//! Every call fails once: before it was done, after it, and before it is done late.

use std::sync::Arc;

use regimen::checkpoint::{CheckpointError, Checkpoints, Keep, Which, Writer};

use crate::common::*;
use crate::flaky::{Fault, Flaky};
use crate::place::Place;

/// Saves four times and keeps one. Returns the last step that was acknowledged, and the errors.
fn scenario(flaky: &Flaky, tries: u32) -> (u64, Vec<CheckpointError>) {
    let (mut last, mut errors, store) = (0, Vec::new(), Arc::new(flaky.store(tries)));
    let mut writer = match Writer::open_on(store.clone(), DIR, RUN) {
        Ok(writer) => writer,
        Err(error) => return (0, vec![error]),
    };
    errors.extend(writer.sweep().failures);
    for step in 1..=4 {
        match writer.save(&snapshot(step, step)) {
            Ok(_) => last = step,
            Err(error) => errors.push(error),
        }
        errors.extend(writer.prune(&Keep::all().last(1)).failures);
    }
    match Checkpoints::on(store, DIR).load(Which::Latest) {
        // One whose answer was lost may be there.
        Ok(found) => assert!(last <= found.map_or(0, |found| found.checkpoint.manifest().step)),
        Err(error) => errors.push(error),
    }
    (last, errors)
}

/// Checks what is left after a scenario whose last acknowledged step was `last`: it is loaded or a later one is, whole,
/// and the run goes on. Returns what is loaded.
pub(crate) fn check(place: &Place, last: u64) -> Result<u64, String> {
    let store = Arc::new(Flaky::new(place, Fault::None).store(1));
    let load = || Checkpoints::on(store.clone(), DIR).load(Which::Latest).map_err(|error| error.to_string());
    let found = load()?;
    let step = found.as_ref().map_or(0, |found| found.checkpoint.manifest().step);
    if step < last {
        return Err(format!("step {last} was acknowledged, {step} was found"));
    }
    if let Some(found) = found {
        if found.content != parts(step) {
            return Err(format!("step {step} does not hold what was saved"));
        }
        if !found.skipped.is_empty() {
            return Err(format!("a broken checkpoint is listed: {:?}", found.skipped));
        }
    }
    let mut writer = Writer::open_on(store.clone(), DIR, RUN).map_err(|error| error.to_string())?;
    let mut failures = writer.sweep().failures;
    writer.save(&snapshot(step + 1, step + 1)).map_err(|error| error.to_string())?;
    failures.extend(writer.prune(&Keep::all().last(1)).failures);
    failures.extend(writer.sweep().failures);
    // The lock, one index, and the files of one checkpoint.
    let left: Vec<String> = place.keys().iter().map(ToString::to_string).collect();
    let index = format!("runs/digits/step-{:09}.index", step + 1);
    if left.len() != 5 || !left.contains(&index) || !failures.is_empty() {
        return Err(format!("{left:?} are left over: {failures:?}"));
    }
    Ok(step)
}

#[test]
fn a_run_uses_some_hundred_calls_and_leaves_nothing() {
    let place = Place::default();
    let flaky = Flaky::new(&place, Fault::None);
    let (last, errors) = scenario(&flaky, 1);
    assert_eq!((last, errors.len(), check(&place, 4)), (4, 0, Ok(4)), "{errors:?}");
    assert!(60 < flaky.calls(), "the scenario has only {} calls", flaky.calls());
}

#[test]
fn a_call_that_fails_once_or_whose_answer_is_lost_is_tried_again() {
    fail_once(Place::default, 1);
}

/// Each `every`-th call fails once, in a place of its own, which is empty.
pub(crate) fn fail_once(place: impl Fn() -> Place, every: usize) {
    let whole = Flaky::new(&place(), Fault::None);
    scenario(&whole, 1);
    for n in (0..whole.calls()).step_by(every) {
        for fault in [Fault::Fails(n), Fault::LosesAnswer(n), Fault::IsLate(n), Fault::Conflicts(n)] {
            let place = place();
            let (last, errors) = scenario(&Flaky::new(&place, fault), 2);
            assert!(last == 4 && errors.is_empty(), "{fault:?}: {errors:?}");
            assert_eq!(check(&place, 4), Ok(4), "{fault:?}");
        }
    }
}

#[test]
fn a_call_that_fails_for_good_loses_no_acknowledged_save_and_breaks_none() {
    fail_for_good(Place::default, 1);
}

/// The same without another try.
pub(crate) fn fail_for_good(place: impl Fn() -> Place, every: usize) {
    let whole = Flaky::new(&place(), Fault::None);
    scenario(&whole, 1);
    let (mut failed, mut faults) = (0, 0);
    for n in (0..whole.calls()).step_by(every) {
        for fault in [Fault::Fails(n), Fault::LosesAnswer(n), Fault::IsLate(n)] {
            let place = place();
            let (last, errors) = scenario(&Flaky::new(&place, fault), 1);
            // Abandoned files and the lock are given up without a report.
            assert!(errors.len() <= 1, "{fault:?}: {errors:?}");
            (failed, faults) = (failed + errors.len(), faults + 1);
            if let Err(why) = check(&place, last) {
                panic!("{fault:?}: {why}");
            }
        }
    }
    assert!(faults < 2 * failed, "only {failed} of {faults} faults were met");
}
