//! One epoch of a loader: batches in order, made here or by workers.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use regimen_core::BoxError;
use regimen_core::data::{Epoch, Fetched};
use regimen_core::error::WithCauses;

use super::assemble::{Assemble, Made, make};
use super::plan::Plan;
use super::worker::{Missing, Signals, Worker};

/// One epoch of a [`Loader`](crate::data::Loader).
///
/// Dropping it ends its workers, after the sample in hand, and joins them.
pub(crate) struct LoaderEpoch<B> {
    plan: Arc<Plan>,
    makers: Makers<B>,
    numbers: Range<u64>,
    slow: Duration,
    notices: VecDeque<String>,
    skipped: u64,
}

enum Makers<B> {
    Here(Arc<dyn Assemble<B>>, Signals),
    /// Worker `w` of `n` makes every n-th batch from the `w`-th on. Each has a separate queue,
    /// so keeping the order costs nothing and no two workers wait for one lock.
    Workers {
        workers: Vec<Worker<Made<B>>>,
        turn: usize,
    },
}

impl<B: Send + 'static> LoaderEpoch<B> {
    /// The batches of `numbers` by `workers` threads, of which `prefetch` finished ones may wait.
    pub(crate) fn new(
        assemble: Arc<dyn Assemble<B>>,
        plan: Plan,
        workers: usize,
        prefetch: usize,
        slow: Duration,
    ) -> Result<Self, BoxError> {
        let numbers = plan.shard.numbers();
        let plan = Arc::new(plan);
        let count = workers.min(usize::try_from(numbers.end - numbers.start).unwrap_or(usize::MAX));
        let makers = if count == 0 {
            Makers::Here(assemble, Signals::default())
        } else {
            let workers = (0..count)
                .map(|worker| {
                    let (assemble, plan) = (assemble.clone(), plan.clone());
                    let numbers = numbers.clone().skip(worker).step_by(count);
                    let queued = prefetch / count + usize::from(worker < prefetch % count);
                    Worker::spawn(format!("data-{worker}"), queued, move |outlet| {
                        for number in numbers {
                            let made = make(&*assemble, &plan, number, outlet.signals());
                            if !made.is_some_and(|made| outlet.put(made)) {
                                return;
                            }
                        }
                    })
                })
                .collect::<Result<_, _>>()?;
            Makers::Workers { workers, turn: 0 }
        };
        Ok(LoaderEpoch { plan, makers, numbers, slow, notices: VecDeque::new(), skipped: 0 })
    }

    pub(crate) fn notify(&mut self, notice: String) {
        self.notices.push_back(notice);
    }

    fn make(&mut self, number: u64) -> Result<Made<B>, BoxError> {
        let LoaderEpoch { plan, makers, slow, notices, .. } = self;
        let dataset = &plan.dataset;
        match makers {
            Makers::Here(assemble, signals) => {
                let start = Instant::now();
                let made = make(&**assemble, plan, number, signals);
                let took = start.elapsed();
                if took > *slow {
                    notices.push_back(format!("dataset `{dataset}` batch {number} took {took:.1?}"));
                }
                made.ok_or_else(|| "the loader was stopped before this batch".into())
            }
            Makers::Workers { workers, turn } => {
                let worker = *turn;
                *turn = (worker + 1) % workers.len();
                let start = Instant::now();
                let mut received = workers[worker].receive_within(*slow);
                if let Err(Missing::Late { sample }) = received {
                    received = workers[worker].receive();
                    notices.push_back(format!(
                        "worker data-{worker} was {:.1?} late with dataset `{dataset}` batch {number}: \
                         after {slow:.1?} it was at sample {sample}",
                        start.elapsed()
                    ));
                }
                received.map_err(|_| format!("worker data-{worker} ended before batch {number}").into())
            }
        }
    }
}

impl<B: Send + 'static> Epoch for LoaderEpoch<B> {
    type Batch = B;

    fn next(&mut self) -> Option<Result<Fetched<B>, BoxError>> {
        let number = self.numbers.next()?;
        match self.make(number) {
            Err(error) => Some(Err(error)),
            Ok(made) => {
                for error in &made.skipped {
                    let error = WithCauses(error);
                    self.skipped += 1;
                    self.notices
                        .push_back(format!("skipped (number {} of this epoch): {error}", self.skipped));
                }
                Some(made.result)
            }
        }
    }

    fn batches_left(&self) -> Option<u64> {
        Some(self.numbers.end - self.numbers.start)
    }

    fn notice(&mut self) -> Option<String> {
        self.notices.pop_front()
    }
}

impl<B> Drop for LoaderEpoch<B> {
    fn drop(&mut self) {
        // All are stopped before the first is joined.
        if let Makers::Workers { workers, .. } = &mut self.makers {
            workers.iter_mut().for_each(Worker::stop);
        }
    }
}
