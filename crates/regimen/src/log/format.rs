//! The formats of log files.

use std::io::{self, BufRead};

use super::Record;
use super::wide::Columns;
use crate::BoxError;

/// The conversion of records to bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Jsonl,
    Wide(Columns),
}

impl Format {
    /// The beginning of a file.
    pub(super) fn header(&self) -> &str {
        match self {
            Format::Csv => "step,phase,name,value,epoch\n",
            Format::Jsonl => "",
            Format::Wide(columns) => columns.header(),
        }
    }

    /// The lines of `records`, each with its line feed.
    pub(super) fn encode(&self, records: &[Record<'_>]) -> Result<Vec<u8>, BoxError> {
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
            Format::Wide(columns) => bytes = columns.encode(records)?,
        }
        Ok(bytes)
    }

    /// The number of the `bytes` of a file in whole rows: all except a torn row at the end.
    pub(super) fn whole_rows(&self, mut bytes: impl BufRead) -> io::Result<u64> {
        let (mut line, mut read, mut whole) = (Vec::new(), 0, 0);
        // A name in quotes may have several lines. Each new row is known by its beginning, so that
        // one torn earlier does not turn quotes inside out from there on.
        let mut quoted = false;
        while bytes.read_until(b'\n', &mut line)? > 0 {
            if *self != Format::Jsonl {
                let odd = line.iter().filter(|byte| **byte == b'"').count() % 2 == 1;
                quoted = (quoted && !begins_row(&line)) != odd;
            }
            read += line.len() as u64;
            if line.ends_with(b"\n") && !quoted {
                whole = read;
            }
            line.clear();
        }
        Ok(whole)
    }
}

/// Whether a line of a CSV file is the first of a row: a step and a phase.
fn begins_row(line: &[u8]) -> bool {
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let phases = [",train,", ",eval,", ",predict,"];
    0 < digits && phases.iter().any(|phase| line[digits..].starts_with(phase.as_bytes()))
}
