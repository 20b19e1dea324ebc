//! The reader of event files of TensorBoard: the times of steps, and the newest picture per name.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read, Take};
use std::path::Path;

use crate::elapsed::Elapsed;
use crate::{Marks, Picture, lines};

/// A larger record is passed over: no picture of a report is so large.
const LARGEST: u64 = 4 << 20;
/// The first bytes of every PNG file.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// What a report needs of the event files in a folder.
#[derive(Debug, Default)]
pub(crate) struct EventFiles {
    /// Seconds of training until a step.
    pub(crate) elapsed: Marks,
    /// In the order of their names.
    pub(crate) pictures: Vec<Picture>,
    /// Whether there were more pictures than room for them.
    pub(crate) lacks_pictures: bool,
}

impl EventFiles {
    /// Reads the event files in `folder`, in the order of their names, and at most `room` bytes of pictures. Returns nothing
    /// if there is no folder. A file ends where a record is damaged or torn.
    pub(crate) fn read(folder: &Path, room: usize) -> io::Result<Self> {
        let entries = match fs::read_dir(folder) {
            Err(cause) if matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(EventFiles::default());
            }
            entries => entries?,
        };
        let mut paths = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_name().to_string_lossy().contains("tfevents") {
                paths.push(entry.path());
            }
        }
        paths.sort();
        let (mut elapsed, mut pictures) = (Elapsed::default(), Pictures { room, ..Pictures::default() });
        for path in paths {
            let Some(file) = lines::open(&path)? else { continue };
            let mut file = BufReader::with_capacity(1 << 16, file);
            let mut record = Vec::new();
            let mut has_begun = false;
            while next(&mut file, &mut record)? {
                let Some(event) = Event::parse(&record) else { break };
                if event.is_version {
                    continue;
                }
                if event.is_start || !has_begun {
                    elapsed.begin(event.step, event.time);
                } else {
                    elapsed.mark(event.step, event.time);
                }
                has_begun = true;
                for value in fields(event.summary).filter(|(field, _)| *field == 1) {
                    pictures.add(value.1, event.step);
                }
            }
        }
        let (lacks_pictures, pictures) = (pictures.lacks, pictures.by_name.into_values().collect());
        Ok(EventFiles { elapsed: elapsed.into_marks(), pictures, lacks_pictures })
    }
}

/// The newest picture per name, as far as there is room.
#[derive(Debug, Default)]
struct Pictures {
    by_name: BTreeMap<String, Picture>,
    room: usize,
    lacks: bool,
}

impl Pictures {
    /// Takes the picture in a value of a summary: the PNG file among the texts of its tensor.
    fn add(&mut self, value: Value<'_>, step: u64) {
        let (mut name, mut png) = (None, None);
        for (field, part) in fields(value.bytes()) {
            match field {
                1 => name = std::str::from_utf8(part.bytes()).ok(),
                8 => {
                    let mut texts = fields(part.bytes()).map(|(_, text)| text.bytes());
                    png = texts.find(|text| text.starts_with(PNG));
                }
                _ => {}
            }
        }
        let (Some(name), Some(png)) = (name, png) else { return };
        // An older picture in place of the newest would be taken for it.
        if let Some(older) = self.by_name.remove(name) {
            self.room += name.len() + older.png.len();
        }
        let Some(room) = self.room.checked_sub(name.len() + png.len()) else {
            self.lacks = true;
            return;
        };
        self.room = room;
        let name = name.to_owned();
        self.by_name.insert(name.clone(), Picture { name, step, png: png.to_vec() });
    }
}

/// Reads the next record. Returns `false` at the end of the file, and if the record is torn. The checksums are not
/// compared: a wrong time moves a point, and a wrong picture is seen.
fn next(file: &mut BufReader<Take<File>>, record: &mut Vec<u8>) -> io::Result<bool> {
    let mut head = [0; 12];
    if file.read_exact(&mut head).is_err() {
        return Ok(false);
    }
    let [a, b, c, d, e, f, g, h, ..] = head;
    let length = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    record.clear();
    let kept = length.min(LARGEST);
    if file.by_ref().take(kept).read_to_end(record)? as u64 != kept {
        return Ok(false);
    }
    let rest = (length - kept).saturating_add(4);
    Ok(io::copy(&mut file.by_ref().take(rest), &mut io::sink())? == rest)
}

#[derive(Debug, Default)]
struct Event<'a> {
    time: f64,
    step: u64,
    /// Points of this step and later ones of earlier files are void.
    is_start: bool,
    /// The head of each file, whose step is always 0.
    is_version: bool,
    summary: &'a [u8],
}

impl<'a> Event<'a> {
    /// Returns `None` if the time is missing.
    fn parse(record: &'a [u8]) -> Option<Self> {
        let (mut event, mut has_time) = (Event::default(), false);
        for (field, value) in fields(record) {
            match (field, value) {
                (1, Value::Fixed(bits)) => (event.time, has_time) = (f64::from_bits(bits), true),
                (2, Value::Integer(step)) => event.step = step,
                (3, _) => event.is_version = true,
                (5, Value::Bytes(summary)) => event.summary = summary,
                (7, _) => event.is_start = true,
                _ => {}
            }
        }
        (has_time && event.time.is_finite()).then_some(event)
    }
}

/// The value of a field of a message of protocol buffers.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Integer(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// Empty for a number.
    fn bytes(self) -> &'a [u8] {
        if let Value::Bytes(bytes) = self { bytes } else { &[] }
    }
}

/// The fields of a message, up to the first that is damaged.
fn fields(mut message: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    std::iter::from_fn(move || {
        let key = varint(&mut message)?;
        let value = match key & 7 {
            0 => Value::Integer(varint(&mut message)?),
            1 => Value::Fixed(u64::from_le_bytes(*message.split_off(..8)?.first_chunk()?)),
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                Value::Bytes(message.split_off(..length)?)
            }
            5 => Value::Fixed(u64::from(u32::from_le_bytes(*message.split_off(..4)?.first_chunk()?))),
            _ => return None,
        };
        Some((key >> 3, value))
    })
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *message.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_have_a_bound_and_no_older_one_stands_for_the_newest() {
        let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
        let value = |name: &str, size: usize| {
            let png = [PNG, &vec![0; size - PNG.len()]].concat();
            [field(1, name.as_bytes()), field(8, &[field(8, b"1"), field(8, &png)].concat())].concat()
        };
        let mut pictures = Pictures { room: 100, ..Pictures::default() };
        let mut add = |name: &str, size, step| {
            pictures.add(Value::Bytes(&value(name, size)), step);
            let held: Vec<_> = pictures
                .by_name
                .values()
                .map(|held| (held.name.clone(), held.step, held.png.len()))
                .collect();
            (held, pictures.lacks)
        };
        let held = |name: &str, step, size: usize| (name.to_owned(), step, size);
        assert_eq!(add("a", 50, 1), (vec![held("a", 1, 50)], false));
        assert_eq!(add("a", 60, 2), (vec![held("a", 2, 60)], false));
        assert_eq!(add("b", 38, 2), (vec![held("a", 2, 60), held("b", 2, 38)], false));
        assert_eq!(add("a", 61, 3), (vec![held("b", 2, 38)], true));
        assert_eq!(add("a", 60, 4), (vec![held("a", 4, 60), held("b", 2, 38)], true));
    }
}
