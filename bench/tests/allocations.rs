//! A step allocates nothing. This is the file's only test, as the counter is global.

use std::time::Duration;

use regimen::callback::Every;
use regimen_bench::{CALLBACKS, Counting, allocations, batteries_run, empty_run};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_step_allocates_nothing_however_many_callbacks_watch_it() {
    for callbacks in CALLBACKS {
        let check = |steps| allocated(|| empty_run(callbacks, steps).unwrap());
        assert_eq!(check(1_000), check(10), "{callbacks} callbacks");
    }
    // All logs, a bar and monitors. The logs write when the epoch ends; the bar reads the metrics of every 10th step,
    // for which the monitor names the learning rates in 3 allocations. It looks at the clock too, so the rest of a run
    // is not the same each time.
    let batteries = |steps| {
        let folder = tempfile::tempdir().unwrap();
        let every = Every::epochs(1);
        allocated(|| drop(batteries_run(folder.path(), Some(every), every, steps, Duration::ZERO).unwrap()))
    };
    let (short, long) = (batteries(1_000), batteries(11_000));
    assert!(long.saturating_sub(short) < 3 * 1_000 + 100, "{short} in 1,000 steps, {long} in 11,000");
}

fn allocated(run: impl FnOnce()) -> u64 {
    let before = allocations();
    run();
    let allocated = allocations() - before;
    assert_ne!(allocated, 0, "a run allocates, so a count of 0 means a broken counter");
    allocated
}
