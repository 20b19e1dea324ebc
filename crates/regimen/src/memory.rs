//! The memory of this process: its resident set, now, at its peak, and while some work runs.
//!
//! The resident set is the main memory that the process holds. Tensors on the CPU are in it, and those on a
//! GPU are not. It is read from `/proc/self/status`, which only Linux has.

use std::fs;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, Builder};
use std::time::Duration;

/// The resident set of this process in bytes. Returns `None` on systems other than Linux.
pub fn resident_set_size() -> Option<u64> {
    read("VmRSS")
}

/// The largest resident set that this process has had, in bytes. Returns `None` on systems other than Linux.
pub fn peak_resident_set_size() -> Option<u64> {
    read("VmHWM")
}

/// Measures by how much the resident set grows while some work runs.
///
/// A thread reads it at an interval, and the end of the work is always read. A growth that is gone before the
/// next read is not seen. Other threads of the process count as well.
///
/// ```
/// use regimen::memory::RssProfiler;
///
/// let (sum, growth) = RssProfiler::new().measure(|| (0..1000).collect::<Vec<u64>>().iter().sum::<u64>());
/// assert_eq!(sum, 499_500);
/// if let Some(bytes) = growth {
///     println!("it took {bytes} bytes more");
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RssProfiler {
    interval: Duration,
}

impl RssProfiler {
    /// Reads the resident set every 100 milliseconds.
    pub fn new() -> Self {
        RssProfiler { interval: Duration::from_millis(100) }
    }

    /// The time between two reads. Default: 100 milliseconds.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Runs `work`. Returns its result, and the largest difference to the resident set before it, in bytes: 0
    /// if it never grew, `None` if it cannot be read. A panic of `work` goes on.
    pub fn measure<R>(&self, work: impl FnOnce() -> R) -> (R, Option<u64>) {
        let before = resident_set_size();
        let (end, ended) = mpsc::channel::<()>();
        let (result, sampled) = thread::scope(|scope| {
            let sampler = || largest(self.interval, ended);
            let sampler = Builder::new().name("regimen-rss".to_owned()).spawn_scoped(scope, sampler).ok();
            let result = work();
            drop(end);
            (result, sampler.and_then(|sampler| sampler.join().ok()).flatten())
        });
        let largest = sampled.max(resident_set_size());
        (result, largest.zip(before).map(|(largest, before)| largest.saturating_sub(before)))
    }
}

impl Default for RssProfiler {
    /// Reads the resident set every 100 milliseconds.
    fn default() -> Self {
        RssProfiler::new()
    }
}

/// The largest resident set until the other end of `ended` is dropped.
fn largest(interval: Duration, ended: Receiver<()>) -> Option<u64> {
    let mut largest = None;
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(interval) {
        largest = largest.max(resident_set_size());
    }
    largest
}

fn read(field: &str) -> Option<u64> {
    bytes(&fs::read_to_string("/proc/self/status").ok()?, field)
}

/// The value of a line such as `VmRSS:     1234 kB`.
fn bytes(status: &str, field: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read_in_bytes() {
        let status = "Name:\tcargo\nVmPeak:\t  999 kB\nVmRSS:\t   12 kB\nVmRSSx:\t3 kB\nVmHWM: 7 MB\nVmSwap:";
        let check = |field, expected| assert_eq!(bytes(status, field), expected, "{field}");
        check("VmPeak", Some(999 * 1024));
        check("VmRSS", Some(12 * 1024));
        check("VmHWM", None);
        check("VmSwap", None);
        check("VmData", None);
        check("Name", None);
        assert_eq!(bytes("VmRSS: 99999999999999999 kB", "VmRSS"), None);
    }

    #[test]
    #[should_panic = "on purpose"]
    fn a_panic_of_the_work_goes_on_and_ends_the_thread() {
        RssProfiler::new().measure(|| panic!("on purpose"));
    }
}
