//! A step allocates nothing. This is the file's only test, as the counter is global.

use regimen_bench::{CALLBACKS, Counting, allocations, empty_run};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_step_allocates_nothing_however_many_callbacks_watch_it() {
    let allocated = |callbacks, steps| {
        let before = allocations();
        empty_run(callbacks, steps).unwrap();
        allocations() - before
    };
    for callbacks in CALLBACKS {
        let short = allocated(callbacks, 10);
        assert_ne!(short, 0, "a run allocates, so a count of 0 means a broken counter");
        assert_eq!(allocated(callbacks, 1_000), short, "{callbacks} callbacks");
    }
}
