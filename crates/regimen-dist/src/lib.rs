#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod collective;
mod launch;
mod mpi;
#[cfg(feature = "nccl")]
mod nccl;
mod solo;
mod survive;
mod values;

pub use collective::{Collective, init};
pub use mpi::Mpi;
#[cfg(feature = "nccl")]
pub use nccl::Nccl;
pub use solo::Solo;
pub use survive::survive;
pub use values::{all_true, any_true, barrier, broadcast, count_true, gather, on_first};
