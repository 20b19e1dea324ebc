//! State dictionaries as bytes, for ranks of the same program.
//!
//! ```text
//! for each array   name (length, UTF-8), type (1), dimensions (count, sizes), bytes (length, bytes)
//! ```
//!
//! Counts, sizes and lengths are 8 bytes each, little-endian.

use crate::BoxError;
use crate::saved::{Array, Dtype, StateDict};

pub(super) fn encode(dict: &StateDict) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, array) in dict.iter() {
        write_bytes(&mut out, name.as_bytes());
        out.push(array.dtype() as u8);
        write_count(&mut out, array.shape().len());
        array.shape().iter().for_each(|&size| write_count(&mut out, size));
        write_bytes(&mut out, array.bytes());
    }
    out
}

fn write_count(out: &mut Vec<u8>, count: usize) {
    out.extend((count as u64).to_le_bytes());
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_count(out, bytes.len());
    out.extend(bytes);
}

pub(super) fn decode(bytes: &[u8]) -> Result<StateDict, BoxError> {
    let mut dict = StateDict::new();
    let mut reader = Reader(bytes);
    while !reader.0.is_empty() {
        let name = std::str::from_utf8(reader.bytes()?)?;
        let dtype = Dtype::ALL
            .get(usize::from(reader.take(1)?[0]))
            .ok_or("a state of another rank has an unknown type")?;
        let dimensions = reader.count()?;
        let shape = (0..dimensions).map(|_| reader.count()).collect::<Result<_, _>>()?;
        dict.insert(name, Array::new(*dtype, shape, reader.bytes()?.to_vec())?)?;
    }
    Ok(dict)
}

/// The bytes that are not read yet.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Result<&'b [u8], BoxError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or("a state of another rank is cut off")?;
        self.0 = rest;
        Ok(taken)
    }

    fn count(&mut self) -> Result<usize, BoxError> {
        let (&count, rest) = self.0.split_first_chunk().ok_or("a state of another rank is cut off")?;
        self.0 = rest;
        Ok(usize::try_from(u64::from_le_bytes(count))?)
    }

    fn bytes(&mut self) -> Result<&'b [u8], BoxError> {
        let length = self.count()?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_comes_back() {
        let mut dict = StateDict::new();
        for dtype in Dtype::ALL {
            for shape in [vec![], vec![0], vec![2, 0, 3], vec![3, 1]] {
                let length = dtype.bytes_of(&shape).unwrap();
                let bytes = (0..length).map(|n| n as u8 % 2).collect();
                dict.insert(format!("{dtype:?} {shape:?}"), Array::new(dtype, shape, bytes).unwrap())
                    .unwrap();
            }
        }
        dict.insert("", 1.0_f64).unwrap();
        assert_eq!(decode(&encode(&dict)).unwrap(), dict);
        assert_eq!(decode(&[]).unwrap(), StateDict::new());
    }

    #[test]
    fn a_state_that_is_cut_off_is_refused() {
        let mut dict = StateDict::new();
        dict.insert("weight", Array::from_slice(&[1.0_f32, 2.0])).unwrap();
        let bytes = encode(&dict);
        for length in 1..bytes.len() {
            assert_eq!(
                decode(&bytes[..length]).unwrap_err().to_string(),
                "a state of another rank is cut off"
            );
        }
        let mut unknown = bytes.clone();
        unknown[14] = 13;
        assert_eq!(decode(&unknown).unwrap_err().to_string(), "a state of another rank has an unknown type");
    }
}
