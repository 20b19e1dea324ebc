//! A reader of TensorBoard's event files, as far as tests need it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use regimen_core::BoxError;

use crate::protobuf::{Content, fields};

/// One value of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The name of the file.
    pub file: String,
    /// Seconds since 1970.
    pub time: f64,
    /// The step of the event.
    pub step: u64,
    /// The value.
    pub value: Value,
}

/// The values of events.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The version of a file.
    Version(String),
    /// The start of a session.
    Start,
    /// A number under a tag.
    Scalar(String, f32),
    /// Another value under a tag, with the plugin that reads it, the content of its metadata, and the
    /// strings or the bytes of its tensor.
    Tensor(String, String, Vec<u8>, Vec<Vec<u8>>),
    /// A graph, as bytes.
    Graph(Vec<u8>),
}

/// The values of all files of `folder`, in the order in which TensorBoard reads them. A torn record at the
/// end of a file is left out.
///
/// # Errors
///
/// If a checksum or a field is wrong.
pub fn read_events(folder: impl AsRef<Path>) -> Result<Vec<Entry>, BoxError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder)? {
        names.extend(entry?.file_name().into_string().ok().filter(|name| name.contains("tfevents")));
    }
    names.sort();
    let mut entries = Vec::new();
    for file in names {
        let bytes = fs::read(folder.as_ref().join(&file))?;
        read_file(&file, &bytes, &mut entries).map_err(|cause| format!("{file}: {cause}"))?;
    }
    Ok(entries)
}

/// The points of each tag with a number, as TensorBoard's data server shows them: a point takes away those
/// read before it whose step is the same or larger.
pub fn scalars(entries: &[Entry]) -> BTreeMap<&str, Vec<(u64, f32)>> {
    let mut tags: BTreeMap<_, Vec<(u64, f32)>> = BTreeMap::new();
    for entry in entries {
        if let Value::Scalar(tag, number) = &entry.value {
            let points = tags.entry(&**tag).or_default();
            points.retain(|(step, _)| *step < entry.step);
            points.push((entry.step, *number));
        }
    }
    tags
}

fn read_file(file: &str, mut rest: &[u8], entries: &mut Vec<Entry>) -> Result<(), BoxError> {
    while let Some(payload) = record(&mut rest)? {
        let event = fields(payload)?;
        let number =
            |n| event.iter().find(|(field, _)| *field == n).map_or(0, |(_, content)| content.number());
        let (time, step) = (f64::from_bits(number(1)), number(2));
        let mut add = |value| entries.push(Entry { file: file.to_owned(), time, step, value });
        for (field, content) in &event {
            match (field, content) {
                (1 | 2, _) => {}
                (3, Content::Bytes(version)) => add(Value::Version(text(version))),
                (4, Content::Bytes(graph)) => add(Value::Graph(graph.to_vec())),
                (5, Content::Bytes(summary)) => {
                    for (field, value) in fields(summary)? {
                        add(summary_value(field, value.bytes())?);
                    }
                }
                (7, Content::Bytes([8, 1])) => add(Value::Start),
                other => return Err(format!("an unknown field of an event: {other:?}").into()),
            }
        }
    }
    Ok(())
}

fn summary_value(field: u64, value: &[u8]) -> Result<Value, BoxError> {
    let (mut tag, mut plugin, mut metadata, mut tensor) = Default::default();
    for (part, content) in fields(value)? {
        match part {
            _ if field != 1 => return Err(format!("an unknown field of a summary: {field}").into()),
            1 => tag = text(content.bytes()),
            2 => return Ok(Value::Scalar(tag, f32::from_bits(content.number() as u32))),
            8 => {
                let parts = fields(content.bytes())?;
                let parts = parts.iter().filter(|(field, _)| matches!(field, 4 | 8));
                tensor = parts.map(|(_, part)| part.bytes().to_vec()).collect();
            }
            9 => {
                let parts = fields(content.bytes())?;
                let data = parts.iter().find(|(field, _)| *field == 1);
                for (field, part) in data.map_or(Ok(Vec::new()), |(_, data)| fields(data.bytes()))? {
                    if field == 1 { plugin = text(part.bytes()) } else { metadata = part.bytes().to_vec() }
                }
            }
            _ => return Err(format!("an unknown field of a value: {part}").into()),
        }
    }
    Ok(Value::Tensor(tag, plugin, metadata, tensor))
}

/// Takes the payload of the first record from the front of `bytes`; `None` if it is torn, or there is none.
fn record<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, BoxError> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return Ok(None) };
    let Some((checksum, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    if *checksum != masked(length) {
        return Err("a length has the wrong checksum".into());
    }
    let Some((payload, rest)) = rest.split_at_checked(u64::from_le_bytes(*length) as usize) else {
        return Ok(None);
    };
    let Some((checksum, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    if *checksum != masked(payload) {
        return Err("a payload has the wrong checksum".into());
    }
    *bytes = rest;
    Ok(Some(payload))
}

/// The masked CRC-32C, bit by bit.
fn masked(bytes: &[u8]) -> [u8; 4] {
    let bit = |crc: u32| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
    let crc = !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)));
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
