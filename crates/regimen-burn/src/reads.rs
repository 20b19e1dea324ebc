//! How often numbers are read from the device.

use std::cell::Cell;

thread_local! {
    static HOST_READS: Cell<u64> = const { Cell::new(0) };
}

/// How often engines have read numbers from the device on this thread, one or many at once: losses, norms and
/// copies of what they hold. For tests.
#[doc(hidden)]
pub fn host_reads() -> u64 {
    HOST_READS.get()
}

pub(crate) fn note_host_read() {
    HOST_READS.set(HOST_READS.get() + 1);
}
