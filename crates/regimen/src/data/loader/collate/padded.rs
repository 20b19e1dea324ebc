//! Batches of one size.

use regimen_core::BoxError;
use regimen_core::engine::ToDevice;

/// A batch filled up with samples that do not count: see [`Loader::pad_last`](crate::data::Loader::pad_last).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Padded<B> {
    /// The batch, padding included.
    pub batch: B,
    /// The number of samples that count: the first ones. All others have weight zero.
    pub samples: usize,
}

impl<B> Padded<B> {
    /// The weight of each of `size` samples: 1 for those that count, 0 for padding.
    pub fn weights(&self, size: usize) -> Vec<f32> {
        (0..size).map(|row| if row < self.samples { 1.0 } else { 0.0 }).collect()
    }
}

impl<D, B: ToDevice<D>> ToDevice<D> for Padded<B> {
    fn move_to(self, device: &D) -> Result<Self, BoxError> {
        Ok(Padded { batch: self.batch.move_to(device)?, ..self })
    }
}
