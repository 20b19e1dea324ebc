//! The index of a directory: the object that says which files it has.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

/// The files of a directory, and the folder below `.data` that holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) folder: String,
    pub(crate) files: BTreeMap<String, File>,
}

/// A file that was uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) length: u64,
    /// The CRC-32 of its bytes.
    pub(crate) checksum: u32,
}

const TITLE: &str = "regimen directory 1";

impl Index {
    pub(crate) fn render(&self) -> String {
        let mut text = format!("{TITLE}\nfolder {}\n", self.folder);
        for (name, File { length, checksum }) in &self.files {
            // A write to a string does not fail.
            let _ = writeln!(text, "file {length} {checksum:08x} {name}");
        }
        let checksum = crc32fast::hash(text.as_bytes());
        format!("{text}checksum {checksum:08x}\n")
    }

    /// Reads the text. There is one text for each index, and any other is an error.
    pub(crate) fn parse(text: &[u8]) -> io::Result<Index> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "its index is damaged");
        let text = std::str::from_utf8(text).map_err(|_| damaged())?;
        let index = Index::parse_lines(text).ok_or_else(damaged)?;
        if index.render() == text { Ok(index) } else { Err(damaged()) }
    }

    fn parse_lines(text: &str) -> Option<Index> {
        let mut lines = text.lines().skip(1);
        let mut index =
            Index { folder: lines.next()?.strip_prefix("folder ")?.to_owned(), files: BTreeMap::new() };
        for line in lines {
            if let Some(file) = line.strip_prefix("file ") {
                let (length, rest) = file.split_once(' ')?;
                let (checksum, name) = rest.split_once(' ')?;
                let checksum = u32::from_str_radix(checksum, 16).ok()?;
                index.files.insert(name.to_owned(), File { length: length.parse().ok()?, checksum });
            }
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_read_as_it_is_written_and_otherwise_refused() {
        let files = [("a b", 0, 0), ("module.safetensors", 16, 0xc0ffee)];
        let files = files.map(|(name, length, checksum)| (name.to_owned(), File { length, checksum })).into();
        let index = Index { folder: "tmp-step-000000005-1".to_owned(), files };
        let text = index.render();
        assert_eq!(Index::parse(text.as_bytes()).unwrap(), index);
        for bit in 0..8 * text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Index::parse(&bytes).unwrap_err().to_string(), "its index is damaged", "bit {bit}");
        }
        for end in 0..text.len() {
            assert!(Index::parse(&text.as_bytes()[..end]).is_err(), "cut at {end}");
        }
    }
}
