//! Reading any data ahead, on a thread.

use std::collections::VecDeque;
use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::data::{At, Data, Epoch, Fetched, Position, Rank};

use crate::data::fault::catch;
use crate::data::loader::worker::{Outlet, Worker};

/// `data` read on a thread of its own, with `batches` of them waiting at most.
///
/// What is read ahead is not counted as used: the position travels with each batch. A
/// [`Loader`](crate::data::Loader) has workers of its own and needs this not.
pub fn prefetched<D: Data>(data: D, batches: usize) -> Prefetched<D> {
    Prefetched { data: Arc::new(data), batches }
}

/// Data made by [`prefetched`].
#[derive(Clone, Debug)]
pub struct Prefetched<D> {
    data: Arc<D>,
    batches: usize,
}

/// An epoch of [`Prefetched`]. Dropping it ends its thread, after the batch in hand.
#[derive(Debug)]
pub struct PrefetchedEpoch<B> {
    worker: Worker<Told<B>>,
    /// Batches still to come, where the epoch says so.
    left: Option<u64>,
    notices: VecDeque<String>,
    ended: bool,
}

/// What the thread tells, in order.
#[derive(Debug)]
enum Told<B> {
    /// The epoch was begun with so many batches left, or could not be.
    Begun(Result<Option<u64>, BoxError>),
    Batch(Result<Fetched<B>, BoxError>),
    Notice(String),
    End,
}

impl<D> Data for Prefetched<D>
where
    D: Data + Send + Sync + 'static,
    D::Batch: Send + 'static,
{
    type Batch = D::Batch;
    type Epoch<'a> = PrefetchedEpoch<D::Batch>;

    fn epoch(&self, at: At<'_>) -> Result<PrefetchedEpoch<D::Batch>, BoxError> {
        let data = self.data.clone();
        let start = Start {
            epoch: at.epoch,
            skip: at.skip,
            seed: at.seed,
            rank: at.rank,
            position: at.position.cloned(),
        };
        let worker = Worker::spawn("data-prefetch".into(), self.batches, move |outlet| {
            read_ahead(&*data, &start, outlet);
        })?;
        let left = match worker.receive() {
            Ok(Told::Begun(begun)) => begun?,
            _ => return Err("the thread that reads ahead ended at once".into()),
        };
        Ok(PrefetchedEpoch { worker, left, notices: VecDeque::new(), ended: false })
    }

    fn batches(&self) -> Option<u64> {
        self.data.batches()
    }
}

/// An [`At`] that owns its position, to cross to a thread.
struct Start {
    epoch: u64,
    skip: u64,
    seed: u64,
    rank: Rank,
    position: Option<Position>,
}

fn read_ahead<D: Data>(data: &D, start: &Start, outlet: &Outlet<Told<D::Batch>>)
where
    D::Batch: Send + 'static,
{
    let mut at = At::epoch(start.epoch, start.seed).skip(start.skip).rank(start.rank);
    at.position = start.position.as_ref();
    let begun = catch(|| {
        let epoch = data.epoch(at)?;
        let left = epoch.batches_left();
        Ok((epoch, left))
    });
    let (mut epoch, left) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            outlet.put(Told::Begun(Err(error)));
            return;
        }
    };
    let mut wanted = outlet.put(Told::Begun(Ok(left)));
    while wanted && !outlet.desk().stopped() {
        let fetched = catch(|| epoch.next().transpose()).transpose();
        while let Ok(Some(notice)) = catch(|| Ok(epoch.notice())) {
            wanted = wanted && outlet.put(Told::Notice(notice));
        }
        match fetched {
            Some(fetched) => wanted = wanted && outlet.put(Told::Batch(fetched)),
            None => {
                outlet.put(Told::End);
                return;
            }
        }
    }
}

impl<B: Send + 'static> Epoch for PrefetchedEpoch<B> {
    type Batch = B;

    fn next(&mut self) -> Option<Result<Fetched<B>, BoxError>> {
        while !self.ended {
            match self.worker.receive() {
                Ok(Told::Batch(fetched)) => {
                    self.left = self.left.map(|left| left.saturating_sub(1));
                    return Some(fetched);
                }
                Ok(Told::Notice(notice)) => self.notices.push_back(notice),
                Ok(Told::Begun(_) | Told::End) => self.ended = true,
                Err(_) => {
                    self.ended = true;
                    return Some(Err("the thread that reads ahead ended without a word".into()));
                }
            }
        }
        None
    }

    fn batches_left(&self) -> Option<u64> {
        self.left
    }

    fn notice(&mut self) -> Option<String> {
        self.notices.pop_front()
    }
}
