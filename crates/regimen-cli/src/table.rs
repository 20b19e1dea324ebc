//! Text tables.

use std::fmt;

use crate::output::escape;

/// Rows of cells, the first of which is the header. The last columns are aligned to the right.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    numbers: usize,
}

impl Table {
    /// Creates an empty table whose last `numbers` columns hold numbers.
    pub(crate) fn new(heads: &[&str], numbers: usize) -> Self {
        let heads = heads.iter().map(|head| (*head).to_owned()).collect();
        Table { rows: vec![heads], numbers }
    }

    /// Adds a row. Control characters are escaped.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| escape(&cell, &[])).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                let cell = match columns - column <= self.numbers {
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:<width$}"),
                };
                line = line + if column == 0 { "" } else { "  " } + &cell;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_aligned_to_the_left_and_numbers_to_the_right() {
        let mut table = Table::new(&["part", "bytes"], 1);
        table.row(["module".to_owned(), "5".to_owned()]);
        table.row(["run".to_owned(), "1234567".to_owned()]);
        assert_eq!(table.to_string(), "part      bytes\nmodule        5\nrun     1234567\n");
    }

    #[test]
    fn no_cell_breaks_its_line_or_reaches_into_the_terminal() {
        let mut table = Table::new(&["array", "bytes"], 1);
        table.row(["a\r\n\t\u{1b}[2J\u{9b}".to_owned(), "5".to_owned()]);
        table.row(["b".to_owned(), "6".to_owned()]);
        let escaped = r"a\r\n\t\u{1b}[2J\u{9b}";
        let width = escaped.chars().count();
        let line = |name, bytes| format!("{name:<width$}  {bytes:>5}\n");
        let expected = line("array", "bytes") + &line(escaped, "5") + &line("b", "6");
        assert_eq!(table.to_string(), expected);
    }
}
