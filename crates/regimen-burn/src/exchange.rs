//! Parameters as ranks exchange them, and their arrays in flat buffers.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, ParamId};
use burn::tensor::{Element, TensorData};
use regimen_core::BoxError;
use regimen_core::engine::Bucket;
use regimen_core::saved::Dtype;

use crate::module_state;
use crate::parameters::{Entry, Parameters};

/// Passes on the parameters of `module` that are not frozen, with negative zeros for those that are not its own. Takes
/// up the values left there. After an error `module` is as it was.
pub(crate) fn exchange<M: Module>(
    module: &mut M,
    bytes: usize,
    is_own: &dyn Fn(&str) -> bool,
    exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let now = Parameters::of(module)?;
    let own = now.trained().filter(|(path, _)| is_own(path)).map(|(_, entry)| entry.id);
    let own: BTreeSet<ParamId> = own.collect();
    let mut read = module_state::read(module, |id| own.contains(&id))?;
    exchange_each(now.trained().map(|(_, entry)| entry), bytes, &mut read, -0.0, exchange)?;
    module_state::write(module, read);
    Ok(())
}

/// Passes on the arrays in `read` of `parameters`, one after another in flat buffers of at most `bytes` bytes, and
/// replaces them by the values left there. An array that is missing is a run of `zero`.
pub(crate) fn exchange_each<'p>(
    parameters: impl Iterator<Item = &'p Entry>,
    bytes: usize,
    read: &mut BTreeMap<ParamId, TensorData>,
    zero: f32,
    exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    for bucket in buckets(parameters, bytes) {
        if bucket.iter().any(|entry| entry.dtype == Dtype::F64) {
            exchange_as::<f64>(&bucket, read, zero.into(), |flat| exchange(Bucket::F64(flat)))?;
        } else {
            exchange_as::<f32>(&bucket, read, zero, |flat| exchange(Bucket::F32(flat)))?;
        }
    }
    Ok(())
}

/// The parameters in their order, cut into runs of one width whose elements fill at most `bytes` bytes. A larger
/// parameter is a separate run.
fn buckets<'p>(parameters: impl Iterator<Item = &'p Entry>, bytes: usize) -> Vec<Vec<&'p Entry>> {
    let mut buckets: Vec<Vec<&Entry>> = Vec::new();
    let (mut filled, mut width) = (0, 0);
    for entry in parameters {
        let wide = if entry.dtype == Dtype::F64 { 8 } else { 4 };
        let size = wide * entry.elements();
        match buckets.last_mut() {
            Some(last) if wide == width && filled + size <= bytes => {
                last.push(entry);
                filled += size;
            }
            _ => {
                buckets.push(vec![entry]);
                (filled, width) = (size, wide);
            }
        }
    }
    buckets
}

/// Exchanges one bucket as a flat buffer of `T`; half precision is widened for it.
fn exchange_as<T: Element>(
    bucket: &[&Entry],
    read: &mut BTreeMap<ParamId, TensorData>,
    zero: T,
    exchange: impl FnOnce(&mut [T]) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let [first, others @ ..] = bucket else { return Ok(()) };
    let mut own = |entry: &Entry| match read.remove(&entry.id) {
        Some(data) => data.try_into_vec_as::<T>(),
        None => Ok(vec![zero; entry.elements()]),
    };
    // In the memory of the first, which is often alone.
    let mut flat = own(first)?;
    flat.reserve_exact(others.iter().map(|entry| entry.elements()).sum());
    for entry in others {
        flat.extend(own(entry)?);
    }
    exchange(&mut flat)?;
    for entry in others.iter().rev() {
        let own = flat.split_off(flat.len() - entry.elements());
        read.insert(entry.id, TensorData::new(own, entry.shape.clone()));
    }
    flat.shrink_to_fit();
    read.insert(first.id, TensorData::new(flat, first.shape.clone()));
    Ok(())
}
