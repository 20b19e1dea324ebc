//! A logger of one's own: `MetricLog` hands it each moment's metrics as records.

use std::fs::File;
use std::io::Write;

use regimen::log::{MetricLog, MetricSink, Record};
use regimen::{BoxError, Fit, Run};
use regimen_examples::digits::{Digits, Split};
use regimen_examples::reading::{loader, unit};

/// Writes a line per value: its step, its name and itself, with tabs between them.
struct Table(File);

impl MetricSink for Table {
    fn write(&mut self, records: &[Record<'_>]) -> Result<(), BoxError> {
        let lines =
            records.iter().map(|record| format!("{}\t{}\t{}\n", record.step, record.name, record.value));
        Ok(self.0.write_all(lines.collect::<String>().as_bytes())?)
    }
}

fn main() -> Result<(), BoxError> {
    let Split { train, validation, .. } = Digits::bundled()?.split();
    let mut unit = unit(7)?;
    let mut run = Run::new(&mut unit).callback(MetricLog::to(Table(File::create("metrics.tsv")?)));
    run.fit(&loader(train), &loader(validation), Fit::epochs(3))?;

    let written = std::fs::read_to_string("metrics.tsv")?;
    let last = written.lines().last().unwrap_or_default();
    println!("metrics.tsv has {} lines; the last is {last:?}", written.lines().count());
    match written.lines().filter(|line| line.contains("eval/accuracy")).count() {
        3 => Ok(()),
        n => Err(format!("metrics.tsv has the accuracy of {n} epochs, not of 3").into()),
    }
}
