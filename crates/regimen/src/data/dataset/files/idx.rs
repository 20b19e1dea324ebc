//! IDX files of bytes: the format of MNIST and its kin.

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use regimen_core::BoxError;
use regimen_core::text::Count;

use super::{file_name, open_unpacked};
use crate::data::Dataset;
use crate::data::fault::{file_error, out_of_range};

/// An IDX file of unsigned bytes in memory, packed by gzip or not.
///
/// As a dataset its samples are `Vec<u8>`. [`arrays`](Self::arrays) gives samples that need no
/// allocation, [`into_values`](Self::into_values) the labels of a file with one dimension: both
/// are datasets too.
///
/// ```no_run
/// use regimen::data::{Dataset, Idx};
/// # fn main() -> Result<(), regimen::BoxError> {
/// let images = Idx::open("train-images-idx3-ubyte.gz")?.arrays::<784>()?;
/// let labels = Idx::open("train-labels-idx1-ubyte.gz")?.into_values();
/// let digits = images.zip(labels)?.named("mnist");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Idx {
    name: String,
    shape: Vec<usize>,
    /// The number of values per sample.
    width: usize,
    values: Vec<u8>,
}

impl Idx {
    /// Reads the file at `path`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BoxError> {
        let path = path.as_ref();
        let (shape, width, values) = parse(open_unpacked(path)?).map_err(|error| file_error(path, error))?;
        Ok(Idx { name: file_name(path), shape, width, values })
    }

    /// The extent of each dimension; the first is the number of samples.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// All values, sample after sample.
    pub fn into_values(self) -> Vec<u8> {
        self.values
    }

    /// The samples as arrays of `N` values each. Fails if they have another number.
    pub fn arrays<const N: usize>(&self) -> Result<Vec<[u8; N]>, BoxError> {
        match self.values.as_chunks() {
            (arrays, []) if self.width == N => Ok(arrays.to_vec()),
            _ => {
                let values = Count(self.width as u64, "value");
                Err(format!("samples of `{}` have {values}, not {N}", self.name).into())
            }
        }
    }
}

impl Dataset for Idx {
    type Item = Vec<u8>;

    fn len(&self) -> usize {
        self.shape[0]
    }

    fn sample(&self, index: usize) -> Result<Vec<u8>, BoxError> {
        if index >= self.len() {
            return Err(out_of_range(self.len()));
        }
        Ok(self.values[index * self.width..][..self.width].to_vec())
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }
}

/// Two zero bytes, the type of a value, the number of dimensions, their extents in big-endian
/// order, the values. The result is the extents, how many values each sample has, and the values;
/// it never takes more memory than there are bytes to read.
fn parse(mut bytes: impl Read) -> Result<(Vec<usize>, usize, Vec<u8>), BoxError> {
    let mut magic = [0; 4];
    bytes.read_exact(&mut magic).map_err(|error| format!("no idx header: {error}"))?;
    let [0, 0, kind, dimensions] = magic else {
        return Err(format!("not an idx file: it begins with {magic:?}").into());
    };
    if dimensions == 0 {
        return Err("an idx file without dimensions".into());
    }
    if kind != 8 {
        return Err(format!("values of idx type {kind:#04x} where unsigned bytes (0x08) can be read").into());
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        let mut extent = [0; 4];
        bytes.read_exact(&mut extent).map_err(|error| format!("the idx header is cut off: {error}"))?;
        shape.push(u32::from_be_bytes(extent) as usize);
    }
    // Of a file without samples too: the size of one of them must be a number.
    let product =
        |extents: &[usize]| extents.iter().try_fold(1_usize, |size, &extent| size.checked_mul(extent));
    let sizes = product(&shape[1..]).zip(product(&shape)).filter(|&(_, size)| size < usize::MAX);
    let (width, size) = sizes.ok_or_else(|| format!("the shape {shape:?} is too large"))?;
    let mut values = Vec::new();
    // One more than there should be, to see whether there is more.
    bytes.take(size as u64 + 1).read_to_end(&mut values)?;
    match values.len() {
        found if found < size => {
            Err(format!("cut off: of {} announced {found} are there", Count(size as u64, "value")).into())
        }
        found if found > size => {
            Err(format!("there is more than the {} announced", Count(size as u64, "value")).into())
        }
        _ => Ok((shape, width, values)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    const TWO_BY_THREE: &[u8] = &[0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6];

    #[test]
    fn packed_and_plain_files_hold_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, packed) = (folder.path().join("x"), folder.path().join("x.gz"));
        std::fs::write(&plain, TWO_BY_THREE).unwrap();
        let mut encoder = GzEncoder::new(std::fs::File::create(&packed).unwrap(), Compression::fast());
        encoder.write_all(TWO_BY_THREE).unwrap();
        encoder.finish().unwrap();
        for path in [plain, packed] {
            let idx = Idx::open(&path).unwrap();
            assert_eq!((idx.shape(), idx.len()), ([2, 3].as_slice(), 2));
            assert_eq!(idx.sample(1).unwrap(), [4, 5, 6]);
            assert_eq!(idx.arrays::<3>().unwrap(), [[1, 2, 3], [4, 5, 6]]);
            let error = idx.arrays::<2>().unwrap_err().to_string();
            assert_eq!(error, format!("samples of `{}` have 3 values, not 2", file_name(&path)));
        }
    }

    #[test]
    fn what_is_no_whole_idx_file_of_bytes_is_refused() {
        let check = |bytes: &[u8], expected: &str| {
            let error = parse(bytes).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        check(&[], "no idx header");
        check(b"PK\x03\x04", "not an idx file: it begins with [80, 75, 3, 4]");
        check(&[0, 0, 8, 0], "an idx file without dimensions");
        check(&[0, 0, 13, 1], "values of idx type 0x0d");
        check(&TWO_BY_THREE[..10], "the idx header is cut off");
        check(&TWO_BY_THREE[..17], "cut off: of 6 values announced 5 are there");
        check(&[TWO_BY_THREE, &[7]].concat(), "there is more than the 6 values announced");
        check(&[0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255], "the shape");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Idx::open("no/such/file.gz").unwrap_err().to_string();
        assert!(error.starts_with("file `no/such/file.gz`: "), "{error}");
    }
}
