//! Samples of one length, one after another in memory.

use regimen_core::BoxError;
use regimen_core::engine::ToDevice;
use regimen_core::text::Count;

use super::Collate;

/// A batch of vectors of one length, one after another in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stacked<T> {
    values: Vec<T>,
    rows: usize,
    capacity: usize,
}

impl<T> Stacked<T> {
    /// All values, sample after sample.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// The values alone.
    pub fn into_values(self) -> Vec<T> {
        self.values
    }

    /// The number of samples.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of values per sample.
    pub fn width(&self) -> usize {
        self.values.len().checked_div(self.rows).unwrap_or_default()
    }
}

impl<D, T: ToDevice<D>> ToDevice<D> for Stacked<T> {
    fn move_to(self, device: &D) -> Result<Self, BoxError> {
        Ok(Stacked { values: self.values.move_to(device)?, ..self })
    }
}

impl<T> Collate for Vec<T> {
    type Batch = Stacked<T>;

    fn batch(capacity: usize) -> Self::Batch {
        Stacked { values: Vec::new(), rows: 0, capacity }
    }

    fn add_to_batch(self, batch: &mut Self::Batch) -> Result<(), BoxError> {
        if batch.rows == 0 {
            batch.values.reserve_exact(batch.capacity * self.len());
        } else if self.len() != batch.width() {
            let width = batch.width();
            return Err(format!(
                "{} where the samples before it have {width}",
                Count(self.len() as u64, "value")
            )
            .into());
        }
        batch.values.extend(self);
        batch.rows += 1;
        Ok(())
    }
}
