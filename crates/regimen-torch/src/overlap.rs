//! Gradients that are exchanged while the backward pass computes others.

use std::sync::mpsc::{Sender, channel};
use std::thread::{self, Builder};

use regimen_core::BoxError;
use regimen_core::engine::Bucket;
use regimen_core::error::panic_text;
use tch::Tensor;

use crate::gradients::held_or_zeros;
use crate::parameters::Parameters;
use crate::shim::{self, Joined};
use crate::stretch::{Stretch, stretches};

/// Runs `backward`, which is given the parameters and calls back with the number of each whose gradient is complete. The
/// gradients of a bucket are multiplied by `mean` and passed to `exchange` on another thread. Those that the backward pass
/// does not reach follow it, and then flags of those held.
///
/// Buckets are exchanged in one order, that of the parameters from the last to the first: whatever the backward pass of a
/// rank reaches, and in which order, all ranks make the same calls.
pub(crate) fn exchange(
    parameters: &Parameters,
    mean: Option<f64>,
    bytes: usize,
    exchange: &mut (dyn FnMut(Bucket<'_>) -> Result<(), BoxError> + Send),
    backward: impl FnOnce(&[Tensor], &mut dyn FnMut(usize)) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let named = parameters.names().iter().map(String::as_str).zip(parameters.trained());
    let learning = named.rev().filter(|(_, parameter)| parameter.requires_grad());
    let buckets = stretches(learning, bytes);
    let trained: Vec<Tensor> =
        buckets.iter().flat_map(Stretch::parameters).map(Tensor::shallow_clone).collect();
    let (sender, complete) = channel::<Joined>();
    let (summed, mut flags) = thread::scope(|scope| {
        let sum = || complete.into_iter().map(|flat| flat.exchanged(exchange)).collect::<Result<Vec<_>, _>>();
        let summing = Builder::new().name("exchange".into()).spawn_scoped(scope, sum)?;
        let mut waiting = Waiting::new(&buckets, mean, sender);
        let computed = backward(&trained, &mut |i| waiting.complete(i));
        let flag = |parameter: &Tensor| if parameter.grad().defined() { 1.0 } else { 0.0 };
        let flags: Vec<f32> = trained.iter().map(flag).collect();
        let sent = computed.and_then(|()| waiting.send_rest());
        let summed = summing.join().unwrap_or_else(|payload| Err(panic_text(&*payload).into()));
        // The error of this rank before that of the others.
        sent.and(summed).map(|summed| (summed, flags))
    })?;
    exchange(Bucket::F32(&mut flags))?;
    let mut exchanged = Vec::new();
    for (bucket, flat) in buckets.iter().zip(&summed) {
        exchanged.extend(bucket.cut(flat)?);
    }
    shim::clear_gradients(parameters.trained())?;
    let mut held = exchanged.iter().zip(&flags).filter(|(_, flag)| **flag != 0.0);
    held.try_for_each(|((parameter, gradient), _)| shim::set_gradient(parameter, Some(gradient)))
}

/// The buckets that wait for gradients.
struct Waiting<'b, 'p> {
    buckets: &'b [Stretch<'p>],
    /// The bucket of each parameter, until its gradient is complete.
    of: Vec<Option<usize>>,
    /// Number of gradients that each bucket waits for.
    missing: Vec<usize>,
    /// The first that is not sent.
    next: usize,
    mean: Option<f64>,
    /// To the thread that sums.
    sender: Sender<Joined>,
    failed: Option<BoxError>,
}

impl<'b, 'p> Waiting<'b, 'p> {
    fn new(buckets: &'b [Stretch<'p>], mean: Option<f64>, sender: Sender<Joined>) -> Self {
        let missing: Vec<usize> = buckets.iter().map(|bucket| bucket.parameters().len()).collect();
        let of = missing.iter().enumerate().flat_map(|(i, &n)| vec![Some(i); n]).collect();
        Waiting { buckets, of, missing, next: 0, mean, sender, failed: None }
    }

    /// The gradient of parameter `i` is complete.
    fn complete(&mut self, i: usize) {
        match self.of.get_mut(i).and_then(Option::take) {
            Some(bucket) => self.missing[bucket] -= 1,
            // By a backward pass within the backward pass. The first may have been sent.
            None => {
                self.failed = Some(
                    "a gradient is added to twice in a backward pass; leave out `overlap_exchange`".into(),
                );
            }
        }
        self.send(|missing| missing == 0);
    }

    /// Sends the buckets that still wait.
    fn send_rest(mut self) -> Result<(), BoxError> {
        self.send(|_| true);
        self.failed.map_or(Ok(()), Err)
    }

    fn send(&mut self, is_due: impl Fn(usize) -> bool) {
        while self.failed.is_none() && self.missing.get(self.next).is_some_and(|&missing| is_due(missing)) {
            match self.flat(&self.buckets[self.next]) {
                // If the thread has ended, its error says why.
                Ok(flat) => drop(self.sender.send(flat)),
                Err(cause) => self.failed = Some(cause),
            }
            self.next += 1;
        }
    }

    /// The gradients of a bucket times the factor.
    fn flat(&self, bucket: &Stretch<'_>) -> Result<Joined, BoxError> {
        if let Some(mean) = self.mean {
            // In their own type, as without overlap.
            let parameters: Vec<Tensor> = bucket.parameters().map(Tensor::shallow_clone).collect();
            shim::scale_gradients(&parameters, mean)?;
        }
        bucket.flat(|_, parameter| held_or_zeros(parameter))
    }
}
