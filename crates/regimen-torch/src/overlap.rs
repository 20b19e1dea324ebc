//! Gradients that are exchanged while the backward pass computes others.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, Builder};

use regimen_core::BoxError;
use regimen_core::engine::Bucket;
use regimen_core::error::panic_text;
use tch::Tensor;

use crate::failure::failure;
use crate::gradients::taken_or_zeros;
use crate::parameters::Parameters;
use crate::shim::{self, Joined};
use crate::stretch::{Stretch, stretches};
use crate::unreached::Unreached;

/// Runs `backward`, which is given the parameters and calls back with the number of each whose gradient is complete. The
/// gradients of a bucket are multiplied by `mean` and passed to `exchange` on another thread. Those that the backward pass
/// does not reach follow it, and then flags of those held. Afterwards those for which `keep` returns `true` are held, or all
/// without it.
///
/// Buckets are exchanged in one order, that of the parameters from the last to the first: whatever the backward pass of a
/// rank reaches, and in which order, all ranks make the same calls.
///
/// A parameter no longer holds a gradient that is in a bucket, and the backward pass waits while a full bucket cannot be
/// passed on. If it reaches parameters in that order, there are gradients of at most three buckets beside those to be held:
/// those of one, their copy that fills it, and the bucket before it, which is exchanged.
pub(crate) fn exchange(
    parameters: &Parameters,
    unreached: &mut Unreached,
    mean: Option<f64>,
    bytes: usize,
    keep: Option<&dyn Fn(&str) -> bool>,
    exchange: &mut (dyn FnMut(Bucket<'_>) -> Result<(), BoxError> + Send),
    backward: impl FnOnce(&[Tensor], &mut dyn FnMut(usize)) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let named = parameters.names().iter().map(String::as_str).zip(parameters.trained());
    let learning = named.rev().filter(|(_, parameter)| parameter.requires_grad());
    let buckets = stretches(learning, bytes);
    let trained: Vec<Tensor> =
        buckets.iter().flat_map(Stretch::parameters).map(Tensor::shallow_clone).collect();
    let keep = |name: &str| keep.is_none_or(|keep| keep(name));
    let places: Vec<_> = buckets.iter().map(|bucket| bucket.places(keep)).collect();
    let (sender, complete) = sync_channel::<Joined>(0);
    let (summed, mut flags) = thread::scope(|scope| {
        let of_bucket = |(flat, places): (Joined, Vec<_>)| parts(flat.exchanged(exchange)?, &places);
        let sum = || complete.into_iter().zip(places).map(of_bucket).collect::<Result<Vec<_>, _>>();
        let summing = Builder::new().name("exchange".into()).spawn_scoped(scope, sum)?;
        let mut waiting = Waiting::new(parameters, unreached, &buckets, mean, sender);
        let computed = backward(&trained, &mut |i| waiting.complete(i));
        let sent = computed.and_then(|()| waiting.send_rest());
        let summed = summing.join().unwrap_or_else(|payload| Err(panic_text(&*payload).into()));
        // The error of this rank before that of the others.
        sent.and_then(|flags| Ok((summed?, flags)))
    })?;
    exchange(Bucket::F32(&mut flags))?;
    let flags = buckets.iter().flat_map(Stretch::names).zip(flags);
    let mut flags = flags.filter(|(name, _)| keep(name)).map(|(_, flag)| flag);
    for (bucket, flat) in buckets.iter().zip(summed) {
        for ((parameter, gradient), flag) in bucket.only(keep).cut(&flat)?.iter().zip(&mut flags) {
            if flag != 0.0 {
                shim::set_gradient(parameter, Some(gradient))?;
            }
        }
    }
    Ok(())
}

/// A copy of the parts of `flat` that begin and have lengths as in `places`, one after another. If they are all of it, it
/// is not copied.
fn parts(flat: Tensor, places: &[(i64, i64)]) -> Result<Tensor, BoxError> {
    let length: i64 = places.iter().map(|(_, length)| length).sum();
    if length == flat.numel() as i64 {
        return Ok(flat);
    }
    let mut all = vec![Tensor::f_empty([0], (flat.kind(), flat.device()))];
    all.extend(places.iter().map(|&(begin, length)| flat.f_narrow(0, begin, length)));
    let all = all.into_iter().collect::<Result<Vec<_>, _>>();
    all.and_then(|all| Tensor::f_cat(&all, 0)).map_err(failure)
}

/// The buckets that wait for gradients.
struct Waiting<'b, 'p> {
    parameters: &'b Parameters,
    unreached: &'b mut Unreached,
    buckets: &'b [Stretch<'p>],
    /// The bucket of each parameter, until its gradient is complete.
    of: Vec<Option<usize>>,
    /// Number of gradients that each bucket waits for.
    missing: Vec<usize>,
    /// The first that is not sent.
    next: usize,
    /// Of the parameters in those before: 1 if its gradient was held, else 0.
    flags: Vec<f32>,
    mean: Option<f64>,
    /// To the thread that sums.
    sender: SyncSender<Joined>,
    failed: Option<BoxError>,
}

impl<'b, 'p> Waiting<'b, 'p> {
    fn new(
        parameters: &'b Parameters,
        unreached: &'b mut Unreached,
        buckets: &'b [Stretch<'p>],
        mean: Option<f64>,
        sender: SyncSender<Joined>,
    ) -> Self {
        let missing: Vec<usize> = buckets.iter().map(|bucket| bucket.parameters().len()).collect();
        let of = missing.iter().enumerate().flat_map(|(i, &n)| vec![Some(i); n]).collect();
        let (next, flags, failed) = (0, Vec::new(), None);
        Waiting { parameters, unreached, buckets, of, missing, next, flags, mean, sender, failed }
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

    /// Sends the buckets that still wait. Returns the flags of all parameters.
    fn send_rest(mut self) -> Result<Vec<f32>, BoxError> {
        self.send(|_| true);
        self.failed.map_or(Ok(self.flags), Err)
    }

    fn send(&mut self, is_due: impl Fn(usize) -> bool) {
        while self.failed.is_none() && self.missing.get(self.next).is_some_and(|&missing| is_due(missing)) {
            let buckets = self.buckets;
            match self.take(&buckets[self.next]) {
                // If the thread has ended, its error says why.
                Ok(flat) => drop(self.sender.send(flat)),
                Err(cause) => self.failed = Some(cause),
            }
            self.next += 1;
        }
    }

    /// The gradients of a bucket times the factor, which are then held no longer.
    fn take(&mut self, bucket: &Stretch<'_>) -> Result<Joined, BoxError> {
        let flag = |parameter: &Tensor| if parameter.grad().defined() { 1.0 } else { 0.0 };
        self.flags.extend(bucket.parameters().map(flag));
        self.unreached.reach(self.parameters);
        // Never in the memory of a gradient: libtorch may share it with one that the pass still needs.
        let Some(mean) = self.mean else { return bucket.flat(|_, parameter| taken_or_zeros(parameter)) };
        if bucket.has_other_types() {
            // In their own type, as without overlap.
            bucket.flat(|_, parameter| taken_or_zeros(parameter)?.f_mul_scalar(mean).map_err(failure))
        } else {
            bucket.flat(|_, parameter| taken_or_zeros(parameter))?.scaled(mean)
        }
    }
}
