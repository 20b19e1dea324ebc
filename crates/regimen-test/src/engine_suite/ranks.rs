//! Training on several ranks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use regimen_core::auto_unit::TRAIN_LOSS;
use regimen_core::peers::Peers;
use regimen_core::run::Train;
use regimen_core::{BoxError, Run};

use super::measure::ensure;
use super::task::unit;
use super::{EngineFixture, ROWS};
use crate::peers::{Threads, on_ranks};

/// Longer than any step takes.
const PATIENCE: Duration = Duration::from_secs(600);
const BATCH: u64 = 8;

/// Two ranks whose shares of a batch differ in size have the losses of one process, with clipping and a window that
/// the end of the epoch cuts short.
pub fn two_ranks_train_as_one<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    // Libraries draw initial weights from one generator.
    let one_by_one = Mutex::new(());
    let losses = |peers: Option<Arc<dyn Peers>>| -> Result<Vec<f64>, BoxError> {
        let engine = {
            let _alone = one_by_one.lock().unwrap_or_else(PoisonError::into_inner);
            fixture.plain()
        };
        let (from, to) = match peers.as_ref().map(|peers| peers.rank().index) {
            None => (0, BATCH),
            Some(0) => (0, 5),
            Some(_) => (5, BATCH),
        };
        let batches = (0..ROWS / BATCH).map(|n| fixture.batch(n * BATCH + from..n * BATCH + to));
        let batches: Vec<F::Batch> = batches.collect();
        let mut unit = unit(fixture, engine).accumulate(2).clip_norm(0.1);
        let mut run = Run::new(&mut unit);
        if let Some(peers) = peers {
            run = run.peers(peers);
        }
        let report = run.train(&batches, Train::epochs(4))?;
        let values = report.epochs.iter().flat_map(|epoch| &epoch.values);
        Ok(values.filter(|(key, _)| *key == TRAIN_LOSS).map(|(_, loss)| *loss).collect())
    };
    let alone = losses(None)?;
    let together =
        on_ranks(Threads::of(2, PATIENCE), |peers| losses(Some(peers)).map_err(|error| format!("{error:#}")));
    for found in together {
        let found = found.and_then(|losses| losses)?;
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 10.0 * fixture.tolerance() * b.abs();
        let is_near = found.len() == alone.len() && found.iter().zip(&alone).all(near);
        ensure(is_near, format!("the losses of epochs are {found:?} on two ranks, and {alone:?} on one"))?;
    }
    Ok(())
}
