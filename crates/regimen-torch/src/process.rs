//! Settings of libtorch that are those of the whole process.

use regimen_core::BoxError;

use crate::shim;

/// Has the memory that steps free kept for the next step, instead of given back to the system and
/// asked for again. Returns whether that can be done here: it can with glibc.
///
/// A convolutional network on the CPU spends up to a third of a step on pages that it gave back the
/// step before. Results do not change. The process keeps up to a gigabyte that it does not use, and
/// it is the whole process that does: so it is the program's choice. Call it first in `main`.
pub fn keep_memory() -> bool {
    shim::keep_memory()
}

/// Has only kernels used whose results repeat, as `torch.use_deterministic_algorithms` does. An
/// operation that has none is an error from then on. Kernels on the CPU repeat without it, as long
/// as the number of threads is the same.
pub fn use_deterministic_algorithms(only: bool) -> Result<(), BoxError> {
    shim::use_deterministic_algorithms(only)
}
