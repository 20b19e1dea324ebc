//! Counts, means and centred products of vectors of numbers.

use std::array::from_fn;

use super::sum::Sum;
use crate::BoxError;
use crate::saved::{Array, StateDict};

/// The mean of vectors of `D` numbers, and the sums of products of their deviations from it.
///
/// Those of a batch are computed in two passes. Batches are merged by the formula of Chan, Golub and LeVeque,
/// "Algorithms for computing the sample variance" (1983). The relative error of a sum of squares from k batches is
/// about k c 2^-53, where the condition c is the root of 1 + mean^2 / variance. The mean of equal numbers is that
/// number, and their sum of squares 0, exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moments<const D: usize> {
    pub(super) count: u64,
    pub(super) means: [f64; D],
    pub(super) products: [[f64; D]; D],
}

impl<const D: usize> Moments<D> {
    pub(super) const EMPTY: Self = Moments { count: 0, means: [0.0; D], products: [[0.0; D]; D] };

    pub(super) fn of(vectors: impl Iterator<Item = [f64; D]> + Clone) -> Self {
        let Some(first) = vectors.clone().next() else { return Moments::EMPTY };
        let count = vectors.clone().count() as u64;
        let sum = |term: &dyn Fn([f64; D]) -> f64| Sum::of(vectors.clone().map(term)).value();
        let means: [f64; D] = from_fn(|i| first[i] + sum(&|vector| vector[i] - first[i]) / count as f64);
        let product = |i: usize, j: usize| sum(&|vector| (vector[i] - means[i]) * (vector[j] - means[j]));
        Moments { count, means, products: from_fn(|i| from_fn(|j| product(i, j))) }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        if self.count == 0 || other.count == 0 {
            if self.count == 0 {
                *self = *other;
            }
            return;
        }
        let share = other.count as f64 / (self.count + other.count) as f64;
        let scale = self.count as f64 * share;
        let shift: [f64; D] = from_fn(|i| other.means[i] - self.means[i]);
        for i in 0..D {
            self.means[i] += shift[i] * share;
            for j in 0..D {
                self.products[i][j] += other.products[i][j] + shift[i] * shift[j] * scale;
            }
        }
        self.count += other.count;
    }

    pub(super) fn insert_into(&self, dict: &mut StateDict) -> Result<(), BoxError> {
        dict.insert("count", self.count)?;
        dict.insert("means", Array::from_slice(&self.means))?;
        dict.insert("products", Array::from_slice(self.products.as_flattened()))
    }

    pub(super) fn from_state(dict: &StateDict) -> Result<Self, BoxError> {
        let (means, products) = (dict.array("means")?.to_vec()?, dict.array("products")?.to_vec::<f64>()?);
        let means: [f64; D] = means.try_into().map_err(|_| format!("`means` are not of length {D}"))?;
        let (rows, rest) = products.as_chunks::<D>();
        let products = rows.try_into().ok().filter(|_| rest.is_empty());
        let products = products.ok_or_else(|| format!("`products` are not {D} times {D}"))?;
        Ok(Moments { count: dict.count("count")?, means, products })
    }
}
