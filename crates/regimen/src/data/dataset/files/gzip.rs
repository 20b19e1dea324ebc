//! Reader of gzip files.

use std::io::{BufRead, Read, Result};

use flate2::bufread::GzDecoder;

/// The content of a gzip file: all its members one after another. Zeros between and after them are
/// padding, as written by tapes and block devices; anything else there is an error.
pub(crate) struct Unpacked<R> {
    /// The member that is being read; `None` after the last one.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Unpacked<R> {
    pub(crate) fn new(packed: R) -> Self {
        Unpacked { member: Some(GzDecoder::new(packed)) }
    }
}

impl<R: BufRead> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let packed = self.member.take().map(GzDecoder::into_inner);
            self.member = packed.map(next_member).transpose()?.flatten();
        }
        Ok(0)
    }
}

/// The next member of `packed`, after the padding.
fn next_member<R: BufRead>(mut packed: R) -> Result<Option<GzDecoder<R>>> {
    loop {
        let bytes = packed.fill_buf()?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        let more = zeros < bytes.len();
        packed.consume(zeros);
        if more {
            return Ok(Some(GzDecoder::new(packed)));
        }
    }
}
