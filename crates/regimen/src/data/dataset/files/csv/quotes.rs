//! Check that the quotes of a table close.

use super::Csv;

/// The `text`, without the spaces before fields if it is trimmed: the parser takes no quote after
/// a space.
///
/// Refuses a quote that never closes and text after one that did. The parser takes either for part of a
/// field, and so many lines for one.
pub(crate) fn checked(mut text: Vec<u8>, csv: &Csv) -> Result<Vec<u8>, String> {
    let (mut at, mut line, mut opened) = (At::Record, 1_u64, 0);
    let mut kept = 0;
    for next in 0..text.len() {
        let byte = text[next];
        let space = csv.trimmed && matches!(byte, b' ' | b'\t') && byte != csv.delimiter;
        line += u64::from(byte == b'\n');
        at = match at {
            At::Quoted if byte == b'"' => At::Closed,
            At::Quoted => At::Quoted,
            At::Comment if byte != b'\n' => At::Comment,
            _ if matches!(byte, b'\n' | b'\r') => At::Record,
            At::Record | At::Field if space => continue,
            At::Record if Some(byte) == csv.comment => At::Comment,
            _ if byte == csv.delimiter => At::Field,
            At::Record | At::Field if byte == b'"' => {
                opened = line;
                At::Quoted
            }
            // A doubled one is part of the field.
            At::Closed if byte == b'"' => At::Quoted,
            At::Closed | At::Behind if space => At::Behind,
            At::Closed | At::Behind => {
                return Err(format!(
                    "line {line}: text behind a closing quote, of a field that begins in line {opened}"
                ));
            }
            _ => At::Text,
        };
        text[kept] = byte;
        kept += 1;
    }
    text.truncate(kept);
    match at {
        At::Quoted => return Err(format!("line {opened}: a quote is opened and never closed")),
        // Without a line end the parser takes the last comment for a record of one empty field.
        At::Comment => text.push(b'\n'),
        _ => {}
    }
    Ok(text)
}

/// The part of a record that the next byte belongs to.
#[derive(Clone, Copy)]
enum At {
    /// The beginning of a record, or of a comment.
    Record,
    /// The beginning of a field.
    Field,
    /// A field without quotes, or the rest of it.
    Text,
    Quoted,
    /// After a quote that closes a field, or is the first of two.
    Closed,
    /// Spaces between a closing quote and the end of its field.
    Behind,
    Comment,
}
