//! Burn's host data as arrays of a state, and back.

use burn::tensor::{BoolStore, DType, TensorData};
use regimen_core::BoxError;
use regimen_core::saved::{Array, Dtype};

#[cfg(target_endian = "big")]
compile_error!("arrays are little-endian, and Burn's host data is in the order of the machine");

/// The array that holds `data`.
pub(crate) fn array(data: TensorData) -> Result<Array, BoxError> {
    let dtype = dtype(data.dtype())?;
    let shape = data.shape().to_vec();
    let bytes = match data.dtype() {
        // The only type whose elements are wider in Burn than in an array.
        DType::Bool(BoolStore::U32) => data.iter::<bool>().map(u8::from).collect(),
        _ => data.as_bytes().to_vec(),
    };
    Array::new(dtype, shape, bytes)
}

/// The host data that `array` holds.
pub(crate) fn data(array: &Array) -> Result<TensorData, BoxError> {
    let dtype = match array.dtype() {
        Dtype::Bool => DType::Bool(BoolStore::Native),
        Dtype::U8 => DType::U8,
        Dtype::I8 => DType::I8,
        Dtype::U16 => DType::U16,
        Dtype::I16 => DType::I16,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::U32 => DType::U32,
        Dtype::I32 => DType::I32,
        Dtype::F32 => DType::F32,
        Dtype::U64 => DType::U64,
        Dtype::I64 => DType::I64,
        Dtype::F64 => DType::F64,
        other => return Err(format!("Burn has no tensors of {other:?}").into()),
    };
    let (shape, bytes) = (array.shape().to_vec(), array.bytes().to_vec());
    Ok(TensorData::try_from_bytes_vec(bytes, shape, dtype)?)
}

/// The type in which elements of `dtype` are saved.
pub(crate) fn dtype(dtype: DType) -> Result<Dtype, BoxError> {
    Ok(match dtype {
        DType::Bool(_) => Dtype::Bool,
        DType::U8 => Dtype::U8,
        DType::I8 => Dtype::I8,
        DType::U16 => Dtype::U16,
        DType::I16 => Dtype::I16,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::U32 => Dtype::U32,
        DType::I32 => Dtype::I32,
        DType::F32 | DType::Flex32 => Dtype::F32,
        DType::U64 => Dtype::U64,
        DType::I64 => Dtype::I64,
        DType::F64 => Dtype::F64,
        DType::QFloat(_) => return Err("quantized tensors cannot be saved; dequantize them first".into()),
    })
}
