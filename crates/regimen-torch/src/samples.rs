//! Samples of tensors mixed with others of their batch.

use std::ops::Range;

use regimen_core::BoxError;
use regimen_core::data::{BlendSamples, SampleArray};
use tch::{TchError, Tensor};

use crate::device::TorchDevice;
use crate::failure::failure;

impl SampleArray<TorchDevice> for Tensor {
    fn shape(&self) -> Vec<usize> {
        self.size().into_iter().map(|length| length as usize).collect()
    }

    fn paste(self, partners: &[usize], rows: Range<usize>, columns: Range<usize>) -> Result<Self, BoxError> {
        let crop = |tensor: &Tensor| {
            tensor.f_narrow(-2, rows.start as i64, rows.len() as i64)?.f_narrow(
                -1,
                columns.start as i64,
                columns.len() as i64,
            )
        };
        let pasted = || {
            // Not in place: tensors of other batches may share the memory.
            let mut whole = self.f_empty_like()?;
            whole.f_copy_(&self)?;
            crop(&whole)?.f_copy_(&select(&crop(&self)?, partners)?)?;
            Ok(whole)
        };
        pasted().map_err(failure)
    }
}

impl BlendSamples<TorchDevice> for Tensor {
    fn blend(self, share: f64, partners: &[usize]) -> Result<Self, BoxError> {
        if !self.is_floating_point() {
            let kind = self.kind();
            return Err(format!(
                "samples of kind {kind:?} cannot be blended; give classes as one-hot floats"
            )
            .into());
        }
        let blended = || {
            let others = select(&self, partners)?.f_multiply_scalar(1.0 - share)?;
            self.f_multiply_scalar(share)?.f_add(&others)
        };
        blended().map_err(failure)
    }
}

fn select(tensor: &Tensor, samples: &[usize]) -> Result<Tensor, TchError> {
    let indices: Vec<i64> = samples.iter().map(|&sample| sample as i64).collect();
    tensor.f_index_select(0, &Tensor::f_from_slice(&indices)?.f_to_device(tensor.device())?)
}
