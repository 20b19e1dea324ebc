//! The format of a checkpoint: names, checksums, the manifest, and safetensors.

pub(super) mod checksum;
pub(super) mod limits;
pub(super) mod manifest;
pub(super) mod name;
pub mod safetensors;

pub use manifest::{Manifest, PartFile};
