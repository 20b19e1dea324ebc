//! Random failures of runs on the toy engine. Each run must end with the same bytes as the
//! undisturbed run. A case is a pure function of its seed.

mod auto;
mod case;
mod data;
mod draw;
mod drive;
mod outcome;
mod pass;
mod plain;
mod recorder;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{panic, thread};

use case::Case;
use drive::drive;
use regimen::error::panic_text;

use crate::tally::Tally;

/// Number of failures after which no further case starts.
const ENOUGH: usize = 10;

/// Runs the cases of the seeds from 0.
pub(crate) fn random(cases: u64) -> Tally {
    silence();
    let (next, failures) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let lock = || failures.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while lock().len() < ENOUGH {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if cases <= seed {
                        return;
                    }
                    if let Err(wrong) = check_or_panic(&Case::draw(seed)) {
                        lock().push((seed, wrong));
                    }
                }
            });
        }
    });
    let done = next.into_inner().min(cases);
    let mut tally = Tally::new("random", cases);
    let mut failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort();
    (failures.len() as u64..done).for_each(|_| tally.count(Ok(())));
    for (seed, wrong) in failures {
        tally.count(Err(format!("`--random 1 --seed {seed}` repeats it: {wrong}\n{}", Case::draw(seed))));
    }
    tally
}

/// Runs the case of one seed, and prints it.
pub(crate) fn again(seed: u64) -> Tally {
    silence();
    let case = Case::draw(seed);
    println!("{case}");
    let mut tally = Tally::new("random", 1);
    tally.count(check_or_panic(&case));
    tally
}

/// Like [`check`], but an uncaught panic is a failure as well.
fn check_or_panic(case: &Case) -> Result<(), String> {
    panic::catch_unwind(panic::AssertUnwindSafe(|| check(case)))
        .unwrap_or_else(|payload| Err(format!("it panicked: {:?}", panic_text(&*payload))))
}

/// Returns an error that describes the violation in `case`, if any.
fn check(case: &Case) -> Result<(), String> {
    let whole = drive(case, false).map_err(|wrong| format!("the run left alone: {wrong}"))?;
    if let Some(twin) = case.twin() {
        let other = drive(&twin, false).map_err(|wrong| format!("its twin: {wrong}"))?;
        other.check(&whole).map_err(|wrong| format!("batches of weight zero are looked at: {wrong}"))?;
    }
    drive(case, true)?.check(&whole)
}

/// Silences the panics that a case raises; others are printed as usual.
fn silence() {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !info.payload_as_str().is_some_and(|text| text.starts_with(world::DRAWN)) {
            others(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_a_pure_function_of_its_seed() {
        for seed in 0..100 {
            assert_eq!(Case::draw(seed).to_string(), Case::draw(seed).to_string());
        }
    }

    #[test]
    fn a_run_ends_the_same_when_it_is_made_again() {
        let whole = |case: &Case| drive(case, false).ok();
        let cases = (0..100).map(Case::draw);
        let ended: Vec<_> = cases.filter_map(|case| Some((whole(&case)?, case))).collect();
        assert!(ended.len() > 90, "{}", ended.len());
        for (whole, case) in ended {
            assert_eq!(drive(&case, false).and_then(|again| again.check(&whole)), Ok(()));
        }
    }

    /// A control: state lost in a restart is noticed.
    #[test]
    fn a_restart_that_forgets_the_window_is_caught() {
        silence();
        let caught = |case: &Case| check(case).is_ok() && check(&case.clone().forgetful()).is_err();
        assert!((0..500).any(|seed| caught(&Case::draw(seed))));
    }
}
