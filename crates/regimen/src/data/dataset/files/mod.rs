//! Datasets in files.

mod csv;
mod gzip;
mod idx;
#[cfg(feature = "images")]
mod images;
#[cfg(feature = "mmap")]
mod tokens;

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use regimen_core::BoxError;

use crate::data::fault::file_error;

pub use self::csv::Csv;
use self::gzip::Unpacked;
pub use self::idx::Idx;
#[cfg(feature = "images")]
pub use self::images::ImageFolder;
#[cfg(feature = "mmap")]
pub use self::tokens::{TokenFile, TokenWidth, TokenWindows};

/// The bytes of the file at `path`, unpacked if its name ends in `.gz`.
fn open_unpacked(path: &Path) -> Result<Box<dyn Read>, BoxError> {
    let file = BufReader::new(File::open(path).map_err(|error| file_error(path, error))?);
    let packed = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    Ok(if packed { Box::new(Unpacked::new(file)) } else { Box::new(file) })
}

/// The name of a file without its folder, to call a dataset by.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
