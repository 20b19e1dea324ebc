//! An object that is read in ranges, with a cache on this machine.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Mutex, PoisonError};

use object_store::ObjectMeta;
use regimen::BoxError;
use regimen::data::Dataset;

use crate::ObjectStore;
use crate::draft::random;
use crate::key::key;

/// An object that is read in ranges: data that is larger than the disk, or of which a rank needs a share.
///
/// It is fetched in blocks of 4 MiB when they are needed, and each block is kept as a file in a folder on this machine.
/// Another process, and the next run, finds them there. A block whose file is damaged is fetched again. If the object is
/// replaced while it is open, reading a block that is not kept is an error; opened again it has other blocks.
/// Versions are told by `ETag`, or by `Last-Modified`, to the second, of a server without it. Without both it is an error
/// to open it.
///
/// Blocks are never removed: the folder grows to the size of what was read.
///
/// ```
/// use regimen::data::Dataset;
/// use regimen_object_store::object_store::{ObjectStoreExt, memory::InMemory};
/// use regimen_object_store::{ObjectStore, RemoteFile};
///
/// # fn main() -> Result<(), regimen::BoxError> {
/// let tokens: Vec<u8> = (0..10_u16).flat_map(u16::to_le_bytes).collect();
/// let memory = InMemory::new();
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(memory.put(&"tokens.bin".into(), tokens.into()))?;
/// let store = ObjectStore::over(memory)?;
/// # let cache = tempfile::tempdir()?;
/// # let cache = cache.path();
/// let file = RemoteFile::open(&store, "tokens.bin", cache)?;
/// // Windows of 5 tokens, each 4 after the one before.
/// let windows = file.windows(2 * 5, 2 * 4)?;
/// assert_eq!(windows.len(), 2);
/// assert_eq!(windows.sample(1)?, [4, 0, 5, 0, 6, 0, 7, 0, 8, 0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RemoteFile {
    store: ObjectStore,
    /// Its key, length and version when it was opened.
    meta: ObjectMeta,
    cache: PathBuf,
    /// Before the number of a block in its name: differs between objects and their versions.
    name: String,
    /// The blocks that are known to be whole.
    whole: Mutex<BTreeSet<u64>>,
}

/// Bytes per block.
const BLOCK: u64 = 4 << 20;

impl RemoteFile {
    /// Opens the object `path` of `store`, with the cache folder `cache`, which is created if it does not exist.
    pub fn open(
        store: &ObjectStore,
        path: impl AsRef<FilePath>,
        cache: impl Into<PathBuf>,
    ) -> io::Result<Self> {
        let (key, cache) = (key(store.prefix(), path.as_ref())?, cache.into());
        let found = store.remote().call(|calls| async move { calls.head(&key).await })?;
        // The clients give the beginning of time if the server gives none.
        if found.e_tag.is_none() && found.last_modified.timestamp() == 0 {
            let text = format!(
                "`{}` has no `ETag` and no `Last-Modified`, so its versions cannot be told",
                found.location
            );
            return Err(io::Error::new(ErrorKind::Unsupported, text));
        }
        fs::create_dir_all(&cache)?;
        let mut hasher = DefaultHasher::new();
        (store.name(), found.location.as_ref(), found.size, &found.e_tag).hash(&mut hasher);
        found.last_modified.timestamp_micros().hash(&mut hasher);
        let name = format!("{:016x}", hasher.finish());
        Ok(RemoteFile { store: store.clone(), meta: found, cache, name, whole: Mutex::default() })
    }

    /// Its length in bytes when it was opened.
    pub fn length(&self) -> u64 {
        self.meta.size
    }

    /// The `length` bytes from `start` on. It is an error if there are not so many.
    pub fn read_at(&self, start: u64, length: u64) -> io::Result<Vec<u8>> {
        let end = start.checked_add(length).filter(|end| *end <= self.meta.size);
        let end = end.ok_or_else(|| {
            let text = format!(
                "`{}` has {} bytes, so {length} from {start} cannot be read",
                self.meta.location, self.meta.size
            );
            io::Error::new(ErrorKind::UnexpectedEof, text)
        })?;
        let (mut bytes, mut at) = (Vec::new(), start);
        while at < end {
            let block = at / BLOCK;
            let next = end.min((block + 1) * BLOCK);
            self.read_block(block, at - block * BLOCK, next - at, &mut bytes)?;
            at = next;
        }
        Ok(bytes)
    }

    /// Windows of `length` bytes as a dataset, each beginning `stride` bytes after the one before it. Records of a fixed
    /// length are windows whose stride is that length. A rest at the end is not used. Zeros are an error.
    pub fn windows(self, length: u64, stride: u64) -> Result<RemoteWindows, BoxError> {
        if length == 0 || stride == 0 {
            return Err(format!(
                "windows of {length} bytes every {stride} of `{}` cannot be had",
                self.meta.location
            )
            .into());
        }
        Ok(RemoteWindows { file: self, length, stride })
    }

    /// Appends a range of a block, which is fetched if it is not kept.
    fn read_block(&self, block: u64, from: u64, length: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
        let path = self.cache.join(format!("{}-{block}", self.name));
        let is_whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner).contains(&block);
        let kept = if is_whole { kept(&path, from, length) } else { Err(ErrorKind::NotFound.into()) };
        if let Ok(kept) = kept {
            bytes.extend_from_slice(&kept);
            return Ok(());
        }
        let start = block * BLOCK;
        let range = start..self.meta.size.min(start + BLOCK);
        let all = match whole(&path, range.end - range.start) {
            Some(all) => all,
            None => {
                let (meta, expected) = (self.meta.clone(), range.end - range.start);
                let remote = self.store.remote();
                let fetched = remote.call(|calls| async move { calls.get_part(&meta, range).await })?;
                if fetched.len() as u64 != expected {
                    return Err(io::Error::new(
                        ErrorKind::InvalidData,
                        format!("`{}` has become shorter", self.meta.location),
                    ));
                }
                keep(&path, &fetched)?;
                fetched
            }
        };
        self.whole.lock().unwrap_or_else(PoisonError::into_inner).insert(block);
        let range = all.get(from as usize..(from + length) as usize);
        bytes.extend_from_slice(range.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A range of the block in the file `path`, which is whole.
fn kept(path: &FilePath, from: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The block of `length` bytes in the file `path`, if it is whole: its CRC-32 follows it.
fn whole(path: &FilePath, length: u64) -> Option<Vec<u8>> {
    let mut bytes = fs::read(path).ok()?;
    let checksum = bytes.split_off(usize::try_from(length).ok().filter(|length| *length <= bytes.len())?);
    (checksum == crc32fast::hash(&bytes).to_le_bytes()).then_some(bytes)
}

/// Keeps a block in the file `path`, which other processes see whole or not at all.
fn keep(path: &FilePath, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(random());
    let write = || {
        let mut file = File::create_new(&temporary)?;
        file.write_all(bytes)?;
        file.write_all(&crc32fast::hash(bytes).to_le_bytes())?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// A dataset of windows over a [`RemoteFile`], as bytes.
#[derive(Debug)]
pub struct RemoteWindows {
    file: RemoteFile,
    length: u64,
    stride: u64,
}

impl Dataset for RemoteWindows {
    type Item = Vec<u8>;

    fn len(&self) -> usize {
        let rest = self.file.meta.size.checked_sub(self.length);
        rest.map_or(0, |rest| usize::try_from(rest / self.stride + 1).unwrap_or(usize::MAX))
    }

    fn sample(&self, index: usize) -> Result<Vec<u8>, BoxError> {
        let start = (index as u64).checked_mul(self.stride).ok_or("the index is too large")?;
        Ok(self.file.read_at(start, self.length)?)
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Owned(self.file.meta.location.to_string())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    /// Bytes of which no two blocks are alike.
    fn content(length: u64) -> Vec<u8> {
        (0..length).map(|i| (i ^ (i >> 8) ^ (i >> 16) ^ (i >> 22)) as u8).collect()
    }

    fn store(bytes: &[u8]) -> ObjectStore {
        let memory = InMemory::new();
        memory.put(&"data".into(), bytes.to_vec().into()).now_or_never().unwrap().unwrap();
        ObjectStore::over(memory).unwrap()
    }

    #[test]
    fn any_range_has_the_bytes_of_the_object_and_a_damaged_block_is_fetched_again() {
        let (cache, bytes) = (tempfile::tempdir().unwrap(), content(2 * BLOCK + 5));
        let store = store(&bytes);
        let files =
            || fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
        for damage in 0..3 {
            let file = RemoteFile::open(&store, "data", cache.path()).unwrap();
            for (start, length) in [(0, 0), (0, 9), (BLOCK - 3, 6), (1, 2 * BLOCK), (2 * BLOCK + 4, 1)] {
                let expected = &bytes[start as usize..(start + length) as usize];
                assert!(file.read_at(start, length).unwrap() == expected, "{length} bytes from {start}");
                assert!(file.read_at(start, length).unwrap() == expected, "{length} kept bytes from {start}");
            }
            let error = file.read_at(2 * BLOCK, 6).unwrap_err().to_string();
            assert_eq!(error, "`data` has 8388613 bytes, so 6 from 8388608 cannot be read");
            assert_eq!(files().len(), 3);
            for file in files() {
                let mut block = fs::read(&file).unwrap();
                if damage == 0 {
                    block[3] ^= 1
                } else {
                    block.truncate(4)
                }
                fs::write(file, block).unwrap();
            }
        }
    }

    #[test]
    fn an_object_that_was_replaced_is_an_error_and_never_mixed() {
        let (cache, bytes) = (tempfile::tempdir().unwrap(), content(BLOCK + 5));
        let store = store(&bytes);
        let file = RemoteFile::open(&store, "data", cache.path()).unwrap();
        file.read_at(0, 1).unwrap();
        let mut other = Box::new(store.upload("data".into(), |_| {}).unwrap());
        other.write_all(&vec![7; bytes.len()]).unwrap();
        regimen::checkpoint::NewFile::sync(other).unwrap();
        assert!(file.read_at(BLOCK, 1).is_err());
        let file = RemoteFile::open(&store, "data", cache.path()).unwrap();
        assert_eq!(file.read_at(0, 2).unwrap(), [7, 7]);
    }
}
