//! The format of a checkpoint: names, pieces, checksums, the manifest, and safetensors.

pub(super) mod checksum;
pub(super) mod limits;
pub(super) mod manifest;
pub(super) mod name;
pub(super) mod piece;
pub mod safetensors;

pub use manifest::{Manifest, PartFile};
