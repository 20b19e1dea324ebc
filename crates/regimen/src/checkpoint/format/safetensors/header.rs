//! The header of a safetensors file: which arrays it holds, and where.

use regimen_core::BoxError;
use regimen_core::saved::Dtype;
use regimen_core::text::Count;

use super::json::{Arrays, Place};

/// The arrays of a file in the order in which their bytes follow one another, without gaps.
pub type Header = Vec<(String, Layout)>;

/// Type, shape and size of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The elements' type.
    pub dtype: Dtype,
    /// The length of each dimension; empty for a single number.
    pub shape: Vec<usize>,
    /// Its size in bytes.
    pub bytes: usize,
}

/// The key under which other writers keep text about the file. We write none and read past it.
pub(crate) const METADATA: &str = "__metadata__";

pub(crate) const DTYPES: [(Dtype, &str); 13] = [
    (Dtype::Bool, "BOOL"),
    (Dtype::U8, "U8"),
    (Dtype::I8, "I8"),
    (Dtype::U16, "U16"),
    (Dtype::I16, "I16"),
    (Dtype::F16, "F16"),
    (Dtype::BF16, "BF16"),
    (Dtype::U32, "U32"),
    (Dtype::I32, "I32"),
    (Dtype::F32, "F32"),
    (Dtype::U64, "U64"),
    (Dtype::I64, "I64"),
    (Dtype::F64, "F64"),
];

/// The text of the header, padded so that the first array begins at a multiple of eight bytes.
pub(crate) fn render(header: &Header) -> Result<String, BoxError> {
    let mut text = String::from("{");
    let mut start = 0;
    for (name, Layout { dtype, shape, bytes }) in header {
        if name == METADATA {
            return Err(format!("an array cannot be named `{METADATA}` in a safetensors file").into());
        }
        let listed = DTYPES.iter().find(|(listed, _)| listed == dtype);
        let (_, dtype) = listed.ok_or_else(|| format!("array `{name}`: {dtype:?} cannot be saved"))?;
        let comma = if text.len() == 1 { "" } else { "," };
        let (name, shape) = (serde_json::to_string(name)?, serde_json::to_string(shape)?);
        let offsets = format!("[{start},{}]", start + bytes);
        text += &format!(r#"{comma}{name}:{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#);
        start += bytes;
    }
    text.push('}');
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    Ok(text)
}

/// Reads the text of a header. Its arrays must fill exactly `data` bytes.
pub(crate) fn parse(text: &[u8], data: u64) -> Result<Header, BoxError> {
    let text = std::str::from_utf8(text).map_err(|cause| format!("header: {cause}"))?;
    let Arrays(arrays) = serde_json::from_str(text).map_err(|cause| format!("header: {cause}"))?;
    let mut arrays: Vec<(String, Place)> = arrays.into_iter().collect();
    // An empty array begins where the next one does, so the end decides between the two.
    arrays.sort_by_key(|(_, place)| (place.start, place.end));
    let mut at = 0;
    let mut header = Vec::with_capacity(arrays.len());
    for (name, Place { layout, start, end }) in arrays {
        if (start, Some(end)) != (at, start.checked_add(layout.bytes as u64)) {
            let Layout { dtype, shape, .. } = layout;
            let found =
                format!("bytes {start} to {end} do not hold {dtype:?} of shape {shape:?} from {at} on");
            return Err(format!("array `{name}`: {found}").into());
        }
        at = end;
        header.push((name, layout));
    }
    if at != data {
        return Err(
            format!("the header speaks of {} of arrays, the file holds {data}", Count(at, "byte")).into()
        );
    }
    Ok(header)
}
