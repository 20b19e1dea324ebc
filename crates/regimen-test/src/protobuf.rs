//! Messages of protocol buffers, as far as the readers of logs need them.

use regimen_core::BoxError;

/// The content of a field.
#[derive(Debug)]
pub(crate) enum Content<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Content<'a> {
    /// 0 if it is no number.
    pub(crate) fn number(&self) -> u64 {
        if let Content::Number(number) = self { *number } else { 0 }
    }

    /// Empty if it is a number.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        if let Content::Bytes(bytes) = self { bytes } else { &[] }
    }
}

/// The fields of a message, in their order.
pub(crate) fn fields(mut bytes: &[u8]) -> Result<Vec<(u64, Content<'_>)>, BoxError> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let content = match key & 7 {
            0 => Content::Number(varint(&mut bytes)?),
            2 => {
                let length = varint(&mut bytes)? as usize;
                Content::Bytes(take(&mut bytes, length)?)
            }
            kind @ (1 | 5) => {
                let number = take(&mut bytes, if kind == 1 { 8 } else { 4 })?;
                Content::Number(number.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
            }
            kind => return Err(format!("an unknown kind of field: {kind}").into()),
        };
        fields.push((key >> 3, content));
    }
    Ok(fields)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, BoxError> {
    let mut number = 0;
    for n in 0..10 {
        let byte = take(bytes, 1)?[0];
        number |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("a number has more than ten bytes".into())
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], BoxError> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or("a field is cut off")?;
    *bytes = rest;
    Ok(taken)
}
