//! A step allocates nothing for agreements between ranks. This is the file's only test, as the counter is global.

use std::time::Duration;

use regimen::run::Train;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};
use regimen_bench::{Counting, allocations};
use regimen_test::peers::{Threads, on_ranks};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Empty;

impl TrainUnit for Empty {
    type Batch = ();

    fn train_step(&mut self, _state: &mut State, (): ()) -> Result<(), BoxError> {
        Ok(())
    }
}

#[test]
fn a_step_on_two_ranks_allocates_nothing() {
    let allocated = |steps: usize| {
        let ranks = Threads::of(2, Duration::from_secs(600));
        let before = allocations();
        let trained = on_ranks(ranks, |peers| {
            let report = Run::new(&mut Empty).peers(peers).train(&vec![(); steps], Train::epochs(1));
            report.map(|report| report.train.steps).map_err(|error| format!("{error:#}"))
        });
        assert_eq!(trained, vec![Ok(Ok(steps as u64)); 2]);
        allocations() - before
    };
    // The least of several: the program that runs the test allocates too.
    let least = |steps| (0..5).map(|_| allocated(steps)).min();
    let short = least(10);
    assert_ne!(short, Some(0), "a run allocates, so a count of 0 means a broken counter");
    assert_eq!(least(1_000), short);
}
