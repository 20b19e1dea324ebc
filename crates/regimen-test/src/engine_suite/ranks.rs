//! Training on several ranks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use regimen_core::auto_unit::TRAIN_LOSS;
use regimen_core::data::Rank;
use regimen_core::error::WithCauses;
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
    let losses = |peers: Option<Arc<dyn Peers>>, engine| -> Result<Vec<f64>, BoxError> {
        let batches = part_of(fixture, peers.as_ref().map_or(Rank::default(), |peers| peers.rank()));
        let mut unit = unit(fixture, engine).accumulate(2).clip_norm(0.1);
        let mut run = Run::new(&mut unit);
        if let Some(peers) = peers {
            run = run.peers(peers);
        }
        let report = run.train(&batches, Train::epochs(4))?;
        let values = report.epochs.iter().flat_map(|epoch| &epoch.values);
        Ok(values.filter(|(key, _)| *key == TRAIN_LOSS).map(|(_, loss)| *loss).collect())
    };
    let alone = losses(None, fixture.plain())?;
    for found in on(fixture, 2, |peers, engine| losses(Some(peers), engine))? {
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 10.0 * fixture.tolerance() * b.abs();
        let is_near = found.len() == alone.len() && found.iter().zip(&alone).all(near);
        ensure(is_near, format!("the losses of epochs are {found:?} on two ranks, and {alone:?} on one"))?;
    }
    Ok(())
}

/// The results of so many ranks, each with an engine.
pub(super) fn on<F: EngineFixture, R: Send>(
    fixture: &F,
    ranks: u64,
    program: impl Fn(Arc<dyn Peers>, F::Engine) -> Result<R, BoxError> + Sync,
) -> Result<Vec<R>, BoxError> {
    // Libraries draw initial weights from one generator.
    let one_by_one = Mutex::new(());
    let results = on_ranks(Threads::of(ranks, PATIENCE), |peers| {
        let engine = {
            let _alone = one_by_one.lock().unwrap_or_else(PoisonError::into_inner);
            fixture.plain()
        };
        program(peers, engine).map_err(|error| WithCauses(&*error).to_string())
    });
    results.into_iter().map(|result| Ok(result.and_then(|result| result)?)).collect()
}

/// The batches of a rank. Shares of a batch differ in size.
pub(super) fn part_of<F: EngineFixture>(fixture: &F, rank: Rank) -> Vec<F::Batch> {
    let ends: &[u64] = match rank.count {
        1 => &[0, BATCH],
        2 => &[0, 5, BATCH],
        _ => &[0, 1, 3, 6, BATCH],
    };
    let at = rank.index as usize;
    (0..ROWS / BATCH).map(|n| fixture.batch(n * BATCH + ends[at]..n * BATCH + ends[at + 1])).collect()
}
