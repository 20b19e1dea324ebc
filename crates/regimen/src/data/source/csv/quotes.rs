//! Whether the quotes of a table close.

use super::Csv;

/// Refuses a quote that never closes and text behind one that did. The parser takes either for
/// part of a field, and so many lines for one.
pub(super) fn check(text: &[u8], csv: &Csv) -> Result<(), String> {
    let (mut at, mut line, mut opened) = (At::Record, 1_u64, 0);
    for &byte in text {
        at = match at {
            At::Quoted if byte == b'"' => At::Closed,
            At::Quoted => At::Quoted,
            At::Comment if byte != b'\n' => At::Comment,
            _ if matches!(byte, b'\n' | b'\r') => At::Record,
            At::Record if Some(byte) == csv.comment => At::Comment,
            _ if byte == csv.delimiter => At::Field,
            At::Record | At::Field if byte == b'"' => {
                opened = line;
                At::Quoted
            }
            // A doubled one is part of the field.
            At::Closed if byte == b'"' => At::Quoted,
            At::Closed | At::Behind if csv.trimmed && matches!(byte, b' ' | b'\t') => At::Behind,
            At::Closed | At::Behind => {
                return Err(format!(
                    "line {line}: text behind a closing quote, of a field that begins in line {opened}"
                ));
            }
            _ => At::Text,
        };
        line += u64::from(byte == b'\n');
    }
    match at {
        At::Quoted => Err(format!("line {opened}: a quote is opened and never closed")),
        _ => Ok(()),
    }
}

/// What the next byte belongs to.
#[derive(Clone, Copy)]
enum At {
    /// The beginning of a record, or of a comment.
    Record,
    /// The beginning of a field.
    Field,
    /// A field without quotes, or what is left of it.
    Text,
    Quoted,
    /// What is behind a quote that closes a field, or is the first of two.
    Closed,
    /// Spaces between a closing quote and the end of its field.
    Behind,
    Comment,
}
