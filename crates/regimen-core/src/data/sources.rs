//! Data of the standard library's types: vectors, slices, arrays and iterators.

use std::cell::Cell;

use super::{At, Data, Epoch, Fetched, shorter};
use crate::BoxError;

// Not recommended by the compiler, so that its error for batches without `Clone` explains data and does
// not only ask for `Clone`.
/// One batch per step, in the order of the slice. Each counts as one sample.
#[diagnostic::do_not_recommend]
impl<B: Clone> Data for [B] {
    type Batch = B;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = B>, BoxError> {
        let left = usize::try_from(at.skip).ok().and_then(|skip| self.get(skip..));
        let left = left.ok_or_else(|| shorter(at.skip, self.len() as u64))?;
        Ok(Batches(left.iter().cloned()))
    }

    fn batches(&self) -> Option<u64> {
        Some(self.len() as u64)
    }

    fn samples(&self) -> Option<u64> {
        self.batches()
    }
}

#[diagnostic::do_not_recommend]
impl<B: Clone> Data for Vec<B> {
    type Batch = B;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = B>, BoxError> {
        self.as_slice().epoch(at)
    }

    fn batches(&self) -> Option<u64> {
        self.as_slice().batches()
    }

    fn samples(&self) -> Option<u64> {
        self.batches()
    }
}

#[diagnostic::do_not_recommend]
impl<B: Clone, const N: usize> Data for [B; N] {
    type Batch = B;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = B>, BoxError> {
        self.as_slice().epoch(at)
    }

    fn batches(&self) -> Option<u64> {
        Some(N as u64)
    }

    fn samples(&self) -> Option<u64> {
        self.batches()
    }
}

/// An epoch that takes its batches from an iterator. Each counts as one sample.
struct Batches<I>(I);

impl<I: Iterator> Epoch for Batches<I> {
    type Batch = I::Item;

    fn next(&mut self) -> Option<Result<Fetched<I::Item>, BoxError>> {
        Some(Ok(Fetched::new(self.0.next()?, 1)))
    }
}

/// Data from a closure that is given the number of the epoch, from 0, and returns an iterator over
/// its batches. Each batch counts as one sample.
///
/// Called twice for one epoch it must return the same batches: a run that continues inside an epoch
/// calls it again and skips the consumed ones, one by one.
///
/// ```
/// use regimen_core::data::each_epoch;
/// let data = each_epoch(|epoch| (0..100).map(move |batch| 100 * epoch + batch));
/// ```
pub fn each_epoch<I: Iterator, F: Fn(u64) -> I>(batches: F) -> impl Data<Batch = I::Item> {
    EachEpoch(batches)
}

struct EachEpoch<F>(F);

impl<I: Iterator, F: Fn(u64) -> I> Data for EachEpoch<F> {
    type Batch = I::Item;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = I::Item>, BoxError> {
        let mut batches = (self.0)(at.epoch);
        if let Some(last) = at.skip.checked_sub(1)
            && batches.nth(usize::try_from(last)?).is_none()
        {
            return Err(shorter(at.skip, (self.0)(at.epoch).take(last as usize).count() as u64));
        }
        Ok(Batches(batches))
    }
}

/// Data from an iterator that cannot be restarted: one epoch, in one call.
///
/// A second epoch, or a continuation of the first, is an error. Use [`each_epoch`] if the iterator can
/// be created again.
pub fn one_epoch<I: Iterator>(batches: I) -> impl Data<Batch = I::Item> {
    OneEpoch(Cell::new(Some(batches)))
}

struct OneEpoch<I>(Cell<Option<I>>);

impl<I: Iterator> Data for OneEpoch<I> {
    type Batch = I::Item;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = I::Item>, BoxError> {
        match self.0.take() {
            Some(batches) if at.skip == 0 => Ok(Batches(batches)),
            _ => Err("an iterator given with `one_epoch` cannot be started again; use `each_epoch`".into()),
        }
    }
}
