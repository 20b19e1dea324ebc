//! A file of predictions, which continues a paused prediction.

use std::path::PathBuf;
use std::{fmt, fs, iter};

use serde::Serialize;

use super::existing_file::set_aside;
use super::open_file::{Mark, OpenFile, failed};
use crate::BoxError;
use crate::run::PredictionSink;
use crate::saved::StateDict;
use crate::text::Count;

/// Writes predictions to a file: a sink for [`Run::predict_into`](crate::Run::predict_into).
///
/// The outputs of one step are one write. With [`Predict::resume`](crate::run::Evaluate::resume) the file
/// continues from the pause of the prediction, also in another process: a checkpoint holds the file's
/// length and the CRC-32 of its bytes. The bytes after that are cut off, because their steps are
/// repeated. A file that is shorter, or whose bytes up to there differ, is an error. A new prediction
/// keeps an existing file under the next free name (`out.csv.1`).
///
/// ```no_run
/// # use regimen::run::Predict;
/// # use regimen::unit::PredictUnit;
/// # use regimen::Run;
/// # fn example<U: PredictUnit<Batch = u64, Output = f64>>(
/// #     mut run: Run<'_, U>,
/// #     data: Vec<u64>,
/// # ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use std::io::Write;
///
/// use regimen::log::OutputFile;
///
/// let mut file = OutputFile::new("out.csv", |output: f64, bytes: &mut Vec<u8>| Ok(writeln!(bytes, "{output}")?));
/// run.predict_into(&data, Predict::whole().resume("test"), &mut file)?;
/// # Ok(())
/// # }
/// ```
pub struct OutputFile<F> {
    path: PathBuf,
    /// Written before the first output.
    header: Vec<u8>,
    encode: F,
    open: Option<OpenFile>,
}

impl<F> OutputFile<F> {
    /// A sink that writes to the file at `path` what `encode` adds to the buffer for an output. Its
    /// folder is created when the prediction begins.
    pub fn new(path: impl Into<PathBuf>, encode: F) -> Self {
        OutputFile { path: path.into(), header: Vec::new(), encode, open: None }
    }
}

impl OutputFile<()> {
    /// A sink that writes a CSV file with the columns of `header`: `to_rows` returns the rows of the output
    /// of one step. A row is a tuple, a list or another type that serde serializes to one field per column.
    /// A row with more or fewer fields is an error, and nothing of its step is written.
    ///
    /// The header is written with the first output, and never again.
    ///
    /// ```no_run
    /// # use regimen::run::Predict;
    /// # use regimen::unit::PredictUnit;
    /// # use regimen::Run;
    /// # fn example<U: PredictUnit<Batch = u64, Output = Vec<(u64, f64)>>>(
    /// #     mut run: Run<'_, U>,
    /// #     data: Vec<u64>,
    /// # ) -> Result<(), regimen::Error> {
    /// use regimen::log::OutputFile;
    ///
    /// let mut file = OutputFile::csv("out.csv", ["sample", "score"], |rows: Vec<(u64, f64)>| rows);
    /// run.predict_into(&data, Predict::whole().resume("test"), &mut file)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn csv<O, R>(
        path: impl Into<PathBuf>,
        header: impl IntoIterator<Item = impl AsRef<[u8]>>,
        mut to_rows: impl FnMut(O) -> R,
    ) -> OutputFile<impl FnMut(O, &mut Vec<u8>) -> Result<(), BoxError>>
    where
        R: IntoIterator<Item: Serialize>,
    {
        let mut columns = csv::ByteRecord::new();
        header.into_iter().for_each(|column| columns.push_field(column.as_ref()));
        let header = csv_bytes(&columns, iter::empty::<()>()).unwrap_or_default();
        let before = header.len();
        let encode = move |output: O, bytes: &mut Vec<u8>| -> Result<(), BoxError> {
            // The writer compares the rows with the header before them.
            bytes.extend(csv_bytes(&columns, to_rows(output))?.split_off(before));
            Ok(())
        };
        OutputFile { header, ..OutputFile::new(path, encode) }
    }
}

/// A header and rows behind it.
fn csv_bytes(
    header: &csv::ByteRecord,
    rows: impl IntoIterator<Item: Serialize>,
) -> Result<Vec<u8>, BoxError> {
    let mut bytes = Vec::new();
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(&mut bytes);
    writer.write_byte_record(header)?;
    let written = rows.into_iter().try_for_each(|row| writer.serialize(row));
    written.map_err(|cause| match cause.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            BoxError::from(format!("a row has {}, and the header has {expected_len}", Count(*len, "field")))
        }
        _ => BoxError::from(cause),
    })?;
    writer.flush()?;
    drop(writer);
    Ok(bytes)
}

impl<O, F> PredictionSink<O> for OutputFile<F>
where
    F: FnMut(O, &mut Vec<u8>) -> Result<(), BoxError>,
{
    fn begin(&mut self, position: Option<&StateDict>) -> Result<(), BoxError> {
        if let Some(folder) = self.path.parent() {
            let made = fs::create_dir_all(folder);
            made.map_err(|cause| failed(&self.path, "create the folder of", cause))?;
        }
        let mark = match position {
            Some(position) if position.is_empty() => {
                let path = self.path.display();
                return Err(format!(
                    "cannot go on in `{path}` with a prediction that was begun without a file; give it another \
                     name"
                )
                .into());
            }
            Some(position) => Mark::read(position)?,
            None => {
                if fs::metadata(&self.path).is_ok_and(|found| found.is_file() && found.len() > 0) {
                    set_aside(&self.path).map_err(|cause| failed(&self.path, "set aside", cause))?;
                }
                Mark::default()
            }
        };
        self.open = Some(OpenFile::go_on(&self.path, mark)?);
        Ok(())
    }

    fn write(&mut self, output: O) -> Result<(), BoxError> {
        let Some(open) = &mut self.open else {
            return Err("an output came before its prediction began".into());
        };
        let mut bytes = if open.length() == 0 { self.header.clone() } else { Vec::new() };
        (self.encode)(output, &mut bytes)?;
        open.append(&bytes)
    }

    fn position(&mut self) -> Result<StateDict, BoxError> {
        let Some(open) = &mut self.open else { return Ok(StateDict::new()) };
        open.sync()?;
        open.mark().state_dict()
    }
}

impl<F> fmt::Debug for OutputFile<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputFile").field("path", &self.path).finish_non_exhaustive()
    }
}
