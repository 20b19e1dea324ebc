//! The layout of one array in a safetensors file.

use regimen_core::saved::Dtype;

/// Type, shape and size of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The elements' type.
    pub dtype: Dtype,
    /// The length of each dimension; empty for a single number.
    pub shape: Vec<usize>,
    /// Its size in bytes.
    pub bytes: usize,
}

/// The key under which other writers keep text about the file. We write none and read past it.
pub(crate) const METADATA: &str = "__metadata__";

/// The names of types in the header.
pub(crate) const DTYPES: [(Dtype, &str); 13] = [
    (Dtype::Bool, "BOOL"),
    (Dtype::U8, "U8"),
    (Dtype::I8, "I8"),
    (Dtype::U16, "U16"),
    (Dtype::I16, "I16"),
    (Dtype::F16, "F16"),
    (Dtype::BF16, "BF16"),
    (Dtype::U32, "U32"),
    (Dtype::I32, "I32"),
    (Dtype::F32, "F32"),
    (Dtype::U64, "U64"),
    (Dtype::I64, "I64"),
    (Dtype::F64, "F64"),
];
