//! Samples of tensors mixed with others of their batch.

use std::ops::Range;

use burn::tensor::kind::Basic;
use burn::tensor::{Bool, Float, Int, Slice, Tensor, TensorData};
use regimen_core::BoxError;
use regimen_core::data::{BlendSamples, SampleArray};

use crate::device::BurnDevice;

macro_rules! sample_array {
    ($($kind:ident),*) => {$(
        impl<const D: usize> SampleArray<BurnDevice> for Tensor<D, $kind> {
            fn shape(&self) -> Vec<usize> {
                self.dims().to_vec()
            }

            fn paste(
                self,
                partners: &[usize],
                rows: Range<usize>,
                columns: Range<usize>,
            ) -> Result<Self, BoxError> {
                let mut slices = self.dims().map(|length| 0..length);
                let [.., of_rows, of_columns] = &mut slices[..] else {
                    return Err(format!("a tensor of shape {:?} has no box", self.dims()).into());
                };
                (*of_rows, *of_columns) = (rows, columns);
                let slices = slices.map(Slice::from);
                let pasted = select(self.clone().slice(slices), partners);
                Ok(self.slice_assign(slices, pasted))
            }
        }
    )*};
}
sample_array!(Float, Int, Bool);

impl<const D: usize> BlendSamples<BurnDevice> for Tensor<D> {
    fn blend(self, share: f64, partners: &[usize]) -> Result<Self, BoxError> {
        let others = select(self.clone(), partners);
        Ok(self.mul_scalar(share) + others.mul_scalar(1.0 - share))
    }
}

fn select<const D: usize, K: Basic>(tensor: Tensor<D, K>, samples: &[usize]) -> Tensor<D, K> {
    let indices: Vec<i64> = samples.iter().map(|&sample| sample as i64).collect();
    let indices = TensorData::new(indices, [samples.len()]);
    let indices = Tensor::from_data(indices, &tensor.device());
    tensor.select(0, indices)
}
