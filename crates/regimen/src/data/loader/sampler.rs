//! Samplers: the order of samples in an epoch.

use std::fmt;
use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::random::{Random, keyed};
use regimen_core::text::Count;

use crate::data::permutation::Permutation;

/// The samples of an epoch, and their order.
///
/// The index at a position is a pure function of (seed, epoch, position): no sampler has state,
/// and each is entered anywhere in constant time (the weighted one: in the logarithm of the
/// number of weights).
#[derive(Clone)]
pub struct Sampler(Kind);

#[derive(Clone)]
enum Kind {
    Sequential,
    Shuffled,
    Subset { indices: Arc<[usize]>, shuffled: bool },
    Weighted { sums: Arc<[f64]>, draws: u64 },
    Keyed { draws: u64, index: Arc<IndexFn> },
}

type IndexFn = dyn Fn(u64, u64, u64) -> usize + Send + Sync;

impl Sampler {
    /// Every sample, in the order of the dataset: the default.
    pub fn sequential() -> Self {
        Sampler(Kind::Sequential)
    }

    /// Every sample once, in another order every epoch.
    pub fn shuffled() -> Self {
        Sampler(Kind::Shuffled)
    }

    /// The samples at `indices` in that order, as often as they are named.
    pub fn subset(indices: impl Into<Arc<[usize]>>) -> Self {
        Sampler(Kind::Subset { indices: indices.into(), shuffled: false })
    }

    /// The samples at `indices`, in another order every epoch.
    pub fn subset_shuffled(indices: impl Into<Arc<[usize]>>) -> Self {
        Sampler(Kind::Subset { indices: indices.into(), shuffled: true })
    }

    /// `draws` samples with replacement, each index as likely as its weight says.
    ///
    /// There is a weight for every sample; they are finite, none is negative, and they need not
    /// sum to 1. A sample drawn twice in an epoch is transformed twice, each time differently.
    pub fn weighted(weights: impl IntoIterator<Item = f64>, draws: u64) -> Result<Self, BoxError> {
        let mut sums = Vec::new();
        let mut sum = 0.0;
        for (index, weight) in weights.into_iter().enumerate() {
            if !(weight >= 0.0 && weight.is_finite()) {
                return Err(format!(
                    "weight {weight} of sample {index} is not a finite number of at least 0"
                )
                .into());
            }
            sum += weight;
            sums.push(sum);
        }
        if !(sum > 0.0 && sum.is_finite()) {
            return Err(format!("weights that sum to {sum} cannot be drawn by").into());
        }
        Ok(Sampler(Kind::Weighted { sums: sums.into(), draws }))
    }

    /// `draws` samples, at position `p` of epoch `e` the one at `index(seed, e, p)`.
    ///
    /// `index` must be a pure function of its arguments. A sample that it gives twice in an epoch
    /// is transformed twice, each time differently.
    pub fn keyed(draws: u64, index: impl Fn(u64, u64, u64) -> usize + Send + Sync + 'static) -> Self {
        Sampler(Kind::Keyed { draws, index: Arc::new(index) })
    }

    /// The number of samples of an epoch over a dataset of `samples`.
    pub(crate) fn draws(&self, samples: usize) -> u64 {
        match &self.0 {
            Kind::Sequential | Kind::Shuffled => samples as u64,
            Kind::Subset { indices, .. } => indices.len() as u64,
            Kind::Weighted { draws, .. } | Kind::Keyed { draws, .. } => *draws,
        }
    }

    /// The order of one epoch over a dataset of `samples`.
    pub(crate) fn order(&self, samples: usize, seed: u64, epoch: u64) -> Result<Order, BoxError> {
        let key = keyed(seed, "order", epoch, 0);
        if let Kind::Weighted { sums, .. } = &self.0
            && sums.len() != samples
        {
            return Err(format!(
                "{} for {}",
                Count(sums.len() as u64, "weight"),
                Count(samples as u64, "sample")
            )
            .into());
        }
        Ok(match &self.0 {
            Kind::Sequential => Order::Sequential,
            Kind::Shuffled => Order::Shuffled(Permutation::new(samples as u64, key)),
            Kind::Subset { indices, shuffled } => {
                let order = shuffled.then(|| Permutation::new(indices.len() as u64, key));
                Order::Subset(indices.clone(), order)
            }
            Kind::Weighted { sums, .. } => Order::Weighted(sums.clone(), key),
            Kind::Keyed { index, .. } => Order::Keyed { index: index.clone(), seed, epoch },
        })
    }
}

impl Default for Sampler {
    /// [`Sampler::sequential`].
    fn default() -> Self {
        Sampler::sequential()
    }
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, draws) = match &self.0 {
            Kind::Sequential => return f.write_str("Sequential"),
            Kind::Shuffled => return f.write_str("Shuffled"),
            Kind::Subset { shuffled: false, .. } => ("Subset", self.draws(0)),
            Kind::Subset { shuffled: true, .. } => ("SubsetShuffled", self.draws(0)),
            Kind::Weighted { .. } => ("Weighted", self.draws(0)),
            Kind::Keyed { .. } => ("Keyed", self.draws(0)),
        };
        f.debug_struct(name).field("draws", &draws).finish()
    }
}

/// The order of one epoch.
pub(crate) enum Order {
    Sequential,
    Shuffled(Permutation),
    Subset(Arc<[usize]>, Option<Permutation>),
    Weighted(Arc<[f64]>, u64),
    Keyed { index: Arc<IndexFn>, seed: u64, epoch: u64 },
}

impl Order {
    /// The index at `position`, which is below the number of draws.
    pub(crate) fn index(&self, position: u64) -> usize {
        match self {
            Order::Sequential => position as usize,
            Order::Shuffled(order) => order.index(position) as usize,
            Order::Subset(indices, None) => indices[position as usize],
            Order::Subset(indices, Some(order)) => indices[order.index(position) as usize],
            Order::Weighted(sums, key) => {
                let total = sums.last().copied().unwrap_or_default();
                let drawn = Random::new(keyed(*key, "draw", 0, position)).uniform() * total;
                // Rounding may reach the total itself; the last sample with a weight is meant then.
                let drawn = drawn.min(total.next_down());
                sums.partition_point(|&sum| sum <= drawn)
            }
            Order::Keyed { index, seed, epoch } => index(*seed, *epoch, position),
        }
    }

    /// The key of the randomness of the sample at `position`: its index, so that it does not depend on
    /// the order, or the position if one index may come twice.
    pub(crate) fn key(&self, position: u64, index: usize) -> u64 {
        match self {
            Order::Sequential | Order::Shuffled(_) => index as u64,
            Order::Subset(..) | Order::Weighted(..) | Order::Keyed { .. } => position,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indices(sampler: &Sampler, samples: usize, epoch: u64) -> Vec<usize> {
        let order = sampler.order(samples, 42, epoch).unwrap();
        (0..sampler.draws(samples)).map(|position| order.index(position)).collect()
    }

    #[test]
    fn samplers_take_what_they_say() {
        assert_eq!(indices(&Sampler::sequential(), 4, 0), [0, 1, 2, 3]);
        assert_eq!(indices(&Sampler::subset([3, 1, 3]), 4, 0), [3, 1, 3]);
        assert_eq!(indices(&Sampler::keyed(3, |_, epoch, p| (epoch + p) as usize % 4), 4, 2), [2, 3, 0]);
        let mut drawn = indices(&Sampler::subset_shuffled([3, 1, 2]), 4, 0);
        drawn.sort();
        assert_eq!(drawn, [1, 2, 3]);
    }

    #[test]
    fn a_shuffled_order_is_another_one_every_epoch() {
        let epochs: std::collections::BTreeSet<_> =
            (0..50).map(|epoch| indices(&Sampler::shuffled(), 1000, epoch)).collect();
        assert_eq!(epochs.len(), 50);
    }

    #[test]
    fn weights_decide_how_often_a_sample_is_drawn() {
        let sampler = Sampler::weighted([1.0, 0.0, 3.0, 0.0], 40_000).unwrap();
        let mut counts = [0; 4];
        indices(&sampler, 4, 0).into_iter().for_each(|index| counts[index] += 1);
        assert_eq!((counts[1], counts[3]), (0, 0));
        // 5 deviations of a binomial with 40,000 draws at 1/4.
        assert!((counts[0] - 10_000_i32).abs() < 433, "{counts:?}");
    }

    #[test]
    fn weights_that_cannot_be_drawn_by_are_refused() {
        let check = |weights: &[f64], expected: &str| {
            let error = Sampler::weighted(weights.iter().copied(), 1).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check(&[], "weights that sum to 0 cannot be drawn by");
        check(&[0.0, 0.0], "weights that sum to 0 cannot be drawn by");
        check(&[1.0, -1.0], "weight -1 of sample 1 is not a finite number of at least 0");
        check(&[f64::NAN], "weight NaN of sample 0 is not a finite number of at least 0");
        check(&[f64::MAX, f64::MAX], "weights that sum to inf cannot be drawn by");
        let sampler = Sampler::weighted([1.0], 1).unwrap();
        let error = sampler.order(2, 0, 0).err().unwrap();
        assert_eq!(error.to_string(), "1 weight for 2 samples");
    }
}
