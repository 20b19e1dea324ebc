//! Agreements of a state with those of the other ranks.

use super::{PhaseState, State, Stop};
use crate::BoxError;
use crate::data::Rank;
use crate::engine::Bucket;
use crate::metric::Metrics;
use crate::saved::Stateful;

/// Whether the metrics of a phase are those of all ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// An epoch is under way, or none.
    #[default]
    NotDue,
    /// The epoch ends; they are those of this rank.
    Due,
    Done,
}

impl State {
    /// Whether the run [must stop](State::must_stop), on all ranks alike: a request on one counts for all. It is
    /// an error if the epoch is over on some of them only.
    pub(crate) fn agree_to_stop(&mut self, is_over: bool) -> Result<bool, BoxError> {
        let stops = self.must_stop();
        let Some(peers) = &self.peers else { return Ok(stops) };
        peers.note_place(self.place());
        let rank = peers.rank();
        let mut votes = [is_over, stops].map(|vote| f64::from(u8::from(vote)));
        peers.sum(Bucket::F64(&mut votes))?;
        let [over, stopping] = votes;
        check_all_or_none(over, is_over, rank)?;
        if stopping == 0.0 {
            return Ok(false);
        }
        let asked = peers.gather(&self.stop.as_ref().map_or_else(Vec::new, to_bytes))?;
        let asked = || asked.iter().filter_map(|bytes| from_bytes(bytes));
        self.stop = asked().find(Stop::is_final).or_else(|| asked().next());
        Ok(true)
    }

    /// The samples of the whole batch at hand, of which this rank has `own`. It is an error if the batch is the last of
    /// the epoch on some ranks only: they alone would end an accumulation window.
    pub(crate) fn samples_of_ranks(&self, own: u64) -> Result<u64, BoxError> {
        let Some(peers) = &self.peers else { return Ok(own) };
        let is_last = self.last_in_epoch();
        let mut sums = [own as f64, f64::from(u8::from(is_last)), 0.0];
        peers.sum(Bucket::F64(&mut sums))?;
        check_all_or_none(sums[1], is_last, peers.rank())?;
        Ok(sums[0] as u64)
    }

    /// An epoch ends: its metrics are to be [shared](State::share_metrics).
    pub(crate) fn await_metrics_of_ranks(&mut self) {
        self.active_phase_mut().sharing = Sharing::Due;
    }

    /// Whether the epoch ends, and its metrics are not shared.
    pub(crate) fn awaits_metrics_of_ranks(&mut self) -> bool {
        self.peers.is_some() && self.active_phase_mut().sharing == Sharing::Due
    }

    /// Merges the metrics of the epoch that ends over all ranks, in the order of the ranks. For a unit that decides
    /// by a metric in its hook at the end of an epoch. The loop does it after that hook otherwise. A second
    /// call, and a call without [peers](State::peers), does nothing. With peers it is an error in a step.
    ///
    /// So the value of an epoch is that of all ranks, and the same on each. The value of a single
    /// step is that of this rank's share of the batch.
    pub fn share_metrics(&mut self) -> Result<(), BoxError> {
        let Some(peers) = self.peers.clone() else { return Ok(()) };
        let PhaseState { metrics, sharing, .. } = self.active_phase_mut();
        match sharing {
            Sharing::NotDue => {
                return Err("`share_metrics`: call it in the hook of the unit at the end of an epoch".into());
            }
            Sharing::Done => return Ok(()),
            Sharing::Due => {}
        }
        let merged = Metrics::of_ranks(&peers.gather_states(&metrics.state_dict()?)?)?;
        peers.commit()?;
        (*metrics, *sharing) = (merged, Sharing::Done);
        Ok(())
    }
}

/// An error if the epoch is over, or has its last batch, on `over` ranks and not on the others.
fn check_all_or_none(over: f64, is_over: bool, Rank { index, count }: Rank) -> Result<(), BoxError> {
    if over == 0.0 || over == count as f64 {
        return Ok(());
    }
    let here = if is_over { "is one of them" } else { "has more batches" };
    Err(format!(
        "the epoch is over on {over} of {count} ranks, and rank {index} {here}; give every rank as many batches"
    )
    .into())
}

/// A byte for the kind of stop, and its reason.
fn to_bytes(stop: &Stop) -> Vec<u8> {
    [&[u8::from(stop.is_final())], stop.reason().as_bytes()].concat()
}

fn from_bytes(bytes: &[u8]) -> Option<Stop> {
    let (&is_final, reason) = bytes.split_first()?;
    let reason = String::from_utf8_lossy(reason).into_owned().into();
    Some(if is_final == 1 { Stop::Finish(reason) } else { Stop::Pause(reason) })
}
