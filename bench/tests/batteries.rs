//! Allocations of a step with logs, a bar and monitors. This is the file's only test, as the counter is global.

use std::time::Duration;

use regimen::callback::Every;
use regimen_bench::{Counting, allocations, batteries_run};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The bar reads the metrics of every 10th step, for which the monitor names the learning rates.
const NAMES: u64 = 4;
/// The bar looks at the clock, so the rest of a run is not the same each time.
const REST: u64 = 100;

#[test]
fn a_step_at_which_nothing_is_logged_or_shown_allocates_nothing() {
    let allocated = |steps| {
        let (folder, every) = (tempfile::tempdir().unwrap(), Every::epochs(1));
        let before = allocations();
        batteries_run(folder.path(), Some(every), every, steps, Duration::ZERO).unwrap();
        allocations() - before
    };
    let (short, long) = (allocated(1_000), allocated(11_000));
    assert_ne!(short, 0, "a run allocates, so a count of 0 means a broken counter");
    assert!(long - short < 10_000 / 10 * NAMES + REST, "{short} in 1,000 steps, {long} in 11,000");
}
