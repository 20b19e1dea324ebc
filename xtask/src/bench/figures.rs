//! Figures: the results of a benchmark, and its missing measurements.

use std::io;

use serde_json::json;

use crate::{BoxError, table};

/// The results of a benchmark so far.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    measured: Vec<Figure>,
    /// Missing measurements, each with its reason.
    missing: Vec<String>,
    /// Lines below the figures.
    notes: String,
    /// Tables to print instead of the list.
    shown: String,
}

/// One number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    pub(crate) case: String,
    pub(crate) metric: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
}

/// Returns the median, which of an even number of values is the upper middle one. Returns NaN if
/// there are no values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Figure {
    /// Parses a figure as `bench` programs print it: case, metric, value and unit, separated by
    /// tabs. Returns `None` for any other line.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut cells = line.split('\t').map(str::to_owned);
        let (case, metric) = (cells.next()?, cells.next()?);
        let value = cells.next()?.parse().ok()?;
        Some(Figure { case, metric, value, unit: cells.next()? })
    }
}

impl Figures {
    pub(crate) fn push(&mut self, figure: Figure) {
        self.measured.push(figure);
    }

    /// Reads a line of a measuring program: records a figure, prints anything else.
    pub(crate) fn read(&mut self, line: &str) {
        match Figure::parse(line) {
            Some(figure) => self.push(figure),
            None => println!("{line}"),
        }
    }

    /// Records that `what` could not be measured.
    pub(crate) fn miss(&mut self, what: &str, why: impl std::fmt::Display) {
        println!("NOT RUN: {what}: {why}");
        self.missing.push(format!("{what}: {why}"));
    }

    /// Appends a line below the figures.
    pub(crate) fn note(&mut self, line: &str) {
        self.notes += line;
        self.notes.push('\n');
    }

    /// Appends `table` to the output, which replaces the list of figures.
    pub(crate) fn show(&mut self, table: &str) {
        self.shown += table;
    }

    pub(crate) fn table(&self) -> String {
        let missing = self.missing.iter().map(|what| format!("NOT RUN: {what}\n")).collect::<String>();
        let shown = if self.shown.is_empty() { self.list() } else { self.shown.clone() };
        shown + &self.notes + &missing
    }

    fn list(&self) -> String {
        let head = ["case", "metric", "value", "unit"].map(str::to_owned);
        let row = |figure: &Figure| {
            let Figure { case, metric, value, unit } = figure.clone();
            [case, metric, format!("{value:.3}"), unit]
        };
        let rows: Vec<_> = std::iter::once(head).chain(self.measured.iter().map(row)).collect();
        table::columns([false, false, true, false], &rows)
    }

    /// Writes a list of `{"case", "metric", "value", "unit"}`.
    pub(crate) fn write_json(&self, mut to: impl io::Write) -> Result<(), BoxError> {
        let object = |Figure { case, metric, value, unit }: &Figure| json!({"case": case, "metric": metric, "value": value, "unit": unit});
        serde_json::to_writer_pretty(&mut to, &self.measured.iter().map(object).collect::<Vec<_>>())?;
        writeln!(to)?;
        Ok(to.flush()?)
    }

    /// Returns an error if a measurement is missing and `REGIMEN_REQUIRE=all` is set.
    pub(crate) fn verdict(&self) -> Result<(), BoxError> {
        if self.missing.is_empty() || !crate::requires_all() {
            return Ok(());
        }
        Err(format!("not measured: {}", self.missing.join("; ")).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_four_cells_is_a_figure() {
        let figure =
            Figure { case: "empty/1".into(), metric: "ns_per_step".into(), value: 8.5, unit: "ns".into() };
        assert_eq!(Figure::parse("empty/1\tns_per_step\t8.5\tns"), Some(figure));
        assert_eq!(Figure::parse("warming up"), None);
        assert_eq!(Figure::parse("empty/1\tns_per_step\tfast\tns"), None);
    }

    #[test]
    fn figures_are_written_as_a_list_of_objects() {
        let mut figures = Figures::default();
        figures.read("a/b\tratio\t1.25\tx");
        let mut json = Vec::new();
        figures.write_json(&mut json).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value, json!([{"case": "a/b", "metric": "ratio", "value": 1.25, "unit": "x"}]));
    }
}
