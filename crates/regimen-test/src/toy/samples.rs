//! Samples of arrays mixed with others of their batch.

use std::ops::Range;

use regimen_core::BoxError;
use regimen_core::data::{BlendSamples, SampleArray};

use super::{ToyArray, ToyDevice};

impl ToyArray {
    /// An array whose element `at` of sample `i` is `mix(at, its value, that of sample partners[i])`.
    fn mixed(&self, partners: &[usize], mix: impl Fn(usize, f64, f64) -> f64) -> ToyArray {
        let values = self.values();
        let size = values.len() / partners.len().max(1);
        let element = |(n, &own): (usize, &f64)| {
            let (sample, at) = (n / size, n % size);
            mix(at, own, values[partners[sample] * size + at])
        };
        ToyArray::leaf(self.shape(), values.iter().enumerate().map(element).collect(), self.device(), false)
    }
}

impl SampleArray<ToyDevice> for ToyArray {
    fn shape(&self) -> Vec<usize> {
        self.shape().to_vec()
    }

    fn paste(self, partners: &[usize], rows: Range<usize>, columns: Range<usize>) -> Result<Self, BoxError> {
        let &[.., height, width] = self.shape() else {
            return Err(format!("an array of shape {:?} has no box", self.shape()).into());
        };
        Ok(self.mixed(partners, |at, own, partner| {
            let is_inside = rows.contains(&(at / width % height)) && columns.contains(&(at % width));
            if is_inside { partner } else { own }
        }))
    }
}

impl BlendSamples<ToyDevice> for ToyArray {
    fn blend(self, share: f64, partners: &[usize]) -> Result<Self, BoxError> {
        Ok(self.mixed(partners, |_, own, partner| share * own + (1.0 - share) * partner))
    }
}
