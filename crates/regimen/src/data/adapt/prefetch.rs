//! Batches read ahead on a thread.

use std::collections::VecDeque;
use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::data::{At, Data, Epoch, Fetched};

use crate::data::fault::catch;
use crate::data::loader::worker::{Outlet, Worker};

/// Made by [`DataExt::read_ahead`](super::DataExt::read_ahead).
pub(crate) struct Prefetch<D> {
    data: Arc<D>,
    batches: usize,
}

impl<D> Prefetch<D> {
    pub(crate) fn new(data: D, batches: usize) -> Self {
        Prefetch { data: Arc::new(data), batches }
    }
}

impl<D> Data for Prefetch<D>
where
    D: Data + Send + Sync + 'static,
    D::Batch: Send + 'static,
{
    type Batch = D::Batch;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = D::Batch>, BoxError> {
        let data = self.data.clone();
        let worker = Worker::spawn("data-prefetch".into(), self.batches, move |outlet| {
            read(&*data, at, outlet);
        })?;
        let left = match worker.receive() {
            Ok(Message::Begun(begun)) => begun?,
            _ => return Err("the thread that reads ahead ended at once".into()),
        };
        Ok(PrefetchEpoch { worker, left, notices: VecDeque::new(), ended: false })
    }

    fn batches(&self) -> Option<u64> {
        self.data.batches()
    }

    fn samples(&self) -> Option<u64> {
        self.data.samples()
    }
}

/// The messages of the thread, in order.
enum Message<B> {
    /// The epoch was begun with so many batches left, or could not be.
    Begun(Result<Option<u64>, BoxError>),
    Batch(Result<Fetched<B>, BoxError>),
    Notice(String),
    End,
}

fn read<D: Data>(data: &D, at: At, outlet: &Outlet<Message<D::Batch>>)
where
    D::Batch: Send + 'static,
{
    let begun = catch(|| {
        let epoch = data.epoch(at)?;
        let left = epoch.batches_left();
        Ok((epoch, left))
    });
    let (mut epoch, left) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            outlet.put(Message::Begun(Err(error)));
            return;
        }
    };
    let mut wanted = outlet.put(Message::Begun(Ok(left)));
    while wanted && !outlet.signals().is_stopped() {
        let fetched = catch(|| epoch.next().transpose()).transpose();
        while let Ok(Some(notice)) = catch(|| Ok(epoch.notice())) {
            wanted = wanted && outlet.put(Message::Notice(notice));
        }
        match fetched {
            Some(fetched) => wanted = wanted && outlet.put(Message::Batch(fetched)),
            None => {
                outlet.put(Message::End);
                return;
            }
        }
    }
}

/// Dropping it ends the thread, after the batch in hand.
struct PrefetchEpoch<B> {
    worker: Worker<Message<B>>,
    /// Batches still to come, if the epoch says so.
    left: Option<u64>,
    notices: VecDeque<String>,
    ended: bool,
}

impl<B: Send + 'static> Epoch for PrefetchEpoch<B> {
    type Batch = B;

    fn next(&mut self) -> Option<Result<Fetched<B>, BoxError>> {
        while !self.ended {
            match self.worker.receive() {
                Ok(Message::Batch(fetched)) => {
                    self.left = self.left.map(|left| left.saturating_sub(1));
                    return Some(fetched);
                }
                Ok(Message::Notice(notice)) => self.notices.push_back(notice),
                Ok(Message::Begun(_) | Message::End) => self.ended = true,
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
