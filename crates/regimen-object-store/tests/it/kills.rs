//! Processes that die at any call, one after another on the same run directory.

use std::sync::Arc;

use regimen::checkpoint::{Checkpoints, Keep, Which, Writer};

use crate::common::*;
use crate::failures::check;
use crate::flaky::{Fault, Flaky};
use crate::place::Place;

const KILLS: u64 = 1000;

/// Goes on from the newest checkpoint, saves at every step and keeps two, until the process dies. Returns the last step
/// that was acknowledged.
fn live(place: &Place, fault: Fault, mut last: u64) -> Result<u64, String> {
    let store = Arc::new(Flaky::new(place, fault).store(1));
    let Ok(found) = Checkpoints::on(store.clone(), DIR).load(Which::Latest) else { return Ok(last) };
    let mut step = found.as_ref().map_or(0, |found| found.checkpoint.manifest().step);
    if step < last {
        return Err(format!("step {last} was acknowledged, {step} was found"));
    }
    if found.is_some_and(|found| found.content != parts(step) || !found.skipped.is_empty()) {
        return Err(format!("step {step} does not hold what was saved, or another is broken"));
    }
    let Ok(mut writer) = Writer::open_on(store, DIR, RUN) else { return Ok(last) };
    writer.sweep();
    for _ in 0..4 {
        step += 1;
        if writer.save(&snapshot(step, step)).is_err() {
            return Ok(last);
        }
        last = step;
        writer.prune(&Keep::all().last(2));
    }
    Ok(last)
}

#[test]
fn a_thousand_kills_lose_no_acknowledged_save_and_leave_none_half_written() {
    kill_often(&Place::default(), cases("REGIMEN_KILLS", KILLS));
}

pub(crate) fn kill_often(place: &Place, kills: u64) {
    let (mut random, mut last, mut died) = (Random(1), 0, 0);
    for kill in 0..kills {
        let n = random.below(120);
        let fault = if random.below(2) == 0 { Fault::DiesBefore(n) } else { Fault::DiesAfter(n) };
        let before = last;
        last = live(place, fault, last).unwrap_or_else(|why| panic!("kill {kill}, {fault:?}: {why}"));
        died += u64::from(last < before + 4);
    }
    assert!(kills / 2 < died, "only {died} died in the midst of their saves");
    assert!(check(place, last).unwrap() >= last);
}

#[test]
fn a_kill_at_each_call_leaves_the_old_or_the_new() {
    let whole = Flaky::new(&Place::default(), Fault::None);
    let store = Arc::new(whole.store(1));
    let mut writer = Writer::open_on(store, DIR, RUN).unwrap();
    (1..=3).for_each(|step| drop(writer.save(&snapshot(step, step)).unwrap()));
    drop(writer);
    for n in 0..=whole.calls() {
        for fault in [Fault::DiesBefore(n), Fault::DiesAfter(n)] {
            let place = Place::default();
            let last = live(&place, fault, 0).unwrap();
            if let Err(why) = check(&place, last) {
                panic!("{fault:?}: {why}");
            }
        }
    }
}
