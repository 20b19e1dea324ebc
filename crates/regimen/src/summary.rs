//! The summary of a module: a table of its parameters, as a tree of paths.

use std::fmt;

use console::truncate_str;
use regimen_core::BoxError;
use regimen_core::engine::{Engine, Role, Variable};
use serde::Serialize;

/// The parameters and buffers of a module by path, with the sums of each submodule.
///
/// It displays as a table without a line feed at its end, and serializes as an object per submodule,
/// parameter and buffer. The table has at most 80 columns, unless a shape is very long: a name that does not
/// fit is cut off. Counts and sizes are rounded to units of 1000, such as `1.2 K` and `3.4 MB`; the total
/// counts are exact.
///
/// ```
/// use regimen::engine::{Role, Variable};
/// use regimen::saved::Dtype;
/// use regimen::summary::Summary;
///
/// let variable = |name: &str, shape: &[usize], role| {
///     Variable { name: name.to_owned(), shape: shape.to_vec(), dtype: Dtype::F32, role }
/// };
/// let summary = Summary::of_variables([
///     variable("body.bias", &[64], Role::Frozen),
///     variable("body.weight", &[784, 64], Role::Frozen),
///     variable("head.weight", &[64, 10], Role::Trained),
///     variable("norm.running_mean", &[64], Role::Buffer),
/// ]);
/// assert_eq!(
///     summary.to_string(),
///     "\
/// name            shape      parameters  trainable    size
/// --------------------------------------------------------
/// body                           50.2 K          0  200 KB
///   bias          [64]               64          0   256 B
///   weight        [784, 64]      50.2 K          0  200 KB
/// head                              640        640  2.6 KB
///   weight        [64, 10]          640        640  2.6 KB
/// norm                                0          0   256 B
///   running_mean  [64]                0          0   256 B
/// --------------------------------------------------------
/// total                          50,880        640  203 KB"
/// );
/// ```
///
/// Operations (FLOPs), the shapes of outputs and the times of layers are not in it: engines have no hooks
/// between layers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The last part of its path: `linear` for `blocks.0.linear`. Empty for the module itself.
    pub name: String,
    /// The shape of a parameter or buffer; `None` for a module.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<usize>>,
    /// Number of elements in all parameters. Those of buffers do not count.
    pub parameters: u64,
    /// Number of elements in those that are trained: the others are frozen.
    pub trainable: u64,
    /// Bytes of parameters and buffers. Gradients and the optimizer's state are not among them.
    pub bytes: u64,
    /// Its submodules, parameters and buffers in the order of their names, numbers in their own order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Summary>,
}

impl Summary {
    /// The summary of the engine's module. Parameters that are frozen now are not trainable.
    ///
    /// ```
    /// # use regimen::engine::Engine;
    /// # use regimen::{AutoUnit, BoxError, Task};
    /// # use regimen::summary::Summary;
    /// # fn example<E: Engine, T: Task<E>>(unit: AutoUnit<E, T>) -> Result<(), BoxError> {
    /// println!("{}", Summary::of(unit.engine())?.max_depth(2));
    /// # Ok(())
    /// # }
    /// ```
    pub fn of<E: Engine>(engine: &E) -> Result<Self, BoxError> {
        Ok(Summary::of_variables(engine.variables()?))
    }

    /// The summary of a module with these parameters and buffers.
    pub fn of_variables(variables: impl IntoIterator<Item = Variable>) -> Self {
        let mut summary = Summary::default();
        for variable in variables {
            summary.add(Some(&variable.name), &variable);
        }
        summary.sort();
        summary
    }

    /// Leaves out names below `depth` levels: with 1, the parts of the module are left, and with 0 the totals
    /// alone. The sums stay as they are.
    pub fn max_depth(mut self, depth: usize) -> Self {
        self.prune(depth);
        self
    }

    /// Adds a variable whose path from here is `path`; `None` if it is this one.
    fn add(&mut self, path: Option<&str>, variable: &Variable) {
        let sum = |count: &mut u64, n| *count = count.saturating_add(n);
        sum(&mut self.bytes, variable.bytes());
        if variable.role != Role::Buffer {
            sum(&mut self.parameters, variable.elements());
        }
        if variable.role == Role::Trained {
            sum(&mut self.trainable, variable.elements());
        }
        let Some(path) = path else {
            self.shape = Some(variable.shape.clone());
            return;
        };
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        match self.parts.iter_mut().find(|part| part.name == name) {
            Some(part) => part.add(rest, variable),
            None => {
                let mut part = Summary { name: name.to_owned(), ..Summary::default() };
                part.add(rest, variable);
                self.parts.push(part);
            }
        }
    }

    fn sort(&mut self) {
        self.parts.sort_by(|a, b| order(&a.name).cmp(&order(&b.name)));
        self.parts.iter_mut().for_each(Summary::sort);
    }

    fn prune(&mut self, depth: usize) {
        match depth.checked_sub(1) {
            None => self.parts.clear(),
            Some(depth) => self.parts.iter_mut().for_each(|part| part.prune(depth)),
        }
    }

    /// Adds the rows of the parts, which are `depth` levels below the module.
    fn add_rows(&self, depth: usize, rows: &mut Vec<Row>) {
        for part in &self.parts {
            rows.push([
                format!("{:1$}{2}", "", 2 * depth, part.name),
                part.shape.as_ref().map(|shape| format!("{shape:?}")).unwrap_or_default(),
                rounded(part.parameters, COUNTS),
                rounded(part.trainable, COUNTS),
                rounded(part.bytes, BYTES),
            ]);
            part.add_rows(depth + 1, rows);
        }
    }
}

/// The cells of a row: name, shape, parameters, trainable, size.
type Row = [String; 5];

/// Columns of a terminal.
const WIDTH: usize = 80;

/// Columns that a name has at least.
const LEAST_NAME: usize = 12;

/// Columns between two cells.
const GAP: usize = 2;

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![["name", "shape", "parameters", "trainable", "size"].map(str::to_owned)];
        self.add_rows(0, &mut rows);
        rows.push([
            "total".to_owned(),
            String::new(),
            separated(self.parameters),
            separated(self.trainable),
            rounded(self.bytes, BYTES),
        ]);
        let mut widths = [0; 5];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let others = widths[1..].iter().map(|width| GAP + width).sum();
        widths[0] = widths[0].min(LEAST_NAME.max(WIDTH.saturating_sub(others)));
        let rule = "-".repeat(widths[0] + others);
        let [name, shape, parameters, trainable, size] = widths;
        for (i, row) in rows.iter().enumerate() {
            let is_total = i + 1 == rows.len();
            if is_total {
                writeln!(f, "{rule}")?;
            }
            let cut = truncate_str(&row[0], name, "..");
            write!(f, "{cut:name$}  {:shape$}  {:>parameters$}", row[1], row[2])?;
            write!(f, "  {:>trainable$}  {:>size$}", row[3], row[4])?;
            match i {
                0 => writeln!(f, "\n{rule}")?,
                _ if !is_total => writeln!(f)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The order of names: `10` comes after `2`, and both before any other.
fn order(name: &str) -> (u64, &str) {
    (name.parse().unwrap_or(u64::MAX), name)
}

const COUNTS: [&str; 5] = ["", " K", " M", " B", " T"];
const BYTES: [&str; 5] = [" B", " KB", " MB", " GB", " TB"];

/// A count in its unit of 1000: with a decimal up to `99.9`, and whole and rounded down from there on.
fn rounded(n: u64, units: [&str; 5]) -> String {
    let (mut unit, mut size) = (0, 1);
    while unit + 1 < units.len() && 1000 <= n / size {
        (unit, size) = (unit + 1, size * 1000);
    }
    let tenths = (u128::from(n) * 10 + u128::from(size / 2)) / u128::from(size);
    match (unit, tenths) {
        (0, _) => format!("{n}{}", units[0]),
        (_, ..1000) => format!("{}.{}{}", tenths / 10, tenths % 10, units[unit]),
        // 99.96 is 100 as well.
        _ => separated((n / size).max(100)) + units[unit],
    }
}

/// A count with a comma before each three digits.
fn separated(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use regimen_core::saved::Dtype;

    fn variable(name: &str, shape: &[usize], role: Role) -> Variable {
        Variable { name: name.to_owned(), shape: shape.to_vec(), dtype: Dtype::F32, role }
    }

    fn network() -> Summary {
        Summary::of_variables([
            variable("blocks.0.weight", &[2, 3], Role::Trained),
            variable("blocks.10.weight", &[2, 3], Role::Trained),
            variable("blocks.2.weight", &[2, 3], Role::Frozen),
            variable("scale", &[], Role::Trained),
            variable("seen", &[4], Role::Buffer),
        ])
    }

    #[test]
    fn counts_have_the_units_of_lightning() {
        // Those of its tests, and the bounds between two units.
        let check = |n, text: &str| assert_eq!(rounded(n, COUNTS), text, "{n}");
        check(0, "0");
        check(123, "123");
        check(999, "999");
        check(1000, "1.0 K");
        check(1234, "1.2 K");
        check(99_949, "99.9 K");
        check(99_950, "100 K");
        check(999_999, "999 K");
        check(2_000_000, "2.0 M");
        check(3_000_000_000, "3.0 B");
        check(400_000_000_000_000, "400 T");
        check(5_000_000_000_000_000, "5,000 T");
        check(u64::MAX, "18,446,744 T");
        assert_eq!(rounded(7, BYTES), "7 B");
        assert_eq!(rounded(31_400, BYTES), "31.4 KB");
    }

    #[test]
    fn three_digits_are_separated() {
        let check = |n, text: &str| assert_eq!(separated(n), text);
        check(0, "0");
        check(999, "999");
        check(1000, "1,000");
        check(123_456, "123,456");
        check(1_234_567, "1,234,567");
    }

    #[test]
    fn a_table_has_a_row_per_module_and_variable_and_the_totals() {
        assert_eq!(
            network().to_string(),
            "\
name        shape   parameters  trainable  size
-----------------------------------------------
blocks                      18         12  72 B
  0                          6          6  24 B
    weight  [2, 3]           6          6  24 B
  2                          6          0  24 B
    weight  [2, 3]           6          0  24 B
  10                         6          6  24 B
    weight  [2, 3]           6          6  24 B
scale       []               1          1   4 B
seen        [4]              0          0  16 B
-----------------------------------------------
total                       19         13  92 B"
        );
    }

    #[test]
    fn a_depth_leaves_out_names_and_no_sums() {
        let head = "\
name    shape  parameters  trainable  size
------------------------------------------
";
        let tail = "\
------------------------------------------
total                  19         13  92 B";
        let one = "\
blocks                 18         12  72 B
scale   []              1          1   4 B
seen    [4]             0          0  16 B
";
        assert_eq!(network().max_depth(1).to_string(), format!("{head}{one}{tail}"));
        let none = "\
name   shape  parameters  trainable  size
-----------------------------------------
-----------------------------------------
total                 19         13  92 B";
        assert_eq!(network().max_depth(0).to_string(), none);
        assert_eq!(network().max_depth(usize::MAX), network());
    }

    #[test]
    fn a_line_has_eighty_columns_and_a_name_that_does_not_fit_is_cut_off() {
        let long = "\u{e9}".repeat(70);
        let summary = Summary::of_variables([
            variable(&format!("a.{long}"), &[1024, 1024, 3, 3], Role::Trained),
            variable("b.weight", &[4096, 4096, 400], Role::Trained),
        ]);
        let text = summary.to_string();
        let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths, [80; 8]);
        let (row, name) = (text.lines().nth(3).unwrap(), format!("  {}..  [1024", &long[..2 * 17]));
        assert!(row.starts_with(&name), "{row}");
    }

    #[test]
    fn json_has_an_object_per_part() {
        let summary = Summary::of_variables([
            variable("a.w", &[2, 2], Role::Trained),
            variable("a.w.mean", &[2], Role::Buffer),
        ]);
        assert_eq!(
            serde_json::to_value(&summary).unwrap(),
            serde_json::json!({
                "name": "", "parameters": 4, "trainable": 4, "bytes": 24, "parts": [{
                    "name": "a", "parameters": 4, "trainable": 4, "bytes": 24, "parts": [{
                        "name": "w", "shape": [2, 2], "parameters": 4, "trainable": 4, "bytes": 24, "parts": [
                            {"name": "mean", "shape": [2], "parameters": 0, "trainable": 0, "bytes": 8},
                        ],
                    }],
                }],
            })
        );
    }
}
