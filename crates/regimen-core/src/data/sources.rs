//! What is data by itself, and small wrappers that make data of iterators.

use std::cell::Cell;

use super::{At, Data, Epoch, Fetched};
use crate::BoxError;
use crate::run::look_ahead::shorter;

// The three are not recommended, so that the compiler says what data is where batches are not `Clone`,
// and not only that `Clone` is missing somewhere in them.
/// A batch a step, in the order of the slice; each counts as one sample (see [`counted`]).
#[diagnostic::do_not_recommend]
impl<B: Clone> Data for [B] {
    type Batch = B;
    type Epoch<'a>
        = Batches<std::iter::Cloned<std::slice::Iter<'a, B>>>
    where
        B: 'a;

    fn epoch(&self, at: At<'_>) -> Result<Self::Epoch<'_>, BoxError> {
        let left = usize::try_from(at.skip).ok().and_then(|skip| self.get(skip..));
        let left = left.ok_or_else(|| shorter(at.skip, self.len() as u64))?;
        Ok(Batches(left.iter().cloned()))
    }

    fn batches(&self) -> Option<u64> {
        Some(self.len() as u64)
    }
}

#[diagnostic::do_not_recommend]
impl<B: Clone> Data for Vec<B> {
    type Batch = B;
    type Epoch<'a>
        = <[B] as Data>::Epoch<'a>
    where
        B: 'a;

    fn epoch(&self, at: At<'_>) -> Result<Self::Epoch<'_>, BoxError> {
        (**self).epoch(at)
    }

    fn batches(&self) -> Option<u64> {
        (**self).batches()
    }
}

#[diagnostic::do_not_recommend]
impl<B: Clone, const N: usize> Data for [B; N] {
    type Batch = B;
    type Epoch<'a>
        = <[B] as Data>::Epoch<'a>
    where
        B: 'a;

    fn epoch(&self, at: At<'_>) -> Result<Self::Epoch<'_>, BoxError> {
        self.as_slice().epoch(at)
    }

    fn batches(&self) -> Option<u64> {
        Some(N as u64)
    }
}

/// An epoch that takes its batches from an iterator. Each counts as one sample.
#[derive(Clone, Debug)]
pub struct Batches<I>(I);

impl<I: Iterator> Epoch for Batches<I> {
    type Batch = I::Item;

    fn next(&mut self) -> Option<Result<Fetched<I::Item>, BoxError>> {
        Some(Ok(Fetched::new(self.0.next()?, 1)))
    }
}

/// Data from a closure that is given the number of the epoch, from 0, and returns its batches.
///
/// Called twice for one epoch it must give the same batches: a run that continues inside an
/// epoch asks again and passes over those it had, one by one. Each batch counts as one sample
/// (see [`counted`]).
pub fn from_fn<I: Iterator, F: Fn(u64) -> I>(make: F) -> FromFn<F> {
    FromFn(make)
}

/// Data made by [`from_fn`].
#[derive(Clone, Debug)]
pub struct FromFn<F>(F);

impl<I: Iterator, F: Fn(u64) -> I> Data for FromFn<F> {
    type Batch = I::Item;
    type Epoch<'a>
        = Batches<I>
    where
        F: 'a;

    fn epoch(&self, at: At<'_>) -> Result<Batches<I>, BoxError> {
        let mut batches = (self.0)(at.epoch);
        if let Some(last) = at.skip.checked_sub(1)
            && batches.nth(usize::try_from(last)?).is_none()
        {
            return Err(shorter(at.skip, (self.0)(at.epoch).take(last as usize).count() as u64));
        }
        Ok(Batches(batches))
    }
}

/// Data from an iterator that cannot be started again: one epoch, in one call.
///
/// Asked for a second epoch, or to go on inside the first, it is an error. Use [`from_fn`] where
/// the iterator can be made anew.
pub fn once<I: Iterator>(batches: I) -> Once<I> {
    Once(Cell::new(Some(batches)))
}

/// Data made by [`once`].
pub struct Once<I>(Cell<Option<I>>);

impl<I> std::fmt::Debug for Once<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Once")
    }
}

impl<I: Iterator> Data for Once<I> {
    type Batch = I::Item;
    type Epoch<'a>
        = Batches<I>
    where
        I: 'a;

    fn epoch(&self, at: At<'_>) -> Result<Batches<I>, BoxError> {
        match self.0.take() {
            Some(batches) if at.skip == 0 => Ok(Batches(batches)),
            _ => Err("an iterator given with `once` cannot be started again; use `from_fn`".into()),
        }
    }
}

/// `data` with the number of samples of each batch told by `samples`.
pub fn counted<D: Data, F: Fn(&D::Batch) -> u64>(data: D, samples: F) -> Counted<D, F> {
    Counted { data, samples }
}

/// Data made by [`counted`].
#[derive(Clone, Debug)]
pub struct Counted<D, F> {
    data: D,
    samples: F,
}

/// An epoch of [`Counted`].
#[derive(Debug)]
pub struct CountedEpoch<'a, E, F> {
    epoch: E,
    samples: &'a F,
}

impl<D: Data, F: Fn(&D::Batch) -> u64> Data for Counted<D, F> {
    type Batch = D::Batch;
    type Epoch<'a>
        = CountedEpoch<'a, D::Epoch<'a>, F>
    where
        Self: 'a;

    fn epoch(&self, at: At<'_>) -> Result<Self::Epoch<'_>, BoxError> {
        Ok(CountedEpoch { epoch: self.data.epoch(at)?, samples: &self.samples })
    }

    fn batches(&self) -> Option<u64> {
        self.data.batches()
    }
}

impl<E: Epoch, F: Fn(&E::Batch) -> u64> Epoch for CountedEpoch<'_, E, F> {
    type Batch = E::Batch;

    fn next(&mut self) -> Option<Result<Fetched<E::Batch>, BoxError>> {
        let fetched = self.epoch.next()?;
        Some(fetched.map(|fetched| Fetched { samples: (self.samples)(&fetched.batch), ..fetched }))
    }

    fn batches_left(&self) -> Option<u64> {
        self.epoch.batches_left()
    }

    fn notice(&mut self) -> Option<String> {
        self.epoch.notice()
    }
}
