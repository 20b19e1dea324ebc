//! Decoding of a safetensors file.

use std::io::Read;

use regimen_core::BoxError;
use regimen_core::error::WithCauses;
use regimen_core::saved::{Array, StateDict};
use regimen_core::text::Count;

use super::header::{Header, parse};
use crate::checkpoint::format::limits::MAX_HEADER;

/// Reads the safetensors file of `length` bytes that `source` gives.
///
/// Every rule of the format is checked before any array is read, so that what is allocated does
/// not exceed a multiple of `length`, however the file is damaged. Text about the file is not
/// kept. It is an error if an array has a type that [`Dtype`](regimen_core::saved::Dtype) lacks.
pub fn decode(source: &mut dyn Read, length: u64) -> Result<StateDict, BoxError> {
    let mut dict = StateDict::new();
    for (name, layout) in decode_header(source, length)? {
        // Zeroed pages cost nothing before they are written, where growing would copy.
        let mut bytes = vec![0; layout.bytes];
        source.read_exact(&mut bytes).map_err(|cause| format!("array `{name}`: {}", WithCauses(&cause)))?;
        dict.insert(name, Array::new(layout.dtype, layout.shape, bytes)?)?;
    }
    Ok(dict)
}

/// Reads only which arrays the file holds, and leaves `source` at the first of their bytes.
pub fn decode_header(source: &mut dyn Read, length: u64) -> Result<Header, BoxError> {
    let mut prefix = [0; 8];
    source.read_exact(&mut prefix).map_err(|cause| format!("header: {}", WithCauses(&cause)))?;
    let size = u64::from_le_bytes(prefix);
    let data = length.checked_sub(8).and_then(|rest| rest.checked_sub(size));
    let data = data.filter(|_| size <= MAX_HEADER);
    let data = data.ok_or_else(|| format!("a header of {} in a file of {length}", Count(size, "byte")))?;
    let mut text = vec![0; usize::try_from(size)?];
    source.read_exact(&mut text).map_err(|cause| format!("header: {}", WithCauses(&cause)))?;
    parse(&text, data)
}
