//! Tensors as arrays of a state, and back.

use regimen_core::BoxError;
use regimen_core::saved::{Array, Dtype};
use tch::{Device, Kind, Tensor};

use crate::failure::failure;

/// A copy of `tensor` in host memory.
pub(crate) fn array(tensor: &Tensor) -> Result<Array, BoxError> {
    let dtype = dtype(tensor.f_kind().map_err(failure)?)?;
    let host =
        tensor.detach().f_to_device(Device::Cpu).and_then(|host| host.f_contiguous()).map_err(failure)?;
    let elements = host.numel();
    Array::filled(dtype, shape(tensor), |bytes| host.f_copy_data_u8(bytes, elements).map_err(failure))
}

/// The tensor of `array`, in host memory.
pub(crate) fn tensor(array: &Array) -> Result<Tensor, BoxError> {
    let shape: Vec<i64> = array.shape().iter().map(|&n| n as i64).collect();
    Tensor::f_from_data_size(array.bytes(), &shape, kind(array.dtype())?).map_err(failure)
}

/// The length of each dimension.
pub(crate) fn shape(tensor: &Tensor) -> Vec<usize> {
    tensor.size().into_iter().map(|n| usize::try_from(n).unwrap_or(0)).collect()
}

/// A state's name for the type of elements.
pub(crate) fn dtype(kind: Kind) -> Result<Dtype, BoxError> {
    PAIRS.iter().find(|(known, _)| *known == kind).map(|(_, dtype)| *dtype).ok_or_else(|| {
        format!("elements of {kind:?} cannot be saved; convert the tensor to another kind").into()
    })
}

fn kind(dtype: Dtype) -> Result<Kind, BoxError> {
    PAIRS
        .iter()
        .find(|(_, known)| *known == dtype)
        .map(|(kind, _)| *kind)
        .ok_or_else(|| format!("libtorch has no elements of {dtype:?}").into())
}

const PAIRS: [(Kind, Dtype); 10] = [
    (Kind::Bool, Dtype::Bool),
    (Kind::Uint8, Dtype::U8),
    (Kind::Int8, Dtype::I8),
    (Kind::Int16, Dtype::I16),
    (Kind::Half, Dtype::F16),
    (Kind::BFloat16, Dtype::BF16),
    (Kind::Int, Dtype::I32),
    (Kind::Float, Dtype::F32),
    (Kind::Int64, Dtype::I64),
    (Kind::Double, Dtype::F64),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_of_every_kind_comes_back_as_it_was() {
        for (kind, expected) in PAIRS {
            // Not contiguous, and a single number.
            let matrix = Tensor::arange(6, (Kind::Float, Device::Cpu)).reshape([2, 3]).to_kind(kind);
            for tensor in [matrix.transpose(0, 1), matrix.get(1).get(0)] {
                let array = array(&tensor).unwrap();
                assert_eq!((array.dtype(), array.shape()), (expected, &*shape(&tensor)));
                let back = super::tensor(&array).unwrap();
                assert_eq!((back.kind(), back.size()), (kind, tensor.size()));
                assert!(back.eq_tensor(&tensor).all().int64_value(&[]) == 1, "{kind:?}");
            }
        }
    }

    #[test]
    fn the_order_of_elements_is_that_of_rows() {
        let matrix = Tensor::from_slice(&[1_i32, 2, 3, 4]).reshape([2, 2]).transpose(0, 1);
        assert_eq!(array(&matrix).unwrap().to_vec::<i32>().unwrap(), [1, 3, 2, 4]);
    }

    #[test]
    fn what_libtorch_or_a_state_does_not_have_is_an_error_that_names_it() {
        let complex = Tensor::zeros([1], (Kind::ComplexFloat, Device::Cpu));
        assert!(array(&complex).unwrap_err().to_string().contains("ComplexFloat"));
        assert!(tensor(&Array::from_slice(&[1_u64])).unwrap_err().to_string().contains("U64"));
    }
}
