//! The resident set of this process, in a program of its own: other tests would change it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

use std::hint::black_box;
use std::time::Duration;

use regimen::memory::{RssProfiler, peak_resident_set_size, resident_set_size};

const MIB: u64 = 1 << 20;

#[test]
fn growth_is_seen_also_if_it_is_gone_at_the_end() {
    let profiler = RssProfiler::new().interval(Duration::from_millis(1));
    let (kept, growth) = profiler.measure(|| black_box(vec![1_u8; 64 << 20]));
    assert!((60 * MIB..80 * MIB).contains(&growth.unwrap()), "{growth:?}");
    // The peak is read by the kernel, so it shows the growth whether or not it is sampled.
    let now = resident_set_size().unwrap();
    assert!((60 * MIB..=peak_resident_set_size().unwrap()).contains(&now), "{now}");

    let (seen, growth) = profiler.measure(|| {
        let _gone = black_box(vec![1_u8; 64 << 20]);
        // The profiler reads five hundred times meanwhile, and must find it once.
        std::thread::sleep(Duration::from_millis(500));
        resident_set_size().unwrap()
    });
    assert!((60 * MIB..80 * MIB).contains(&growth.unwrap()), "{growth:?}");
    let left = resident_set_size().unwrap();
    assert!(left + 60 * MIB <= seen, "{left} are left of {seen}");
    drop(kept);

    let (_, growth) = profiler.measure(|| ());
    assert!(growth.unwrap() < 16 * MIB, "{growth:?}");
}
