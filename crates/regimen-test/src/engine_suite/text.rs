//! State as lines of text, so that a second process can read it without a file format.

use std::collections::BTreeMap;

use regimen_core::BoxError;
use regimen_core::saved::{Array, Dtype, StateDict};

/// One line per array: part, name, type, shape and bytes in hexadecimal, separated by tabs. A part without
/// arrays is a line with its name.
pub(super) fn to_text(parts: &BTreeMap<String, StateDict>) -> String {
    let mut text = String::new();
    for (part, dict) in parts {
        text.push_str(&format!("{part}\n"));
        for (name, array) in dict.iter() {
            let (dtype, shape) = (array.dtype(), array.shape());
            let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
            let bytes: String = array.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            text.push_str(&format!("{part}\t{name}\t{dtype:?}\t{}\t{bytes}\n", shape.join(",")));
        }
    }
    text
}

/// The reverse of [`to_text`].
pub(super) fn from_text(text: &str) -> Result<BTreeMap<String, StateDict>, BoxError> {
    let mut parts: BTreeMap<String, StateDict> = BTreeMap::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let dict = parts.entry(fields[0].to_owned()).or_default();
        let [_, name, dtype, shape, bytes] = fields[..] else { continue };
        let dtype = Dtype::ALL.into_iter().find(|known| format!("{known:?}") == dtype);
        let dtype = dtype.ok_or_else(|| format!("`{name}` is of an unknown type"))?;
        let shape = shape.split(',').filter(|length| !length.is_empty()).map(str::parse);
        let pairs = bytes.as_bytes().chunks_exact(2).map(|pair| {
            let pair = std::str::from_utf8(pair)?;
            Ok(u8::from_str_radix(pair, 16)?)
        });
        let bytes = pairs.collect::<Result<_, BoxError>>()?;
        dict.insert(name, Array::new(dtype, shape.collect::<Result<_, _>>()?, bytes)?)?;
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_gives_back_what_was_written() {
        let mut dict = StateDict::new();
        dict.insert("number", -0.1_f64).unwrap();
        dict.insert("nothing", Array::new(Dtype::BF16, vec![2, 0], vec![]).unwrap()).unwrap();
        dict.insert("bytes", Array::new(Dtype::U8, vec![2, 2], vec![0, 15, 16, 255]).unwrap()).unwrap();
        let parts = BTreeMap::from([("empty".to_owned(), StateDict::new()), ("full".to_owned(), dict)]);
        assert_eq!(from_text(&to_text(&parts)).unwrap(), parts);
    }
}
