//! A file that is being read, in ranges.

use std::collections::VecDeque;
use std::io::{self, Read};

use object_store::path::Path;

use crate::index::File;
use crate::remote::{Pending, Remote};

/// Ranges under way at a time.
const AHEAD: usize = 4;
/// Bytes per range.
const RANGE: u64 = 8 << 20;

pub(crate) struct Download {
    remote: Remote,
    key: Path,
    file: File,
    /// The bytes that were asked for.
    asked: u64,
    ranges: VecDeque<(u64, Pending<Vec<u8>>)>,
    /// The range that is being read, and how much of it was.
    range: Vec<u8>,
    read: usize,
    /// The bytes that have arrived, and their checksum.
    arrived: u64,
    checksum: crc32fast::Hasher,
}

impl Download {
    pub(crate) fn new(remote: Remote, key: Path, file: File) -> Self {
        Download {
            remote,
            key,
            file,
            asked: 0,
            ranges: VecDeque::new(),
            range: Vec::new(),
            read: 0,
            arrived: 0,
            checksum: crc32fast::Hasher::new(),
        }
    }

    /// The next range. Its last one only if the whole file has the right checksum.
    fn receive(&mut self) -> io::Result<()> {
        while self.ranges.len() < AHEAD && self.asked < self.file.length {
            let length = RANGE.min(self.file.length - self.asked);
            let (key, range) = (self.key.clone(), self.asked..self.asked + length);
            let range = self.remote.begin(|calls| async move { calls.get_range(&key, range).await });
            self.ranges.push_back((length, range));
            self.asked += length;
        }
        let Some((length, range)) = self.ranges.pop_front() else { return Ok(()) };
        let range = range.wait()?;
        if range.len() as u64 != length {
            return Err(damaged(format!("it is not {} bytes long", self.file.length)));
        }
        self.checksum.update(&range);
        self.arrived += length;
        let (found, expected) = (self.checksum.clone().finalize(), self.file.checksum);
        if self.arrived == self.file.length && found != expected {
            return Err(damaged(format!("its checksum is {found:08x}, not {expected:08x}: it is damaged")));
        }
        (self.range, self.read) = (range, 0);
        Ok(())
    }
}

impl Read for Download {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.read == self.range.len() {
            self.receive()?;
        }
        let length = self.range.get(self.read..).unwrap_or_default().read(bytes)?;
        self.read += length;
        Ok(length)
    }
}

fn damaged(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
