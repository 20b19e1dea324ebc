//! Text files, line by line.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use regimen_core::BoxError;
use regimen_core::data::Position;

use crate::data::dataset::files::file_name;
use crate::data::fault::file_error;
use crate::data::position::{Decoder, Encoder};
use crate::data::stream::{Stream, StreamAt, StreamReader};

/// The lines of a UTF-8 text file as a [`Stream`], without their line ends and without the byte
/// order mark that a file may begin with. Its position is a place in the file: any is found again
/// in constant time. A file that has become shorter than its position is an error.
#[derive(Clone, Debug)]
pub struct Lines {
    path: PathBuf,
}

impl Lines {
    /// The lines of the file at `path`, which is opened for every epoch.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Lines { path: path.as_ref().to_owned() }
    }
}

/// The bytes at the beginning of some UTF-8 files, which are no part of the text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Stream for Lines {
    type Item = String;

    fn open(&self, at: StreamAt) -> Result<impl StreamReader<Item = String>, BoxError> {
        let (mut line, mut byte) = (0, 0);
        if let Some(position) = &at.position {
            let mut position = Decoder::new(position);
            (line, byte) = (position.number()?, position.number()?);
            position.end()?;
        }
        let failed = |error| file_error(&self.path, error);
        let file = File::open(&self.path).map_err(failed)?;
        let mut file = BufReader::new(file);
        if byte > 0 {
            let has = file.get_ref().metadata().map_err(failed)?.len();
            if byte > has {
                let what =
                    format!("{byte} bytes were read of a file that has {has} now: the data became shorter");
                return Err(file_error(&self.path, what));
            }
            file.seek(SeekFrom::Start(byte)).map_err(failed)?;
        } else if file.fill_buf().map_err(failed)?.starts_with(BYTE_ORDER_MARK) {
            byte = BYTE_ORDER_MARK.len() as u64;
            file.consume(BYTE_ORDER_MARK.len());
        }
        Ok(LinesReader { path: self.path.clone(), file, line, byte })
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Owned(file_name(&self.path))
    }
}

struct LinesReader {
    path: PathBuf,
    file: BufReader<File>,
    /// Lines and bytes that were read.
    line: u64,
    byte: u64,
}

impl StreamReader for LinesReader {
    type Item = String;

    fn next(&mut self) -> Option<Result<String, BoxError>> {
        let mut bytes = Vec::new();
        let read = match self.file.read_until(b'\n', &mut bytes) {
            Ok(0) => return None,
            Ok(read) => read,
            Err(error) => return Some(Err(file_error(&self.path, error))),
        };
        self.byte += read as u64;
        self.line += 1;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        Some(
            String::from_utf8(bytes)
                .map_err(|error| file_error(&self.path, format!("line {}: {error}", self.line))),
        )
    }

    fn position(&self) -> Position {
        Encoder::default().number(self.line).number(self.byte).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(lines: &Lines, position: Option<&Position>) -> Vec<(Result<String, String>, Position)> {
        let mut reader = lines.open(StreamAt { epoch: 0, seed: 0, position: position.cloned() }).unwrap();
        std::iter::from_fn(|| {
            let line = reader.next()?.map_err(|error| error.to_string());
            Some((line, reader.position()))
        })
        .collect()
    }

    #[test]
    fn reading_goes_on_at_any_position_and_after_a_bad_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, b"one\r\n\n\xff\nlast").unwrap();
        let lines = Lines::new(path);
        let all = rest(&lines, None);
        let texts: Vec<_> = all.iter().map(|(line, _)| line.as_deref().map_err(String::as_str)).collect();
        assert_eq!((texts[0], texts[1], texts[3]), (Ok("one"), Ok(""), Ok("last")));
        assert!(texts[2].unwrap_err().contains("text`: line 3: invalid utf-8"), "{texts:?}");
        for (count, (_, position)) in all.iter().enumerate() {
            assert_eq!(rest(&lines, Some(position)), all[count + 1..]);
        }
    }
}
