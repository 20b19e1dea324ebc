//! Tables of comma-separated values.

mod fields;
mod quotes;
mod text;
mod types;

use std::path::{Path, PathBuf};

use ::csv::{ByteRecord, ReaderBuilder, Trim};
use regimen_core::BoxError;
use serde::de::DeserializeOwned;

use self::fields::Names;
use super::{file_name, open_unpacked};
use crate::data::dataset::named::Named;
use crate::data::fault::file_error;

/// A reader of a CSV file, packed by gzip (and called `.gz`) or not.
///
/// ```
/// use regimen::data::{Csv, Dataset};
/// # fn main() -> Result<(), regimen::BoxError> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("iris.csv");
/// std::fs::write(&path, "length,width,species\n5.1,3.5,setosa\n")?;
/// let flowers = Csv::new(&path).read::<(f32, f32, String)>()?;
/// assert_eq!(flowers.sample(0)?, (5.1, 3.5, "setosa".into()));
/// # Ok(()) }
/// ```
///
/// Fields with commas, line ends or quotes in them stand in double quotes, in which a quote is
/// doubled. Empty lines are passed over. Everything else is an option:
///
/// ```
/// # use regimen::data::{Csv, Dataset};
/// # fn main() -> Result<(), regimen::BoxError> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("sizes.csv");
/// std::fs::write(&path, b"# in cm\nl\xe4nge; breite\n5,1 ; 3,5\n4,9 ; NA\n")?;
/// let table = Csv::new(&path).delimiter(b';').comment(b'#').trimmed().latin1().decimal_comma();
/// let sizes = table.missing(["NA"]).read::<(f32, Option<f32>)>()?;
/// assert_eq!((sizes.sample(0)?, sizes.sample(1)?), ((5.1, Some(3.5)), (4.9, None)));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Csv {
    path: PathBuf,
    header: bool,
    delimiter: u8,
    comment: Option<u8>,
    trimmed: bool,
    latin1: bool,
    decimal_comma: bool,
    missing: Vec<String>,
}

impl Csv {
    /// The file at `path`: UTF-8 with a line of names first, commas between fields, and no comments.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Csv {
            path: path.as_ref().to_owned(),
            header: true,
            delimiter: b',',
            comment: None,
            trimmed: false,
            latin1: false,
            decimal_comma: false,
            missing: Vec::new(),
        }
    }

    /// The first line is a record like all others.
    pub fn without_header(self) -> Self {
        Csv { header: false, ..self }
    }

    /// The delimiter of fields, an ASCII character. Default: a comma.
    pub fn delimiter(self, delimiter: u8) -> Self {
        Csv { delimiter, ..self }
    }

    /// Lines that begin with this ASCII character are passed over.
    pub fn comment(self, comment: u8) -> Self {
        Csv { comment: Some(comment), ..self }
    }

    /// Spaces and tabs at both ends of a field or name are taken away, outside and inside of its
    /// quotes.
    pub fn trimmed(self) -> Self {
        Csv { trimmed: true, ..self }
    }

    /// The file is Latin-1 (ISO 8859-1), not UTF-8. A byte that is no letter there, such as the
    /// euro sign of Windows-1252, is an error.
    pub fn latin1(self) -> Self {
        Csv { latin1: true, ..self }
    }

    /// Fractions are written `1,5`. A number with a point in it is then an error, since it may be
    /// one of thousands.
    pub fn decimal_comma(self) -> Self {
        Csv { decimal_comma: true, ..self }
    }

    /// Fields with one of these texts are missing, as empty fields are: an `Option` is `None`, a
    /// number is an error, and a `String` is the text.
    pub fn missing<T: Into<String>>(self, texts: impl IntoIterator<Item = T>) -> Self {
        Csv { missing: texts.into_iter().map(Into::into).collect(), ..self }
    }

    /// Reads all records into memory, as a dataset named after the file.
    ///
    /// `T` is a tuple in the order of the columns (its last part may be a `Vec` of all that are
    /// left), or a struct whose fields are named as they are. Of a struct's record other columns
    /// are passed over, and an `Option` whose column is not there is `None`.
    ///
    /// A file that cannot be read whole, is no text or has no line of names is an error, and never an
    /// empty dataset. So is, with its line, a record that is longer or shorter than the others, that
    /// does not fit `T` or has more fields than `T` has places, and a quote that never closes.
    pub fn read<T: DeserializeOwned + Clone + Send + Sync>(&self) -> Result<Named<Vec<T>>, BoxError> {
        let mut bytes = Vec::new();
        let read = open_unpacked(&self.path)?.read_to_end(&mut bytes).map_err(BoxError::from);
        let records =
            read.and_then(|_| self.records(bytes)).map_err(|error| file_error(&self.path, error))?;
        Ok(Named::new(records, file_name(&self.path)))
    }

    fn records<T: DeserializeOwned>(&self, bytes: Vec<u8>) -> Result<Vec<T>, BoxError> {
        let special = |byte: u8| !byte.is_ascii() || matches!(byte, b'"' | b'\r' | b'\n');
        if special(self.delimiter) || self.comment.is_some_and(|byte| special(byte) || byte == self.delimiter)
        {
            let (delimiter, comment) = (self.delimiter as char, self.comment.map(char::from));
            return Err(format!(
                "the delimiter {delimiter:?} cannot be used with the comment mark {comment:?}"
            )
            .into());
        }
        let text = quotes::checked(text::decoded(bytes, self.latin1)?, self)?;
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(self.delimiter)
            .comment(self.comment)
            .trim(if self.trimmed { Trim::All } else { Trim::None })
            .from_reader(text.as_slice());
        let mut record = ByteRecord::new();
        let mut names = None;
        // The number of fields per record, and the line that sets it.
        let mut width = None;
        let mut records = Vec::new();
        while reader.read_byte_record(&mut record)? {
            let line = self.line(&text, &record);
            let (fields, first) = *width.get_or_insert((record.len(), line));
            if record.len() != fields {
                return Err(
                    format!("line {line}: {} fields where line {first} has {fields}", record.len()).into()
                );
            }
            if self.header && names.is_none() {
                names = Some(Names::new(&record).map_err(|error| format!("line {line}: {error}"))?);
            } else {
                let record = fields::record(self, &record, names.as_ref());
                records.push(record.map_err(|error| format!("line {line}: {error}"))?);
            }
        }
        match names {
            None if self.header => Err("there is no line of names; is it empty, or `without_header`?".into()),
            Some(names) if records.is_empty() && !names.are_utf8() => {
                Err("the names of columns are not UTF-8, and nothing else is there; is this a table?".into())
            }
            _ => Ok(records),
        }
    }

    /// The line on which `record` begins. Its position is the end of the record before it, with empty
    /// lines and comments still to come.
    fn line(&self, text: &[u8], record: &ByteRecord) -> u64 {
        let (byte, mut line) = record.position().map_or((0, 1), |at| (at.byte(), at.line()));
        let mut rest = &text[usize::try_from(byte).unwrap_or(text.len()).min(text.len())..];
        while let [first, behind @ ..] = rest {
            rest = match first {
                b'\r' => behind,
                b'\n' => {
                    line += 1;
                    behind
                }
                _ if Some(*first) == self.comment => {
                    let end = behind.iter().position(|&byte| byte == b'\n').unwrap_or(behind.len());
                    &behind[end..]
                }
                _ => break,
            };
        }
        line
    }
}
