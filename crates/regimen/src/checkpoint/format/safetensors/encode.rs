//! Encoding of a safetensors file.

use std::cmp::Reverse;
use std::io::Write;

use regimen_core::BoxError;
use regimen_core::saved::StateDict;

use super::header::{Header, render};
use super::layout::Layout;
use crate::checkpoint::format::limits::MAX_HEADER;

/// Writes `dict` as a safetensors file, array by array and without a copy of them.
///
/// Equal dicts give equal bytes. Wide elements come first, then names in order: each array lies at
/// a multiple of its element's size, as readers that map the file want it. An error, before anything
/// is written, if [`decode`](super::decode) would refuse the file: a header of more than 100 MB, an
/// array named `__metadata__`.
pub fn encode(dict: &StateDict, out: &mut dyn Write) -> Result<(), BoxError> {
    let mut arrays: Vec<_> = dict.iter().collect();
    arrays.sort_by_key(|(_, array)| Reverse(array.dtype().size()));
    let layout = |array: &regimen_core::saved::Array| Layout {
        dtype: array.dtype(),
        shape: array.shape().to_vec(),
        bytes: array.bytes().len(),
    };
    let header: Header = arrays.iter().map(|(name, array)| ((*name).to_owned(), layout(array))).collect();
    let text = render(&header)?;
    if MAX_HEADER < text.len() as u64 {
        return Err(format!(
            "the names and shapes of {} arrays make a header of {} bytes, and {MAX_HEADER} are the most that \
             readers take; give them shorter names, or spread them over several parts",
            header.len(),
            text.len()
        )
        .into());
    }
    out.write_all(&(text.len() as u64).to_le_bytes())?;
    out.write_all(text.as_bytes())?;
    for (_, array) in arrays {
        out.write_all(array.bytes())?;
    }
    Ok(())
}
