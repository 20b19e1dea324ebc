//! A writer to a full disk.

use std::io::{self, ErrorKind, Write};

/// A writer to `W` that fails like a full disk after a number of bytes. The write that crosses the limit is
/// short, and each later one returns an error of kind [`StorageFull`](ErrorKind::StorageFull).
///
/// ```
/// use std::io::Write;
/// let mut disk = regimen_test::FullDisk::new(Vec::new(), 4);
/// assert!(disk.write_all(b"12345").is_err());
/// assert_eq!(disk.into_inner(), b"1234");
/// ```
#[derive(Clone, Debug)]
pub struct FullDisk<W> {
    inner: W,
    left: usize,
}

impl<W> FullDisk<W> {
    /// Wraps `inner` with room for `bytes` bytes.
    pub fn new(inner: W, bytes: usize) -> Self {
        FullDisk { inner, left: bytes }
    }

    /// Returns the underlying writer.
    pub fn into_inner(self) -> W {
        self.inner
    }
}

impl<W: Write> Write for FullDisk<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 && !bytes.is_empty() {
            return Err(ErrorKind::StorageFull.into());
        }
        let written = self.inner.write(&bytes[..bytes.len().min(self.left)])?;
        self.left -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
