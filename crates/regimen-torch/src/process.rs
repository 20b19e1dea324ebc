//! Settings of libtorch that are those of the whole process.

use regimen_core::BoxError;

use crate::shim;

/// Has the memory that steps free kept for the next step, instead of given back to the system and
/// asked for again. Returns whether that can be done here: it can with glibc.
///
/// A network on the CPU gives back large blocks in every step and has their pages cleared again in the
/// next. Results do not change. Blocks of more than 32 MB are given back all the same. It is the
/// whole process that keeps memory it does not use: so it is the program's choice. Call it first in
/// `main`.
pub fn keep_memory() -> bool {
    shim::keep_memory()
}

/// Has only kernels used whose results repeat, as `torch.use_deterministic_algorithms` does. An
/// operation that has none is an error from then on; on CUDA, matrix products are among those unless
/// `CUBLAS_WORKSPACE_CONFIG=:4096:8` is in the environment. Kernels on the CPU repeat without it, as long
/// as the number of threads is the same.
pub fn use_deterministic_algorithms(only: bool) -> Result<(), BoxError> {
    shim::use_deterministic_algorithms(only)
}
