//! Moves batches, and parts of batches, to the device of a module.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use crate::BoxError;

/// A batch, or a part of one, that can be moved to a device of type `D`.
///
/// Engine crates implement it for their tensors. Tuples, arrays, `Vec`, `Option` and `Box` are moved by
/// element, and so are maps, whose keys stay. Numbers and text stay where they are. For a batch type,
/// `regimen` has a derive of the same name that moves every field.
///
/// No method of a tensor is called `move_to`, so this one can always be called as `tensor.move_to(&device)`.
/// An engine's device may do more than move, such as cast to half precision. The library's own `to_device`
/// does not.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be moved to a `{D}`",
    note = "for a batch of your own, write `#[derive(ToDevice)]`, or implement `ToDevice<{D}>` by moving its fields"
)]
pub trait ToDevice<D>: Sized {
    /// Moves it to `device`.
    fn move_to(self, device: &D) -> Result<Self, BoxError>;
}

macro_rules! stays_where_it_is {
    ($($plain:ty),*) => {$(
        impl<D> ToDevice<D> for $plain {
            fn move_to(self, _device: &D) -> Result<Self, BoxError> {
                Ok(self)
            }
        }
    )*};
}
stays_where_it_is!(
    (),
    bool,
    char,
    u8,
    i8,
    u16,
    i16,
    u32,
    i32,
    u64,
    i64,
    u128,
    i128,
    usize,
    isize,
    f32,
    f64,
    String,
    &'static str,
    Arc<str>
);

macro_rules! tuple {
    ($($part:ident)*) => {
        impl<D, $($part: ToDevice<D>),*> ToDevice<D> for ($($part,)*) {
            #[allow(non_snake_case)]
            fn move_to(self, device: &D) -> Result<Self, BoxError> {
                let ($($part,)*) = self;
                Ok(($($part.move_to(device)?,)*))
            }
        }
    };
}
tuple!(A);
tuple!(A B);
tuple!(A B C);
tuple!(A B C E);
tuple!(A B C E F);
tuple!(A B C E F G);

impl<D, T: ToDevice<D>> ToDevice<D> for Vec<T> {
    fn move_to(self, device: &D) -> Result<Self, BoxError> {
        self.into_iter().map(|part| part.move_to(device)).collect()
    }
}

impl<D, T: ToDevice<D>> ToDevice<D> for Option<T> {
    fn move_to(self, device: &D) -> Result<Self, BoxError> {
        self.map(|part| part.move_to(device)).transpose()
    }
}

impl<D, T: ToDevice<D>> ToDevice<D> for Box<T> {
    fn move_to(self, device: &D) -> Result<Self, BoxError> {
        (*self).move_to(device).map(Box::new)
    }
}

impl<D, T: ToDevice<D>, const N: usize> ToDevice<D> for [T; N] {
    fn move_to(self, device: &D) -> Result<Self, BoxError> {
        let parts: Vec<T> = self.into_iter().map(|part| part.move_to(device)).collect::<Result<_, _>>()?;
        parts.try_into().map_err(|_| "an array changed its length while it was placed".into())
    }
}

impl<D, K: Ord, V: ToDevice<D>> ToDevice<D> for BTreeMap<K, V> {
    fn move_to(self, device: &D) -> Result<Self, BoxError> {
        self.into_iter().map(|(key, part)| Ok((key, part.move_to(device)?))).collect()
    }
}

impl<D, K: Eq + Hash, V: ToDevice<D>, S: BuildHasher> ToDevice<D> for HashMap<K, V, S> {
    fn move_to(mut self, device: &D) -> Result<Self, BoxError> {
        // Emptied and refilled to keep its hasher, which need not implement `Default`.
        let parts = self.drain().map(|(key, part)| Ok((key, part.move_to(device)?)));
        let moved: Vec<(K, V)> = parts.collect::<Result<_, BoxError>>()?;
        self.extend(moved);
        Ok(self)
    }
}
