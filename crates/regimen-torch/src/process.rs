//! Settings of libtorch for the whole process.

use regimen_core::BoxError;

use crate::shim;

/// Keeps memory that a step frees for the next step, instead of returning it to the system. Returns whether
/// the platform supports this: glibc does.
///
/// Otherwise a network on the CPU returns large blocks in every step and has their pages cleared again in the
/// next. Results do not change. Blocks of more than 32 MB are returned all the same. The whole process keeps
/// unused memory, so this is the program's choice. Call it first in `main`.
pub fn keep_memory() -> bool {
    shim::keep_memory()
}

/// Allows only deterministic kernels, as `torch.use_deterministic_algorithms` does. An operation without one
/// is an error from then on. On CUDA, matrix products are among those unless
/// `CUBLAS_WORKSPACE_CONFIG=:4096:8` is in the environment. Kernels on the CPU are deterministic anyway if
/// the number of threads is the same.
pub fn use_deterministic_algorithms(only: bool) -> Result<(), BoxError> {
    shim::use_deterministic_algorithms(only)
}
