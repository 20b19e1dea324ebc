//! The header of a safetensors file: names, layouts and offsets of its arrays.

use regimen_core::BoxError;
use regimen_core::text::Count;

use super::json::{Arrays, Span};
use super::layout::{DTYPES, Layout, METADATA};

/// The arrays of a file in the order in which their bytes follow one another, without gaps.
pub type Header = Vec<(String, Layout)>;

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
    let mut arrays: Vec<(String, Span)> = arrays.into_iter().collect();
    // An empty array begins where the next one does, so the end decides between the two.
    arrays.sort_by_key(|(_, span)| (span.start, span.end));
    let mut at = 0;
    let mut header = Vec::with_capacity(arrays.len());
    for (name, Span { layout, start, end }) in arrays {
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
