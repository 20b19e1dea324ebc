//! Checks of the bytes of a table, before its fields are read.

use regimen_core::BoxError;

/// The text of a table without its byte order mark, as UTF-8 if it is Latin-1. Refuses bytes that
/// are no text. In UTF-8 each field is checked by itself, since one that is not read may be wrong.
pub(crate) fn decoded(bytes: Vec<u8>, latin1: bool) -> Result<Vec<u8>, BoxError> {
    let line = |at: usize| 1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count();
    if bytes.starts_with(b"\x1f\x8b") {
        return Err("packed by gzip; a table that is must be called `.gz`".into());
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("text in UTF-16; save it as UTF-8".into());
    }
    if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
        return Err(format!("line {}: a zero byte; this is no text", line(at)).into());
    }
    match (bytes.strip_prefix(b"\xef\xbb\xbf"), latin1) {
        (Some(_), true) => Err("text in UTF-8 with a byte order mark; read it without `latin1`".into()),
        (Some(text), false) if text.starts_with(b"\xef\xbb\xbf") => {
            Err("two byte order marks at its beginning; save it without one".into())
        }
        (Some(text), false) => Ok(text.to_vec()),
        (None, false) => Ok(bytes),
        (None, true) => match bytes.iter().position(|byte| matches!(byte, 0x80..=0x9f)) {
            Some(at) => {
                let (line, byte) = (line(at), bytes[at]);
                Err(format!("line {line}: byte {byte:#04x} is no letter of Latin-1; is it Windows-1252?")
                    .into())
            }
            None => Ok(bytes.iter().map(|&byte| char::from(byte)).collect::<String>().into_bytes()),
        },
    }
}
