//! A [`StateDict`](regimen_core::saved::StateDict) as a safetensors file, readable in Python without this crate.
//!
//! The reader and writer are our own because the `safetensors` crate lacks these: a
//! writer to any destination without a second copy, a reader that allocates no more than a
//! multiple of the file, and an error if two arrays have one name. But for that, and for types
//! that [`Dtype`](regimen_core::saved::Dtype) lacks, it takes what that crate takes and refuses what that
//! refuses. The tests hold both to the crate and to the Python package.

mod decode;
mod encode;
mod file;
mod header;
mod json;
mod layout;

pub use decode::{decode, decode_header};
pub use encode::encode;
pub use file::{load_file, save_file};
pub use header::Header;
pub use layout::Layout;
