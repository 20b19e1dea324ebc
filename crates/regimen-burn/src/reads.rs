//! Counter of reads from the device.

use std::cell::Cell;

thread_local! {
    static HOST_READS: Cell<u64> = const { Cell::new(0) };
}

/// Number of reads from the device by engines on this thread, of one number or many at once: losses, norms
/// and copies of state. For tests.
#[doc(hidden)]
pub fn host_reads() -> u64 {
    HOST_READS.get()
}

pub(crate) fn note_host_read() {
    HOST_READS.set(HOST_READS.get() + 1);
}
