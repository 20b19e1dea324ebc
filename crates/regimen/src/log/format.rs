//! The two formats of log files.

use super::Record;
use crate::BoxError;

/// How records become bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Jsonl,
}

impl Format {
    /// What a file begins with.
    pub(super) fn header(self) -> &'static str {
        match self {
            Format::Csv => "step,phase,name,value,epoch\n",
            Format::Jsonl => "",
        }
    }

    /// The lines of `records`, each with its line feed.
    pub(super) fn encode(self, records: &[Record<'_>]) -> Result<Vec<u8>, BoxError> {
        let mut bytes = Vec::new();
        match self {
            Format::Csv => {
                let mut rows = csv::WriterBuilder::new().has_headers(false).from_writer(&mut bytes);
                records.iter().try_for_each(|record| rows.serialize(record))?;
                rows.flush()?;
            }
            Format::Jsonl => {
                for record in records {
                    serde_json::to_writer(&mut bytes, record)?;
                    bytes.push(b'\n');
                }
            }
        }
        Ok(bytes)
    }
}
