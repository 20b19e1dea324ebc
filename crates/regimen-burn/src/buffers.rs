//! Buffers as ranks exchange them.

use burn::module::Module;
use burn::tensor::TensorData;
use regimen_core::BoxError;
use regimen_core::engine::Bucket;

use crate::module_state;
use crate::parameters::{Entry, Parameters};

/// Passes on the buffers of `module` as one flat buffer, and takes up the values left there.
pub(crate) fn exchange<M: Module>(
    module: &mut M,
    parameters: &Parameters,
    exchange: &mut dyn FnMut(Bucket<'_>) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    if !parameters.has_buffers() {
        return Ok(());
    }
    let mut read = module_state::read(module, |id| !parameters.is_trained(id))?;
    let buffers = || parameters.iter().filter(|(_, entry)| !entry.trained);
    let mut flat: Vec<f64> = Vec::with_capacity(buffers().map(|(_, entry)| entry.elements()).sum());
    for (_, Entry { id, .. }) in buffers() {
        flat.extend(read.get(id).into_iter().flat_map(|data| data.iter::<f64>()));
    }
    exchange(Bucket::F64(&mut flat))?;
    let mut rest = flat.into_iter();
    for (path, Entry { id, shape, .. }) in buffers() {
        let Some(data) = read.get_mut(id) else { continue };
        let mut own: Vec<f64> = rest.by_ref().take(data.num_elements()).collect();
        if !data.dtype().is_float() {
            own.iter_mut().for_each(|element| *element = element.round());
            // Burn panics at a number that is no integer.
            if !own.iter().all(|element| element.is_finite()) {
                return Err(format!("the exchange makes the integers of `{path}` not finite").into());
            }
        }
        *data = TensorData::new(own, shape.clone()).try_cast(data.dtype())?;
    }
    module_state::write(module, read);
    Ok(())
}
