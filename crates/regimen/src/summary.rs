//! The summary of a module: a table of its parameters and costs, as a tree of paths.

use std::fmt;

use console::truncate_str;
use regimen_core::BoxError;
use regimen_core::engine::{Cost, Engine, Role, Variable, Work};
use serde::{Serialize, Serializer};

/// The parameters and buffers of a module by path, with the sums of each submodule.
///
/// It displays as a table without a line feed at its end, and serializes as an object per submodule,
/// parameter and buffer. The table has at most 80 columns, or the width in the format (`{summary:120}`),
/// unless a shape is very long: a name that does not fit is cut off. Counts and sizes are rounded to units of
/// 1000, such as `1.2 K` and `3.4 MB`; the total counts of parameters are exact.
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
/// # Costs
///
/// The costs of training steps are in it if the engine has [measured](Engine::measure) them:
///
/// ```
/// # use regimen::engine::{Engine, Mode};
/// # use regimen::{BoxError, Loss};
/// # use regimen::summary::Summary;
/// # fn example<E: Engine>(mut engine: E, loss: impl Fn(&E::Module) -> E::Scalar) -> Result<(), BoxError> {
/// engine.measure(true);
/// let loss = engine.with_module(Mode::Train, loss);
/// engine.backward(&loss, None)?;
/// println!("{:120}", Summary::of(&engine)?);
/// engine.measure(false);
/// # Ok(())
/// # }
/// ```
///
/// [`ModuleSummary::measure`](crate::callback::ModuleSummary::measure) does the same with a step of a run.
/// Columns that are unknown are left out:
///
/// - `output`: the shape of the last output of a layer with parameters.
/// - `FLOPs fwd`, `FLOPs bwd`: multiply-accumulates of matrix products, convolutions and fused attention, in
///   the forward and the backward pass. One multiplication with its addition counts once, as in TorchTNT: a
///   linear layer of 10 inputs and 70 outputs has 700 per sample. Other tools count it twice. Other
///   operations are not counted.
/// - `ms fwd`, `ms bwd`: time in operations, in milliseconds. It includes the time of the measurement itself,
///   a few microseconds per operation. The first steps of a process take longer than later ones.
///
/// An operation counts for the layer of the first parameter that it reads, and for all modules around that
/// layer. One that reads no parameter (an activation, pooling, an addition) counts for the innermost module
/// that holds the layers before and after it. The operations of the loss count for the total alone.
///
/// The engine on libtorch knows all of this. On Burn the total times are known, and nothing of a single
/// layer: Burn tells nobody of its operations.
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
    /// The shape of its last output, if it is a layer with parameters and was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Vec<usize>>,
    /// The cost of the measured forward passes; `None` if unknown. In JSON `flops` and `ms`, as in the table.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize")]
    pub forward: Option<Work>,
    /// The same for the backward passes.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize")]
    pub backward: Option<Work>,
    /// Its submodules, parameters and buffers in the order of their names, numbers in their own order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Summary>,
}

impl Summary {
    /// The summary of the engine's module, with the costs that the engine has measured. Parameters that are
    /// frozen now are not trainable.
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
        Ok(Summary::of_variables(engine.variables()?).with_costs(engine.costs()))
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

    /// Adds costs of layers. A layer without parameters and buffers counts for the module around it.
    pub fn with_costs(mut self, costs: impl IntoIterator<Item = Cost>) -> Self {
        for cost in costs {
            self.add_cost(&cost.layer, &cost);
        }
        self
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

    /// Adds the cost of the layer whose path from here is `path`; empty if it is this one.
    fn add_cost(&mut self, path: &str, cost: &Cost) {
        *self.forward.get_or_insert_default() += cost.forward;
        *self.backward.get_or_insert_default() += cost.backward;
        let (name, rest) = path.split_once('.').unwrap_or((path, ""));
        if path.is_empty() {
            self.output.clone_from(&cost.output);
        } else if let Some(part) = self.parts.iter_mut().find(|part| part.name == name) {
            part.add_cost(rest, cost);
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
            let name = format!("{:1$}{2}", "", 2 * depth, part.name);
            rows.push(part.row(name, |count| rounded(count, COUNTS)));
            part.add_rows(depth + 1, rows);
        }
    }

    fn row(&self, name: String, count: fn(u64) -> String) -> Row {
        let shape = |shape: &Option<Vec<usize>>| shape.as_ref().map(|shape| format!("{shape:?}"));
        let flops = |work: Option<Work>| work?.flops.map(|flops| rounded(flops, FLOPS));
        let time = |work: Option<Work>| work.map(|work| format!("{:.3}", milliseconds(work)));
        [
            Some(name),
            shape(&self.shape),
            Some(count(self.parameters)),
            Some(count(self.trainable)),
            Some(rounded(self.bytes, BYTES)),
            shape(&self.output),
            flops(self.forward),
            flops(self.backward),
            time(self.forward),
            time(self.backward),
        ]
        .map(Option::unwrap_or_default)
    }
}

fn milliseconds(work: Work) -> f64 {
    work.time.as_secs_f64() * 1e3
}

fn serialize<S: Serializer>(work: &Option<Work>, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Json {
        #[serde(skip_serializing_if = "Option::is_none")]
        flops: Option<u64>,
        ms: f64,
    }
    work.map(|work| Json { flops: work.flops, ms: milliseconds(work) }).serialize(to)
}

/// The cells of a row, those of an unknown value empty.
type Row = [String; 10];

const HEAD: [&str; 10] = [
    "name",
    "shape",
    "parameters",
    "trainable",
    "size",
    "output",
    "FLOPs fwd",
    "FLOPs bwd",
    "ms fwd",
    "ms bwd",
];

/// The columns of texts, which start at the left.
const TEXTS: [usize; 3] = [0, 1, 5];
const SIZES: &[usize] = &[1, 2, 3, 4];
const COSTS: &[usize] = &[5, 6, 7, 8, 9];

/// Columns of a terminal.
const WIDTH: usize = 80;

/// Columns that a name has at least.
const LEAST_NAME: usize = 12;

/// Columns between two cells.
const GAP: usize = 2;

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Vec::new();
        self.add_rows(0, &mut rows);
        rows.push(self.row("total".to_owned(), separated));
        let is_known = |column: &&usize| rows.iter().any(|row| !row[**column].is_empty());
        let costs: Vec<usize> = COSTS.iter().filter(is_known).copied().collect();
        let width = f.width().unwrap_or(WIDTH);
        let whole = Table::new(&rows, &[SIZES, &costs].concat());
        if costs.is_empty() || whole.width() <= width {
            return whole.fit(width).fmt(f);
        }
        Table::new(&rows, SIZES).fit(width).fmt(f)?;
        let measured: Vec<Row> =
            rows.into_iter().filter(|row| costs.iter().any(|&column| !row[column].is_empty())).collect();
        f.write_str("\n\n")?;
        Table::new(&measured, &costs).fit(width).fmt(f)
    }
}

/// Some columns of some rows, of which the last is the total.
struct Table<'r> {
    rows: &'r [Row],
    /// The columns and their widths. The first is the name.
    columns: Vec<(usize, usize)>,
}

impl<'r> Table<'r> {
    fn new(rows: &'r [Row], columns: &[usize]) -> Self {
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            (column, cells.fold(HEAD[column].len(), usize::max))
        };
        Table { rows, columns: [&[0], columns].concat().into_iter().map(width).collect() }
    }

    fn width(&self) -> usize {
        self.columns.iter().map(|(_, width)| width + GAP).sum::<usize>() - GAP
    }

    /// Cuts names off, so that it has `width` columns if that is enough.
    fn fit(mut self, width: usize) -> Self {
        let name = self.columns[0].1;
        let rest = self.width() - name;
        self.columns[0].1 = name.min(LEAST_NAME.max(width.saturating_sub(rest)));
        self
    }

    fn line(&self, cells: [&str; 10]) -> String {
        let cell = |&(column, width): &(usize, usize)| match TEXTS.contains(&column) {
            true => format!("{:width$}", truncate_str(cells[column], width, "..")),
            false => format!("{:>width$}", cells[column]),
        };
        let line = self.columns.iter().map(cell).collect::<Vec<_>>().join(&" ".repeat(GAP));
        line.trim_end().to_owned()
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = "-".repeat(self.width());
        writeln!(f, "{}\n{rule}", self.line(HEAD))?;
        for (i, row) in self.rows.iter().enumerate() {
            let line = self.line(row.each_ref().map(String::as_str));
            match i + 1 == self.rows.len() {
                true => write!(f, "{rule}\n{line}")?,
                false => writeln!(f, "{line}")?,
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
const FLOPS: [&str; 5] = ["", " k", " M", " G", " T"];
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
    use std::time::Duration;

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

    fn work(flops: u64, microseconds: u64) -> Work {
        Work { flops: Some(flops), time: Duration::from_micros(microseconds) }
    }

    fn measured() -> Summary {
        let cost = |layer: &str, output: Option<&[usize]>, forward, backward| Cost {
            layer: layer.to_owned(),
            output: output.map(<[usize]>::to_vec),
            forward,
            backward,
        };
        network().with_costs([
            cost("", None, work(0, 1500), work(0, 2)),
            cost("blocks", None, work(0, 30), work(0, 40)),
            cost("blocks.10", Some(&[32, 3]), work(12_000_000, 1_000_000), work(24_000_000, 0)),
            cost("blocks.2", Some(&[32, 2]), work(640, 1), work(1234, 20)),
            // A layer without parameters.
            cost("blocks.pool", Some(&[7]), work(1, 5), work(2, 0)),
        ])
    }

    #[test]
    fn a_wide_table_has_the_costs_in_the_rows_of_the_modules() {
        let text = format!("{:120}", measured());
        assert_eq!(
            text,
            "\
name        shape   parameters  trainable  size  output   FLOPs fwd  FLOPs bwd    ms fwd  ms bwd
------------------------------------------------------------------------------------------------
blocks                      18         12  72 B              12.0 M     24.0 M  1000.036   0.060
  0                          6          6  24 B
    weight  [2, 3]           6          6  24 B
  2                          6          0  24 B  [32, 2]        640      1.2 k     0.001   0.020
    weight  [2, 3]           6          0  24 B
  10                         6          6  24 B  [32, 3]     12.0 M     24.0 M  1000.000   0.000
    weight  [2, 3]           6          6  24 B
scale       []               1          1   4 B
seen        [4]              0          0  16 B
------------------------------------------------------------------------------------------------
total                       19         13  92 B              12.0 M     24.0 M  1001.536   0.062"
        );
    }

    #[test]
    fn a_narrow_table_is_followed_by_one_of_the_costs() {
        let (sizes, costs) = (network().to_string(), measured().to_string());
        assert_eq!(
            costs.strip_prefix(&sizes).unwrap(),
            "\
\n\n\
name    output   FLOPs fwd  FLOPs bwd    ms fwd  ms bwd
-------------------------------------------------------
blocks              12.0 M     24.0 M  1000.036   0.060
  2     [32, 2]        640      1.2 k     0.001   0.020
  10    [32, 3]     12.0 M     24.0 M  1000.000   0.000
-------------------------------------------------------
total               12.0 M     24.0 M  1001.536   0.062"
        );
    }

    #[test]
    fn unknown_costs_have_no_column() {
        let total = Work { flops: None, time: Duration::from_micros(2500) };
        let cost = Cost { forward: total, backward: total, ..Cost::default() };
        let summary = Summary::of_variables([variable("w", &[2], Role::Trained)]).with_costs([cost]);
        assert_eq!(
            summary.to_string(),
            "\
name   shape  parameters  trainable  size  ms fwd  ms bwd
---------------------------------------------------------
w      [2]             2          2   8 B
---------------------------------------------------------
total                  2          2   8 B   2.500   2.500"
        );
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

    #[test]
    fn json_has_the_costs_in_milliseconds() {
        let cost = Cost {
            layer: "a".into(),
            output: Some(vec![3, 2]),
            forward: work(12, 250),
            backward: Work { flops: None, time: Duration::from_micros(500) },
        };
        let summary = Summary::of_variables([variable("a.w", &[2, 2], Role::Trained)]).with_costs([cost]);
        let expected = serde_json::json!({
            "name": "", "parameters": 4, "trainable": 4, "bytes": 16,
            "forward": {"flops": 12, "ms": 0.25}, "backward": {"ms": 0.5}, "parts": [{
                "name": "a", "parameters": 4, "trainable": 4, "bytes": 16,
                "output": [3, 2], "forward": {"flops": 12, "ms": 0.25}, "backward": {"ms": 0.5}, "parts": [
                    {"name": "w", "shape": [2, 2], "parameters": 4, "trainable": 4, "bytes": 16},
                ],
            }],
        });
        assert_eq!(serde_json::to_value(&summary).unwrap(), expected);
    }
}
