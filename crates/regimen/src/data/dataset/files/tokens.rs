//! Files of raw token numbers, for language models.
//!
//! The one module with `unsafe` in it: mapping a file into memory cannot be made safe by types.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::fs::File;
use std::path::Path;

use memmap2::Mmap;
use regimen_core::BoxError;
use regimen_core::text::Count;

use super::file_name;
use crate::data::Dataset;
use crate::data::fault::{file_error, out_of_range};

/// A file of token numbers in little-endian order, one after another, mapped into memory.
///
/// A file of any size takes no memory of the process; pages that were read stay in the system's
/// cache.
/// The file must not be changed while it is open: see [`open`](Self::open).
#[derive(Debug)]
pub struct TokenFile {
    name: String,
    bytes: Mmap,
    width: TokenWidth,
}

/// The width of a stored token number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenWidth {
    /// In two bytes: vocabularies of up to 65,536 tokens.
    U16,
    /// In four bytes.
    U32,
}

impl TokenWidth {
    fn bytes(self) -> usize {
        match self {
            TokenWidth::U16 => 2,
            TokenWidth::U32 => 4,
        }
    }
}

/// The first bytes of files that are taken for raw tokens by mistake, with the remedy.
const OTHER_FORMATS: &[(&[u8], &str)] = &[
    (b"\x93NUMPY", "a .npy file, not raw tokens; write the array with `tofile`"),
    (b"PK\x03\x04", "a zip file (or .npz), not raw tokens; unpack it first"),
    // The flags behind the two bytes are those of all common writers: two alone are one token.
    (b"\x1f\x8b\x08\x00", "packed by gzip, not raw tokens; unpack it first"),
    (b"\x1f\x8b\x08\x08", "packed by gzip, not raw tokens; unpack it first"),
    // The numbers 20240520 and 1.
    (b"\x88\xd8\x34\x01\x01\0\0\0", "a file of llm.c, not raw tokens; cut off its header of 1,024 bytes"),
];

impl TokenFile {
    /// Maps the file at `path`. One of another format whose first bytes give it away (`.npy`,
    /// gzip) is an error, since its header would be read as tokens.
    ///
    /// The file must not be cut short while it is open, or the process is ended by the system at
    /// the next read of a token that is gone. One that is written over gives the new tokens.
    pub fn open(path: impl AsRef<Path>, width: TokenWidth) -> Result<Self, BoxError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|error| file_error(path, error))?;
        // SAFETY: the mapping is only ever read byte by byte and copied from, so a file that is
        // written over meanwhile cannot break a promise of the type of what is read; that it is
        // not cut short is what the documentation asks of the caller.
        let bytes = unsafe { Mmap::map(&file) }.map_err(|error| file_error(path, error))?;
        if let Some((_, what)) = OTHER_FORMATS.iter().find(|(head, _)| bytes.starts_with(head)) {
            return Err(file_error(path, what));
        }
        if bytes.len() % width.bytes() != 0 {
            let (length, width) = (bytes.len(), width.bytes());
            return Err(file_error(
                path,
                format!("{} cannot be tokens of {width} bytes each", Count(length as u64, "byte")),
            ));
        }
        Ok(TokenFile { name: file_name(path), bytes, width })
    }

    /// The number of tokens.
    pub fn tokens(&self) -> usize {
        self.bytes.len() / self.width.bytes()
    }

    /// Appends the tokens from `start` on, `count` of them, to `tokens`. Fails if there are
    /// not so many.
    pub fn read_into(&self, start: usize, count: usize, tokens: &mut Vec<u32>) -> Result<(), BoxError> {
        let end = start.checked_add(count).filter(|&end| end <= self.tokens());
        let end =
            end.ok_or_else(|| format!("`{}` has {} only", self.name, Count(self.tokens() as u64, "token")))?;
        let width = self.width.bytes();
        let bytes = &self.bytes[start * width..end * width];
        match self.width {
            TokenWidth::U16 => {
                tokens.extend(bytes.as_chunks().0.iter().map(|&pair| u32::from(u16::from_le_bytes(pair))));
            }
            TokenWidth::U32 => {
                tokens.extend(bytes.as_chunks().0.iter().map(|&four| u32::from_le_bytes(four)));
            }
        }
        Ok(())
    }

    /// TokenWindows of `length` tokens as a dataset, each beginning `stride` tokens after the one
    /// before it. For a model that predicts the next of `n` tokens, `windows(n + 1, n)` uses
    /// every token once. Zeros are an error.
    pub fn windows(self, length: usize, stride: usize) -> Result<TokenWindows, BoxError> {
        if length == 0 || stride == 0 {
            let name = &self.name;
            return Err(format!(
                "windows of {} every {stride} of `{name}` cannot be had",
                Count(length as u64, "token")
            )
            .into());
        }
        Ok(TokenWindows { file: self, length, stride })
    }
}

/// A dataset of windows over a [`TokenFile`]. A rest at the end is not used.
#[derive(Debug)]
pub struct TokenWindows {
    file: TokenFile,
    length: usize,
    stride: usize,
}

impl Dataset for TokenWindows {
    type Item = Vec<u32>;

    fn len(&self) -> usize {
        self.file.tokens().checked_sub(self.length).map_or(0, |rest| rest / self.stride + 1)
    }

    fn sample(&self, index: usize) -> Result<Vec<u32>, BoxError> {
        if index >= self.len() {
            return Err(out_of_range(self.len()));
        }
        let mut tokens = Vec::with_capacity(self.length);
        self.file.read_into(index * self.stride, self.length, &mut tokens)?;
        Ok(tokens)
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.file.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8], width: TokenWidth) -> Result<TokenFile, BoxError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.bin");
        std::fs::write(&path, bytes).unwrap();
        TokenFile::open(path, width)
    }

    fn windows(count: u16, length: usize, stride: usize) -> Vec<Vec<u32>> {
        let bytes: Vec<u8> = (0..count).flat_map(|token| (token + 500).to_le_bytes()).collect();
        let windows = file(&bytes, TokenWidth::U16).unwrap().windows(length, stride).unwrap();
        (0..windows.len()).map(|index| windows.sample(index).unwrap()).collect()
    }

    #[test]
    fn windows_overlap_as_the_stride_says() {
        assert_eq!(windows(7, 3, 2), [[500, 501, 502], [502, 503, 504], [504, 505, 506]]);
        assert_eq!(windows(8, 3, 3), [[500, 501, 502], [503, 504, 505]]);
        assert!(windows(2, 3, 2).is_empty());
        assert!(windows(0, 3, 2).is_empty());
    }

    #[test]
    fn wide_tokens_are_read_whole() {
        let tokens = file(&70_000_u32.to_le_bytes(), TokenWidth::U32).unwrap();
        assert_eq!(tokens.windows(1, 1).unwrap().sample(0).unwrap(), [70_000]);
    }

    #[test]
    fn a_file_that_ends_inside_a_token_is_refused() {
        let error = file(&[1, 2, 3], TokenWidth::U16).unwrap_err().to_string();
        assert!(error.ends_with("tokens.bin`: 3 bytes cannot be tokens of 2 bytes each"), "{error}");
        let error = file(&[1, 2], TokenWidth::U16).unwrap().read_into(1, 1, &mut vec![]).unwrap_err();
        assert_eq!(error.to_string(), "`tokens.bin` has 1 token only");
    }
}
