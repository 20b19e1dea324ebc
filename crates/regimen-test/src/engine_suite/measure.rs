//! Comparisons of the checks.

use regimen_core::BoxError;
use regimen_core::saved::{Array, Dtype, StateDict};

/// An error that says `wrong`, unless `right`.
pub(super) fn ensure(right: bool, wrong: impl Into<String>) -> Result<(), BoxError> {
    if right { Ok(()) } else { Err(wrong.into().into()) }
}

/// The elements of one array of floating-point numbers or of wide integers.
pub(super) fn numbers(array: &Array) -> Result<Vec<f64>, BoxError> {
    match array.dtype() {
        Dtype::F32 => Ok(array.to_vec::<f32>()?.into_iter().map(f64::from).collect()),
        Dtype::F64 => array.to_vec(),
        Dtype::I64 => Ok(array.to_vec::<i64>()?.into_iter().map(|number| number as f64).collect()),
        other => Err(format!("the suite does not know how to read {other:?}").into()),
    }
}

/// The elements of all arrays, in the order of their names.
pub(super) fn all_numbers(dict: &StateDict) -> Result<Vec<f64>, BoxError> {
    let arrays = dict.iter().map(|(_, array)| numbers(array)).collect::<Result<Vec<_>, _>>()?;
    Ok(arrays.concat())
}

/// `dict` with each element changed, in the same types; integers are rounded to the nearest.
pub(super) fn changed(dict: &StateDict, mut change: impl FnMut(f64) -> f64) -> Result<StateDict, BoxError> {
    let mut result = StateDict::new();
    for (name, array) in dict.iter() {
        let numbers = numbers(array)?.into_iter().map(&mut change);
        let flat = match array.dtype() {
            Dtype::F32 => Array::from_slice(&numbers.map(|number| number as f32).collect::<Vec<_>>()),
            Dtype::I64 => Array::from_slice(&numbers.map(|number| number.round() as i64).collect::<Vec<_>>()),
            _ => Array::from_slice(&numbers.collect::<Vec<_>>()),
        };
        result.insert(name, Array::new(array.dtype(), array.shape().to_vec(), flat.into_bytes())?)?;
    }
    Ok(result)
}

pub(super) fn norm(numbers: &[f64]) -> f64 {
    numbers.iter().map(|number| number * number).sum::<f64>().sqrt()
}

/// Fails unless the norm of the difference is at most `tolerance` times the norm of `expected`, which must
/// not be 0.
pub(super) fn ensure_close(
    what: &str,
    found: &[f64],
    expected: &[f64],
    tolerance: f64,
) -> Result<(), BoxError> {
    let (some, others) = (found.len(), expected.len());
    ensure(some == others, format!("{what}: {some} numbers where {others} are expected"))?;
    let size = norm(expected);
    ensure(size.is_finite() && size != 0.0, format!("{what}: a norm of {size} is nothing to compare with"))?;
    let difference: Vec<f64> = found.iter().zip(expected).map(|(found, expected)| found - expected).collect();
    let apart = norm(&difference) / size;
    ensure(apart <= tolerance, format!("{what}: {apart:e} apart, and only {tolerance:e} is allowed"))
}

/// Fails unless both are equal bit for bit; names the first array that differs.
pub(super) fn ensure_same(what: &str, found: &StateDict, expected: &StateDict) -> Result<(), BoxError> {
    expected.check_same_layout(found).map_err(|cause| format!("{what}: {cause}"))?;
    let differs = found.iter().zip(expected.iter()).find(|(found, expected)| found != expected);
    ensure(differs.is_none(), format!("{what}: `{}` differs", differs.map_or("", |((name, _), _)| name)))
}
