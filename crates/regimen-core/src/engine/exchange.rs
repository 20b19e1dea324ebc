//! Exchanges among ranks: the defaults of engines.

use super::{Bucket, Engine, Part, Role, Variable};
use crate::BoxError;
use crate::saved::{Array, Dtype, Element, StateDict};

/// Adds the gradients of a loss, and then exchanges those held: [`Engine::backward_and_exchange`] of an engine that does not
/// overlap them, or not always. It [discards](Engine::retain_gradients) those that are not kept at the end.
pub fn exchange_after_backward<E: Engine + ?Sized>(
    engine: &mut E,
    loss: Option<&E::Scalar>,
    factor: Option<f64>,
    mean: Option<f64>,
    bytes: usize,
    keep: Option<&dyn Fn(&str) -> bool>,
    exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    loss.map_or(Ok(()), |loss| engine.backward(loss, factor))?;
    mean.map_or(Ok(()), |mean| engine.scale_gradients(mean))?;
    engine.exchange_gradients(bytes, exchange)?;
    keep.map_or(Ok(()), |keep| engine.retain_gradients(keep))
}

/// The exchange of parameters over the state of the module.
pub(super) fn parameters<E: Engine + ?Sized>(
    engine: &mut E,
    bytes: usize,
    is_own: &dyn Fn(&str) -> bool,
    exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let mut trained = engine.variables()?;
    trained.retain(|variable| variable.role == Role::Trained);
    if trained.is_empty() {
        return Ok(());
    }
    let mut module = engine.state(Part::Module)?;
    for bucket in buckets(&trained, bytes) {
        match bucket.first().map(|variable| variable.dtype) {
            Some(Dtype::F64) => {
                exchange_as(bucket, &mut module, is_own, -0.0_f64, |flat| exchange(Bucket::F64(flat)))?;
            }
            _ => exchange_as(bucket, &mut module, is_own, -0.0_f32, |flat| exchange(Bucket::F32(flat)))?,
        }
    }
    engine.load_state(Part::Module, &module)
}

/// `trained` cut into runs of one type and of at most `bytes` bytes.
fn buckets(trained: &[Variable], bytes: usize) -> impl Iterator<Item = &[Variable]> {
    let mut filled = 0;
    trained.chunk_by(move |before, next| {
        filled += before.bytes();
        let fits = before.dtype == next.dtype && filled + next.bytes() <= bytes as u64;
        if !fits {
            filled = 0;
        }
        fits
    })
}

fn exchange_as<T: Element>(
    bucket: &[Variable],
    module: &mut StateDict,
    is_own: &dyn Fn(&str) -> bool,
    zero: T,
    exchange: impl FnOnce(&mut [T]) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let (mut flat, mut own) = (Vec::new(), Vec::new());
    for Variable { name, .. } in bucket {
        let array = module.remove(name)?;
        let values = array.to_vec::<T>().map_err(|cause| format!("`{name}`: {cause}"))?;
        own.push((name, array.shape().to_vec(), values.len()));
        match is_own(name) {
            true => flat.extend(values),
            false => flat.resize(flat.len() + values.len(), zero),
        }
    }
    exchange(&mut flat)?;
    let mut rest = flat.into_iter();
    for (name, shape, length) in own {
        let values: Vec<T> = rest.by_ref().take(length).collect();
        module.insert(name, Array::new(T::DTYPE, shape, Array::from_slice(&values).into_bytes())?)?;
    }
    Ok(())
}
