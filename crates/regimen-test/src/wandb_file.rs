//! A reader of the files of Weights & Biases, as far as tests need it.

use std::fs;
use std::path::Path;

use regimen_core::BoxError;

use crate::protobuf::{Content, fields};

/// A line for each record of a file, with a letter in place of its times and its id: two runs with the same
/// metrics have the same lines. A value of more than 10,000 bytes is its number of bytes.
///
/// # Errors
///
/// If the framing, a checksum or a field is wrong, or if the last record is torn.
pub fn read_wandb_file(path: impl AsRef<Path>) -> Result<Vec<String>, BoxError> {
    let bytes = fs::read(path)?;
    records(&bytes)?.iter().zip(1..).map(|(record, count)| line(record, count)).collect()
}

const BLOCK: usize = 32_768;

/// The bytes before the part of a record in a chunk: checksum, length and kind.
const HEADER: usize = 7;

fn records(bytes: &[u8]) -> Result<Vec<Vec<u8>>, BoxError> {
    let mut rest = bytes.strip_prefix(b":W&B\xe1\xbe\x00").ok_or("it does not begin as a file of W&B")?;
    let (mut records, mut record) = (Vec::new(), None::<Vec<u8>>);
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        let left = BLOCK - at % BLOCK;
        if left < HEADER {
            rest = rest.get(left..).ok_or("it ends in the padding of a block")?;
            continue;
        }
        let torn = || format!("the chunk at byte {at} is torn");
        let (&[a, b, c, d, low, high, kind], after) = rest.split_first_chunk().ok_or_else(torn)?;
        let length = usize::from(u16::from_le_bytes([low, high]));
        let (part, after) = after.split_at_checked(length).ok_or_else(torn)?;
        if u32::from_le_bytes([a, b, c, d]) != crc32(kind, part) {
            return Err(format!("the chunk at byte {at} has the wrong checksum").into());
        }
        // Whole, first, middle and last. At the end of a block the first may be empty.
        if HEADER + length > left || !matches!((kind, &record), (1 | 2, None) | (3 | 4, Some(_))) {
            return Err(format!("the chunk at byte {at} is out of place").into());
        }
        record.get_or_insert_default().extend(part);
        rest = after;
        if let 1 | 4 = kind {
            records.extend(record.take());
        }
    }
    if record.is_none() { Ok(records) } else { Err("the last record is torn".into()) }
}

/// The CRC-32 of zip and PNG, bit by bit.
fn crc32(kind: u8, part: &[u8]) -> u32 {
    let bit = |crc: u32| (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
    let bytes = [kind].into_iter().chain(part.iter().copied());
    !bytes.fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| bit(crc)))
}

fn line(record: &[u8], count: u64) -> Result<String, BoxError> {
    let record = fields(record)?;
    let [(1, Content::Number(number)), (kind, content)] = &record[..] else {
        return Err(format!("record {count} has other fields: {record:?}").into());
    };
    if *number != count {
        return Err(format!("record {count} has the number {number}").into());
    }
    let (name, is_items) = match kind {
        2 => ("history", true),
        3 => ("summary", true),
        5 => ("config", true),
        6 => ("files", false),
        12 => ("metric", false),
        17 => ("run", false),
        18 => ("exit", false),
        21 => ("header", false),
        kind => return Err(format!("record {count} has the unknown kind {kind}").into()),
    };
    let mut line = name.to_owned();
    for (field, content) in fields(content.bytes())? {
        line.push(' ');
        line += &if is_items { item(field, &content)? } else { plain(*kind, field, &content)? };
    }
    Ok(line)
}

/// A value with its name, or the number of a record of the history.
fn item(field: u64, item: &Content<'_>) -> Result<String, BoxError> {
    let item = fields(item.bytes())?;
    Ok(match (field, &item[..]) {
        (2, [(1, step)]) => format!("#{}", step.number()),
        (2, []) => "#0".to_owned(),
        (1, [(2, name), (16, json)]) => match (text(name), text(json)) {
            (name, _) if name == "_timestamp" || name == "_runtime" => format!("{name}=T"),
            (name, json) if json.len() > 10_000 => format!("{name}={} bytes", json.len()),
            (name, json) => format!("{name}={json}"),
        },
        (field, item) => return Err(format!("an item {field} has other fields: {item:?}").into()),
    })
}

fn plain(kind: u64, field: u64, content: &Content<'_>) -> Result<String, BoxError> {
    Ok(match (kind, field, content) {
        (17, 1, _) => "1:ID".to_owned(),
        (17, 17, _) => "17:T".to_owned(),
        (18, 2, _) => "2:T".to_owned(),
        (12, 6, options) => {
            let options = fields(options.bytes())?;
            format!("6:{}", options.iter().map(|(option, _)| option.to_string()).collect::<String>())
        }
        (6 | 21, _, nested) => {
            let nested = fields(nested.bytes())?;
            nested.iter().map(|(field, content)| plain_field(*field, content)).collect()
        }
        _ => plain_field(field, content),
    })
}

fn plain_field(field: u64, content: &Content<'_>) -> String {
    match content {
        Content::Number(number) => format!("{field}:{number}"),
        Content::Bytes(_) => format!("{field}:{}", text(content)),
    }
}

fn text(content: &Content<'_>) -> String {
    String::from_utf8_lossy(content.bytes()).into_owned()
}
