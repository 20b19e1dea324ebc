//! A file that is being uploaded: in one put, or in parts while it is written.

use std::collections::VecDeque;
use std::io::{self, Write};

use object_store::MultipartId;
use object_store::multipart::PartId;
use object_store::path::Path;
use regimen::checkpoint::NewFile;

use crate::index::File;
use crate::remote::{Pending, Remote};

/// Parts under way at a time, beside the one that is being filled.
const AHEAD: usize = 4;
/// The most parts that S3 takes.
const MAX_PARTS: usize = 10_000;

pub(crate) struct Upload {
    remote: Remote,
    key: Path,
    part_bytes: usize,
    /// The bytes that were not sent yet.
    buffer: Vec<u8>,
    /// The upload in parts, if the file is longer than one.
    id: Option<MultipartId>,
    sent: VecDeque<Pending<PartId>>,
    parts: Vec<PartId>,
    length: u64,
    checksum: crc32fast::Hasher,
    /// Called with the file when it is durable.
    uploaded: Option<Box<dyn FnOnce(File) + Send>>,
}

impl Upload {
    pub(crate) fn new(
        remote: Remote,
        key: Path,
        part_bytes: usize,
        uploaded: impl FnOnce(File) + Send + 'static,
    ) -> Self {
        Upload {
            remote,
            key,
            part_bytes,
            buffer: Vec::new(),
            id: None,
            sent: VecDeque::new(),
            parts: Vec::new(),
            length: 0,
            checksum: crc32fast::Hasher::new(),
            uploaded: Some(Box::new(uploaded)),
        }
    }

    /// Sends what is in the buffer as the next part.
    fn send(&mut self) -> io::Result<()> {
        let key = self.key.clone();
        let id = match &self.id {
            Some(id) => id.clone(),
            None => {
                let begun = self.remote.call(|calls| async move { calls.begin_parts(&key).await })?;
                self.id.insert(begun).clone()
            }
        };
        if self.sent.len() == AHEAD {
            self.receive()?;
        }
        let n = self.parts.len() + self.sent.len();
        if n == MAX_PARTS {
            let (all, part) = (MAX_PARTS, self.part_bytes);
            return Err(io::Error::other(format!(
                "the file is longer than {all} parts of {part} bytes; give larger ones to `ObjectStore::part_bytes`"
            )));
        }
        let bytes = std::mem::replace(&mut self.buffer, Vec::with_capacity(self.part_bytes)).into();
        let key = self.key.clone();
        let part = self.remote.begin(|calls| async move { calls.put_part(&key, &id, n, bytes).await });
        self.sent.push_back(part);
        Ok(())
    }

    /// Waits for the oldest part under way.
    fn receive(&mut self) -> io::Result<()> {
        if let Some(sent) = self.sent.pop_front() {
            self.parts.push(sent.wait()?);
        }
        Ok(())
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        // A full buffer is sent when more comes, so that the last part is never empty.
        if self.buffer.len() == self.part_bytes {
            self.send()?;
        }
        let bytes = &bytes[..bytes.len().min(self.part_bytes - self.buffer.len())];
        self.buffer.extend_from_slice(bytes);
        self.checksum.update(bytes);
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl NewFile for Upload {
    fn sync(mut self: Box<Self>) -> io::Result<()> {
        let (key, length) = (self.key.clone(), self.length);
        if self.id.is_some() {
            self.send()?;
            while !self.sent.is_empty() {
                self.receive()?;
            }
            let (id, parts) = (self.id.clone().unwrap_or_default(), std::mem::take(&mut self.parts));
            self.remote.call(|calls| async move { calls.end_parts(&key, &id, parts, length).await })?;
        } else {
            let bytes = std::mem::take(&mut self.buffer).into();
            self.remote.call(|calls| async move { calls.put(&key, bytes).await })?;
        }
        let file = File { length, checksum: self.checksum.clone().finalize() };
        if let Some(uploaded) = self.uploaded.take() {
            uploaded(file);
        }
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // The parts of an upload that failed take room on the server until somebody aborts it.
        if let (Some(id), Some(_)) = (self.id.take(), &self.uploaded) {
            let (calls, key) = (self.remote.calls.clone(), self.key.clone());
            self.remote.spawn(async move { drop(calls.abort_parts(&key, &id).await) });
        }
    }
}
