//! Tables of comma-separated values.

use std::path::{Path, PathBuf};

use regimen_core::BoxError;
use serde::de::DeserializeOwned;

use super::{about, file_name, open_unpacked};
use crate::data::Named;

/// How to read a CSV file, packed by gzip or not.
///
/// ```
/// use regimen::data::{Csv, Dataset};
/// # fn main() -> Result<(), regimen::BoxError> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("iris.csv");
/// std::fs::write(&path, "length,width,species\n5.1,3.5,setosa\n")?;
/// let flowers = Csv::new(&path).read::<(f32, f32, String)>()?;
/// assert_eq!(flowers.get(0)?, (5.1, 3.5, "setosa".into()));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Csv {
    path: PathBuf,
    header: bool,
    delimiter: u8,
}

impl Csv {
    /// The file at `path`, with a line of names first and commas between fields.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Csv { path: path.as_ref().to_owned(), header: true, delimiter: b',' }
    }

    /// The first line is a record like all others.
    pub fn without_header(self) -> Self {
        Csv { header: false, ..self }
    }

    /// What stands between fields, where it is not a comma.
    pub fn delimiter(self, delimiter: u8) -> Self {
        Csv { delimiter, ..self }
    }

    /// Reads all records into memory, as a dataset named after the file.
    ///
    /// `T` is a tuple in the order of the columns (its last part may be a `Vec` of all that are
    /// left), or a struct whose fields are named as they are. A record that is short or does not
    /// fit `T` is an error that says its line.
    pub fn read<T: DeserializeOwned + Clone + Send + Sync>(&self) -> Result<Named<Vec<T>>, BoxError> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(self.header)
            .delimiter(self.delimiter)
            .from_reader(open_unpacked(&self.path)?);
        let records = reader.deserialize().collect::<Result<Vec<T>, _>>();
        let records = records.map_err(|error| about(&self.path, error))?;
        Ok(Named::new(records, file_name(&self.path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;

    fn read<T: DeserializeOwned + Clone + Send + Sync>(text: &str) -> Result<Vec<T>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        std::fs::write(&path, text).unwrap();
        let records = Csv::new(path).without_header().read().map_err(|error| error.to_string())?;
        assert_eq!(records.name(), "table.csv");
        Ok((0..records.len()).map(|index| records.get(index).unwrap()).collect())
    }

    #[test]
    fn a_tuple_takes_the_columns_in_order_and_a_vector_the_rest() {
        let records = read::<(u8, Vec<f32>)>("7,0.5,1\n8,2,3\n").unwrap();
        assert_eq!(records, [(7, vec![0.5, 1.0]), (8, vec![2.0, 3.0])]);
    }

    #[test]
    fn a_record_that_does_not_fit_is_named_by_its_line() {
        let check = |text: &str, line: &str, what: &str| {
            let error = read::<(u8, f32)>(text).unwrap_err();
            assert!(error.contains("table.csv`") && error.contains(line) && error.contains(what), "{error}");
        };
        check("1,2\n3,4\n5\n", "line: 3", "found record with 1 fields");
        check("1,2\n3,x\n", "line: 2", "invalid float");
        check("1,2\n300,1\n", "line: 2", "number too large");
    }
}
