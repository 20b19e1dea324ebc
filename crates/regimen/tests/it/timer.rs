//! Timers, on a clock that moves when it is told to.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use regimen::timer::Timer;

/// A clock in milliseconds.
#[derive(Clone, Default)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn pass(&self, milliseconds: u64) {
        self.0.fetch_add(milliseconds, Ordering::Relaxed);
    }

    fn timer(&self) -> Timer {
        let now = self.0.clone();
        Timer::with_clock(move || Duration::from_millis(now.load(Ordering::Relaxed)))
    }
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Each block with its count and its total in milliseconds.
fn totals(timer: &Timer) -> String {
    let line = |depth, name: &str, count, total: Duration| {
        format!("{}{name} {count} {}", ".".repeat(depth), total.as_millis())
    };
    let lines = timer.timings().map(|block| line(block.depth(), block.name(), block.count(), block.total()));
    lines.collect::<Vec<_>>().join(", ")
}

#[test]
fn blocks_are_a_tree_in_the_order_of_their_first_start() {
    let clock = Clock::default();
    let mut timer = clock.timer();
    assert_eq!(totals(&timer), "");
    for i in 1..=2 {
        timer.time("step", |timer| {
            timer.time("data", |_| clock.pass(10 * i));
            timer.time("compute", |timer| {
                clock.pass(1);
                timer.time("data", |_| clock.pass(100));
            });
        });
    }
    timer.time("data", |_| clock.pass(5));
    assert_eq!(totals(&timer), "step 2 232, .data 2 30, .compute 2 202, ..data 2 200, data 1 5");
    assert_eq!(timer.get(&["step", "compute", "data"]).unwrap().total(), ms(200));
    assert_eq!(timer.get(&["data"]).unwrap().total(), ms(5));
    assert!(timer.get(&["step", "none"]).is_none() && timer.get(&["none", "data"]).is_none());
    assert!(timer.get(&[]).is_none());
}

#[test]
fn a_paused_clock_counts_to_no_block() {
    let clock = Clock::default();
    let mut timer = clock.timer();
    clock.pass(3);
    timer.time("outer", |timer| {
        clock.pass(10);
        timer.time("inner", |timer| {
            timer.pause();
            clock.pass(1000);
            timer.pause();
            clock.pass(1000);
            timer.resume();
            timer.resume();
            clock.pass(1);
        });
    });
    timer.pause();
    timer.time("paused", |_| clock.pass(7));
    assert_eq!(totals(&timer), "outer 1 11, .inner 1 1, paused 1 0");
}

#[test]
fn hooks_start_and_stop_blocks_by_hand() {
    let clock = Clock::default();
    let mut timer = clock.timer();
    assert_eq!(timer.stop(), None);
    timer.start("outer");
    clock.pass(1);
    timer.start(format!("inner {}", 1));
    clock.pass(2);
    assert_eq!(timer.stop(), Some(ms(2)));
    assert_eq!(totals(&timer), "outer 0 0, .inner 1 1 2");
    assert_eq!(timer.stop(), Some(ms(3)));
    assert_eq!(timer.stop(), None);
    // A block that a closure leaves open ends with it.
    timer.time("outer", |timer| {
        timer.start("left open");
        clock.pass(4);
    });
    assert_eq!(totals(&timer), "outer 2 7, .inner 1 1 2, .left open 1 4");
    assert_eq!(timer.stop(), None);
}

#[test]
fn a_block_that_panics_is_not_counted_and_the_next_one_is_in_its_place() {
    let clock = Clock::default();
    let mut timer = clock.timer();
    timer.time("outer", |timer| {
        clock.pass(1);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            timer.time("inner", |timer| {
                timer.start("innermost");
                clock.pass(2);
                panic!("told to panic");
            })
        }));
        assert!(panicked.is_err());
        timer.time("next", |_| clock.pass(4));
    });
    assert_eq!(totals(&timer), "outer 1 7, .inner 0 0, ..innermost 0 0, .next 1 4");
}

#[test]
fn a_reset_forgets_all_times_and_what_is_open_goes_on() {
    let clock = Clock::default();
    let mut timer = clock.timer();
    timer.time("outer", |timer| {
        timer.time("inner", |_| clock.pass(5));
        timer.reset();
        clock.pass(2);
    });
    assert_eq!(totals(&timer), "outer 1 2, .inner 0 0");
    assert_eq!(timer.get(&["outer", "inner"]).unwrap().percentile(50.0), None);
}

#[test]
fn percentiles_are_times_that_were_measured() {
    let clock = Clock::default();
    let mut timer = clock.timer();
    for time in [40, 10, 30, 20] {
        timer.time("a", |_| clock.pass(time));
    }
    timer.start("b");
    let block = timer.get(&["a"]).unwrap();
    let check = |percent, expected| assert_eq!(block.percentile(percent), expected, "{percent}");
    check(0.0, Some(ms(10)));
    check(33.0, Some(ms(10)));
    check(34.0, Some(ms(20)));
    check(50.0, Some(ms(20)));
    check(99.9, Some(ms(30)));
    check(100.0, Some(ms(40)));
    check(-0.1, None);
    check(100.1, None);
    check(f64::NAN, None);
    assert_eq!(block.mean(), Some(ms(25)));
    let open = timer.get(&["b"]).unwrap();
    assert_eq!((open.count(), open.mean(), open.percentile(50.0)), (0, None, None));
}

#[test]
fn percentiles_forget_the_oldest_times_and_counts_do_not() {
    let clock = Clock::default();
    let mut timer = clock.timer();
    for i in 0..10_000 {
        timer.time("a", |_| clock.pass(if i < 5904 { 1000 } else { 1 }));
    }
    let block = timer.get(&["a"]).unwrap();
    assert_eq!((block.count(), block.total()), (10_000, ms(5904 * 1000 + 4096)));
    assert_eq!(block.percentile(100.0), Some(ms(1)));
}

#[test]
fn the_table_has_a_row_per_block_with_its_share_of_the_block_around_it() {
    let clock = Clock::default();
    let mut timer = clock.timer();
    assert_eq!(timer.to_string(), "block     count     total      mean       p50       p90  share");
    for time in [1, 2, 3] {
        timer.time("step", |timer| {
            timer.time("data", |_| clock.pass(time));
            clock.pass(2 * time);
        });
    }
    timer.time("evaluation", |timer| {
        clock.pass(6000);
        timer.start("left open");
        timer.reset();
    });
    for time in [1, 2, 3] {
        timer.time("step", |timer| {
            timer.time("data", |_| clock.pass(time));
            clock.pass(2 * time);
        });
    }
    timer.time("evaluation", |_| clock.pass(6));
    timer.start("save");
    let expected = "\
block           count     total      mean       p50       p90  share
step                3   18.00ms    6.00ms    6.00ms    6.00ms  75.0%
  data              3    6.00ms    2.00ms    2.00ms    2.00ms  33.3%
evaluation          2    6.00ms    3.00ms    0.00ns    0.00ns  25.0%
  left open         1    0.00ns    0.00ns    0.00ns    0.00ns   0.0%
save                0    0.00ns         -         -         -   0.0%";
    assert_eq!(timer.to_string(), expected);
}
