//! CSV tables, compressed or plain, compared with the `csv` crate and, for a sample, with Python.

use std::path::{Path, PathBuf};

use regimen::BoxError;
use regimen::data::{Csv, Dataset};
use regimen::random::Random;
use serde::Deserialize;

use super::Subject;
use crate::fuzz::corpus::{Corpus, Drawn};
use crate::fuzz::trial::{Fault, Trial, same};
use crate::fuzz::{gzip, sample};

/// A field of two bytes becomes a `String` in a `Vec` with room for four, inside another one.
const MULTIPLE: usize = 256;

const WORDS: &[&[u8]] = &[
    b"\"",
    b"\"\"",
    b",",
    b"\n",
    b"\r\n",
    b"\r",
    b"\n\n",
    b"\xEF\xBB\xBF",
    b"\xF6",
    b"NaN",
    b"-inf",
    b"1e999",
];

/// A table as rows of strings.
#[derive(Debug)]
pub(super) struct Rows {
    corpus: Corpus,
    sample: PathBuf,
}

impl Rows {
    pub(super) fn new(folder: &Path) -> Self {
        let files: [&[u8]; 5] = [
            b"a,b,c\n1,2,3\n4,5,6\n",
            b"\"say \"\"hi\"\"\",\"two\nlines\"\r\n,\" , \"\r\n",
            b"one\ntwo\nthree",
            "\u{feff}gr\u{f6}\u{df}e,\u{1F600}\n1.5,x\n".as_bytes(),
            b"",
        ];
        let corpus = Corpus::new(files.map(<[u8]>::to_vec).to_vec(), WORDS);
        Rows { corpus, sample: folder.join(sample::FOLDER) }
    }
}

impl Subject for Rows {
    fn name(&self) -> &'static str {
        "csv rows"
    }

    fn multiple(&self) -> usize {
        MULTIPLE
    }

    fn attempt(&self, random: &mut Random, trial: &mut Trial) -> Result<(), Fault> {
        let table = Table::draw(&self.corpus, random, trial)?;
        let read = trial.read(table.size, || {
            let rows = Csv::new(&table.path).without_header().read::<Vec<String>>()?;
            (0..rows.len()).map(|index| rows.sample(index)).collect::<Result<Vec<_>, _>>()
        })?;
        if let Ok(rows) = &read {
            sample::offer(&self.sample, &table.text, rows, random)?;
        }
        same(table.is_whole, read, table.check().and_then(rows))
    }
}

/// A table as records with named fields, in any column order.
#[derive(Debug)]
pub(super) struct Columns(Corpus);

#[derive(Clone, Debug, Deserialize)]
#[expect(dead_code, reason = "compared as `Debug` shows them")]
struct Flower {
    length: f64,
    width: f64,
    species: String,
}

impl Columns {
    pub(super) fn new() -> Self {
        let files: [&[u8]; 4] = [
            b"length,width,species\n5.1,3.5,setosa\n7.0,-3.2e3,\"versi\"\"color\"\n",
            b"width,species,length,more\r\n3.5,,5.1,\r\nNaN,x,inf,y\r\n",
            b"species,length,width,gr\xc3\xb6\xc3\x9fe\nvirginica,6.3,3.3,9\n",
            b"width,length,species\n",
        ];
        Columns(Corpus::new(files.map(<[u8]>::to_vec).to_vec(), WORDS))
    }
}

impl Subject for Columns {
    fn name(&self) -> &'static str {
        "csv columns"
    }

    fn multiple(&self) -> usize {
        MULTIPLE
    }

    fn attempt(&self, random: &mut Random, trial: &mut Trial) -> Result<(), Fault> {
        let table = Table::draw(&self.0, random, trial)?;
        let read = trial.read(table.size, || {
            let flowers = Csv::new(&table.path).read::<Flower>()?;
            let flower = |index| flowers.sample(index).map(|flower| format!("{flower:?}"));
            (0..flowers.len()).map(flower).collect::<Result<Vec<_>, _>>()
        })?;
        same(table.is_whole, read, table.check().and_then(flowers))
    }
}

/// A file on disk and its text.
struct Table {
    path: PathBuf,
    text: Vec<u8>,
    /// Size of the text or of its compressed form, the larger of the two.
    size: usize,
    is_whole: bool,
    is_unpacked: bool,
}

impl Table {
    fn draw(corpus: &Corpus, random: &mut Random, trial: &Trial) -> Result<Table, BoxError> {
        let is_packed = random.below(4) == 0;
        let Drawn { bytes, is_whole } =
            if is_packed { gzip::draw(corpus, random)? } else { corpus.draw(random) };
        let path = trial.write(if is_packed { "table.csv.gz" } else { "table.csv" }, &bytes)?;
        if !is_packed {
            return Ok(Table { path, size: bytes.len(), text: bytes, is_whole, is_unpacked: true });
        }
        let unpacked = gzip::unpack(&bytes);
        let size = bytes.len().max(unpacked.bytes.len());
        Ok(Table { path, text: unpacked.bytes, size, is_whole, is_unpacked: unpacked.is_whole })
    }

    /// Returns the text if the file is complete.
    fn check(&self) -> Result<&[u8], String> {
        if self.is_unpacked { Ok(&self.text) } else { Err("the gzip file is damaged".into()) }
    }
}

/// The records of a table. Returns an error if their lengths differ or a quote is left open.
fn records(text: &[u8]) -> Result<Vec<csv::ByteRecord>, String> {
    // An extra line becomes one more record unless a quote is open.
    const END: &[u8] = b"\nthis is the end";
    let text = [text, END].concat();
    let reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&*text);
    let records = reader.into_byte_records().collect::<Result<Vec<_>, _>>();
    let mut records = records.map_err(|error| error.to_string())?;
    match records.pop() {
        Some(end) if end.len() == 1 && end[0] == END[1..] => {}
        _ => return Err("a quote never closes".into()),
    }
    match records.iter().find(|record| record.len() != records[0].len()) {
        Some(odd) => Err(format!("a record has {} fields, and the first {}", odd.len(), records[0].len())),
        None => Ok(records),
    }
}

fn rows(text: &[u8]) -> Result<Vec<Vec<String>>, String> {
    let field = |field: &[u8]| String::from_utf8(field.to_vec()).map_err(|error| error.to_string());
    records(text)?.iter().map(|record| record.iter().map(field).collect()).collect()
}

/// Each flower as its `Debug` output, in which NaN equals NaN.
fn flowers(text: &[u8]) -> Result<Vec<String>, String> {
    let records = records(text)?;
    // Without records, no column is required.
    let Some((header, records)) = records.split_first().filter(|(_, records)| !records.is_empty()) else {
        return Ok(Vec::new());
    };
    let place = |name: &str| {
        let mut places = (0..header.len()).filter(|&place| &header[place] == name.as_bytes());
        match (places.next(), places.next()) {
            (Some(place), None) => Ok(place),
            _ => Err(format!("there is no one column `{name}`")),
        }
    };
    let (length, width, species) = (place("length")?, place("width")?, place("species")?);
    let flower = |record: &csv::ByteRecord| {
        let text = |place: usize| std::str::from_utf8(&record[place]).map_err(|error| error.to_string());
        let number = |place| text(place)?.parse::<f64>().map_err(|error| error.to_string());
        let (length, width) = (number(length)?, number(width)?);
        Ok(format!("{:?}", Flower { length, width, species: text(species)?.to_owned() }))
    };
    records.iter().map(flower).collect()
}
