//! States of several ranks in one dictionary.
//!
//! ```text
//! NAME              an array that is the same on all ranks, or the one of rank 0
//! ranks.R.NAME      that of rank R, from 1, if it differs between ranks
//! ranks.count       the number of ranks, if there is any such array
//! ```

use std::borrow::Cow;

use super::{Array, StateDict, Stateful};
use crate::BoxError;
use crate::data::Rank;
use crate::peers::{AgreedError, Peers};

const COUNT: &str = "ranks.count";

/// The name of a part while its arrays are gathered.
const PART: &str = "ranks.part";

/// Adds to `dict`, the state of `part` on this rank, the arrays of the other ranks for which `is_of_rank` returns
/// `true`. Every rank calls it for the same parts in the same order.
pub(crate) fn gather(
    peers: &dyn Peers,
    part: &str,
    dict: &mut StateDict,
    is_of_rank: impl FnMut(&str) -> bool,
) -> Result<(), BoxError> {
    let mut own = filter(dict, is_of_rank)?;
    own.insert(PART, Array::from_text(part))?;
    let mut all = peers.gather_states(&own)?;
    let names = all.iter_mut().map(|own| own.remove(PART)?.to_text());
    let names = names.collect::<Result<Vec<_>, BoxError>>()?;
    if let Some(rank) = names.iter().position(|name| *name != names[0]) {
        return Err(AgreedError::new(format!(
            "rank {rank} saves the part `{}`, and rank 0 the part `{}`; all ranks have the same parts, in one order",
            names[rank], names[0]
        ))
        .into());
    }
    if all.iter().all(StateDict::is_empty) {
        return Ok(());
    }
    dict.insert(COUNT, all.len() as u64)?;
    for (rank, own) in all.into_iter().enumerate().skip(1) {
        dict.insert_all(&format!("ranks.{rank}"), own)?;
    }
    Ok(())
}

/// A saved state of all ranks, to be loaded on one of them.
pub(crate) struct OfRanks<'d> {
    /// That of rank 0.
    first: Cow<'d, StateDict>,
    /// The arrays of the other ranks, in their order.
    others: Vec<StateDict>,
    rank: Rank,
}

impl<'d> OfRanks<'d> {
    /// The state in `dict`, for `rank`.
    pub(crate) fn new(dict: &'d StateDict, rank: Rank) -> Result<Self, BoxError> {
        let count = if dict.contains(COUNT) { dict.count(COUNT)? } else { 1 };
        if count > dict.len() as u64 + 1 {
            return Err(format!("`{COUNT}` is {count}, with {} arrays", dict.len()).into());
        }
        let others: Vec<StateDict> = (1..count).map(|rank| dict.under(&format!("ranks.{rank}"))).collect();
        let first = match others.is_empty() {
            true => Cow::Borrowed(dict),
            false => Cow::Owned(filter(dict, |name| !name.starts_with("ranks."))?),
        };
        Ok(OfRanks { first, others, rank })
    }

    /// The rank on which it is loaded.
    pub(crate) fn rank(&self) -> Rank {
        self.rank
    }

    /// That of rank 0.
    pub(crate) fn first(&self) -> &StateDict {
        &self.first
    }

    /// The states under `prefix`.
    pub(crate) fn under(&self, prefix: &str) -> OfRanks<'static> {
        let first = Cow::Owned(self.first.under(prefix));
        OfRanks { first, others: self.others.iter().map(|own| own.under(prefix)).collect(), rank: self.rank }
    }

    /// The state of `part` on this rank.
    pub(crate) fn of(&self, part: &(impl Stateful + ?Sized)) -> Result<Cow<'_, StateDict>, BoxError> {
        let mut saved = vec![filter(&self.first, |name| part.is_of_rank(name))?];
        saved.extend(self.others.iter().cloned());
        let is_alike = saved.iter().all(StateDict::is_empty);
        if is_alike || self.others.is_empty() && self.rank.count == 1 {
            return Ok(Cow::Borrowed(&self.first));
        }
        let index = usize::try_from(self.rank.index)?;
        let own = match saved.get_mut(index) {
            Some(own) if self.others.len() as u64 + 1 == self.rank.count => std::mem::take(own),
            _ => part.share(&saved, self.rank)?,
        };
        let mut state = filter(&self.first, |name| !part.is_of_rank(name))?;
        for (name, array) in own.iter() {
            state.insert(name, array.clone())?;
        }
        Ok(Cow::Owned(state))
    }
}

fn filter(dict: &StateDict, mut keep: impl FnMut(&str) -> bool) -> Result<StateDict, BoxError> {
    let mut kept = StateDict::new();
    for (name, array) in dict.iter().filter(|(name, _)| keep(name)) {
        kept.insert(name, array.clone())?;
    }
    Ok(kept)
}
