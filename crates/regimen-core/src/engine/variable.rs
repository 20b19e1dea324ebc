//! The variables of a module, without their numbers.

use crate::saved::Dtype;

/// A parameter or a buffer of a module: its name, layout and role, without its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its path in the module (`blocks.0.linear.weight`), as in the module's state.
    pub name: String,
    /// The length of each dimension; empty for a single number.
    pub shape: Vec<usize>,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its role in training.
    pub role: Role,
}

/// The role of a [`Variable`] in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A parameter that training changes.
    Trained,
    /// A parameter that is [frozen](super::Engine::freeze) now.
    Frozen,
    /// Not a parameter: running statistics, say. An engine that cannot tell them apart lists parameters here
    /// that were frozen before it was made.
    Buffer,
}

impl Variable {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().fold(1, |elements, &n| elements.saturating_mul(n as u64))
    }

    /// Bytes of all elements.
    pub fn bytes(&self) -> u64 {
        self.elements().saturating_mul(self.dtype.size() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_the_product_of_the_shape() {
        let check = |shape: &[usize], dtype, elements, bytes| {
            let variable = Variable { name: "w".into(), shape: shape.to_vec(), dtype, role: Role::Trained };
            assert_eq!((variable.elements(), variable.bytes()), (elements, bytes), "{shape:?}");
        };
        check(&[], Dtype::F32, 1, 4);
        check(&[2, 3], Dtype::F64, 6, 48);
        check(&[4], Dtype::BF16, 4, 8);
        check(&[usize::MAX, 2, 0], Dtype::F32, 0, 0);
    }
}
