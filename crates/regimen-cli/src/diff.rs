//! `regimen diff`: the arrays that differ between two checkpoints, and the largest difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use half::{bf16, f16};
use regimen::BoxError;
use regimen::saved::{Array, Dtype, Element, StateDict};
use regimen::text::Count;
use serde::Serialize;

use crate::output;
use crate::output::Number;
use crate::select::Source;
use crate::table::Table;

#[derive(Serialize)]
struct Diff {
    a: String,
    b: String,
    equal: bool,
    /// Number of arrays with identical bytes.
    same: usize,
    different: Vec<Different>,
}

#[derive(Serialize)]
struct Different {
    /// `part/array`.
    name: String,
    #[serde(flatten)]
    how: How,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case", tag = "how")]
enum How {
    OnlyInA,
    OnlyInB,
    Layout {
        a: String,
        b: String,
    },
    Values {
        elements: usize,
        of: usize,
        /// The largest absolute difference of two elements. NaN if one of them is NaN.
        largest: Number,
    },
}

/// Compares the checkpoints at `a` and `b`.
pub(crate) fn diff(a: &Path, b: &Path, exit_code: bool, json: bool) -> Result<ExitCode, BoxError> {
    let (a, b) = (Source::of(a)?.one()?, Source::of(b)?.one()?);
    let (in_a, in_b) = (a.read_all()?, b.read_all()?);
    let names: BTreeSet<(&str, &str)> = names(&in_a).chain(names(&in_b)).collect();
    let mut different = Vec::new();
    for &(part, array) in &names {
        let find = |parts: &BTreeMap<String, StateDict>| parts.get(part)?.array(array).ok().cloned();
        if let Some(how) = compare(find(&in_a), find(&in_b))? {
            different.push(Different { name: format!("{part}/{array}"), how });
        }
    }
    let path = |path: &Path| path.display().to_string();
    let (equal, same) = (different.is_empty(), names.len() - different.len());
    output::write(&Diff { a: path(a.path()), b: path(b.path()), equal, same, different }, json)?;
    Ok(if exit_code && !equal { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The names of all arrays, each with the name of its part.
fn names(parts: &BTreeMap<String, StateDict>) -> impl Iterator<Item = (&str, &str)> {
    parts.iter().flat_map(|(part, dict)| dict.iter().map(move |(array, _)| (&**part, array)))
}

/// The difference of two arrays of one name. Returns `None` if they are equal.
fn compare(a: Option<Array>, b: Option<Array>) -> Result<Option<How>, BoxError> {
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a, b),
        (Some(_), None) => return Ok(Some(How::OnlyInA)),
        (None, _) => return Ok(Some(How::OnlyInB)),
    };
    if a == b {
        return Ok(None);
    }
    if (a.dtype(), a.shape()) != (b.dtype(), b.shape()) {
        return Ok(Some(How::Layout { a: format!("{a:?}"), b: format!("{b:?}") }));
    }
    let size = a.dtype().size();
    let pairs = a.bytes().chunks_exact(size).zip(b.bytes().chunks_exact(size));
    let elements = pairs.filter(|(a, b)| a != b).count();
    let (of_a, of_b) = (numbers(&a)?, numbers(&b)?);
    let distances = of_a.iter().zip(&of_b).map(|(&a, &b)| distance(a, b));
    let largest = distances.fold(0.0, |a: f64, b| if a.is_nan() || b <= a { a } else { b });
    Ok(Some(How::Values { elements, of: of_a.len(), largest: Number(largest) }))
}

/// The absolute difference. NaN if one of them is NaN, unless both have the same bits.
fn distance(a: f64, b: f64) -> f64 {
    if a == b || a.to_bits() == b.to_bits() { 0.0 } else { (a - b).abs() }
}

/// The elements as `f64`. Large integers lose their last digits.
fn numbers(array: &Array) -> Result<Vec<f64>, BoxError> {
    fn of<T: Element>(array: &Array, number: impl Fn(T) -> f64) -> Result<Vec<f64>, BoxError> {
        Ok(array.to_vec::<T>()?.into_iter().map(number).collect())
    }
    let half = |number: fn(u16) -> f64| {
        let bits = array.bytes().chunks_exact(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
        Ok(bits.map(number).collect())
    };
    match array.dtype() {
        Dtype::Bool => Ok(array.bytes().iter().map(|&byte| f64::from(byte)).collect()),
        Dtype::U8 => of::<u8>(array, f64::from),
        Dtype::I8 => of::<i8>(array, f64::from),
        Dtype::U16 => of::<u16>(array, f64::from),
        Dtype::I16 => of::<i16>(array, f64::from),
        Dtype::F16 => half(|bits| f16::from_bits(bits).to_f64()),
        Dtype::BF16 => half(|bits| bf16::from_bits(bits).to_f64()),
        Dtype::U32 => of::<u32>(array, f64::from),
        Dtype::I32 => of::<i32>(array, f64::from),
        Dtype::F32 => of::<f32>(array, f64::from),
        Dtype::U64 => of::<u64>(array, |number| number as f64),
        Dtype::I64 => of::<i64>(array, |number| number as f64),
        Dtype::F64 => of::<f64>(array, |number| number),
        other => Err(format!("arrays of type {other:?} cannot be compared").into()),
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "a  {}\nb  {}", self.a, self.b)?;
        writeln!(f, "arrays: {} the same, {} different", self.same, self.different.len())?;
        if self.equal {
            return Ok(());
        }
        let mut table = Table::new(&["array", "differs", "largest"], 1);
        for Different { name, how } in &self.different {
            let (how, largest) = match how {
                How::OnlyInA => ("only in a".to_owned(), String::new()),
                How::OnlyInB => ("only in b".to_owned(), String::new()),
                How::Layout { a, b } => (format!("{a} and {b}"), String::new()),
                How::Values { elements, of, largest: Number(largest) } => {
                    (format!("{elements} of {}", Count(*of as u64, "element")), format!("{largest:e}"))
                }
            };
            table.row([name.clone(), how, largest]);
        }
        write!(f, "\n{table}")
    }
}
