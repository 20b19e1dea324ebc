//! Text tables.

/// Lays out `rows` in columns as wide as their widest cell. Columns with `right` are aligned to the right.
pub(crate) fn columns<const N: usize>(right: [bool; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cell = |i: usize| match right[i] {
            true => format!("{:>1$}", row[i], widths[i]),
            false => format!("{:<1$}", row[i], widths[i]),
        };
        let line = std::array::from_fn::<_, N, _>(cell).join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["step", "time"], ["a", "1 s"], ["doctests", "100 s"]].map(|row| row.map(str::to_owned));
        assert_eq!(columns([false, true], &rows), "step       time\na           1 s\ndoctests  100 s\n");
    }
}
