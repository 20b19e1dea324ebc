//! Copies of a run, which are written while it goes on.

use std::collections::BTreeMap;

use regimen_core::BoxError;
use regimen_core::metric::{Metric, Metrics};
use regimen_core::run::Moment;
use regimen_core::saved::{StateDict, save_parts, save_parts_in_shares, save_parts_of_ranks};
use regimen_core::state::Progress;

use crate::checkpoint::Snapshot;
use crate::checkpoint::format::piece::{Piece, part_of};

/// The part that holds what is not the unit's: progress, metrics in flight, callbacks.
pub(crate) const RUN: &str = "run";

/// The ranks whose own arrays are in a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// All of them, which make the copy together on rank 0.
    AllRanks,
    /// All of them, which make the copy together, and each keeps its own pieces.
    EachRank,
    /// This one, which makes it alone.
    ThisRank,
}

/// Copies everything that a run goes on from.
pub(super) fn capture(
    moment: &mut Moment<'_>,
    metrics: &BTreeMap<String, f64>,
    of: Of,
) -> Result<Snapshot, BoxError> {
    let peers = moment.state().peers().filter(|_| of != Of::ThisRank).cloned();
    let (mut parts, run) = match peers {
        Some(peers) if of == Of::EachRank => {
            let (mut parts, shares) = save_parts_in_shares(moment.unit(), &*peers)?;
            for name in shares {
                if let Some(share) = parts.remove(&name) {
                    parts.insert(Piece::of_rank(&name, peers.rank()).to_string(), share);
                }
            }
            (parts, moment.run_state_of_ranks()?)
        }
        Some(peers) => (save_parts_of_ranks(moment.unit(), &*peers)?, moment.run_state_of_ranks()?),
        None => (save_parts(moment.unit())?, moment.run_state()?),
    };
    if parts.insert(RUN.to_owned(), run).is_some() {
        return Err(format!("the part `{RUN}` is the run's own; give the unit's another name").into());
    }
    let Progress { steps: step, epochs: epoch, .. } = moment.state().train_progress();
    Ok(Snapshot { step, epoch, post_mortem: false, metrics: metrics.clone(), parts })
}

/// Whether a run goes on from `a` as it does from `b`, so that saving both serves nothing.
///
/// The state of callbacks and the place in the cycle may differ: the events between the two are sent
/// again after a resume from the first. So may hyper-parameters, which only describe the run.
pub(super) fn goes_on_alike(a: &Snapshot, b: &Snapshot) -> bool {
    let compared = |snapshot: &Snapshot| {
        let mut run = snapshot.parts.get(RUN).map(|run| run.under("run")).unwrap_or_default();
        for left_out in ["cycle", "hyper_parameters.text", "hyper_parameters.counts"] {
            let _ = run.remove(left_out);
        }
        run
    };
    unit_parts(a) == unit_parts(b) && compared(a) == compared(b)
}

/// A piece counts as the part: restored, a share has the name of its part.
fn unit_parts(snapshot: &Snapshot) -> BTreeMap<&str, &StateDict> {
    snapshot.parts.iter().filter(|(name, _)| *name != RUN).map(|(name, dict)| (part_of(name), dict)).collect()
}

/// The values measured in the epoch of a phase that has just ended, by the metric's name.
pub(super) fn measured(metrics: &Metrics, phase: Progress) -> impl Iterator<Item = (String, f64)> {
    let of_metric =
        move |metric: &Metric| Some((metric.key().name().to_owned(), metric.in_epoch(phase.epochs)?));
    metrics.iter().filter_map(of_metric)
}
