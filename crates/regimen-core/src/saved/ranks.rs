//! States of several ranks in one dictionary.
//!
//! ```text
//! NAME              an array that is the same on all ranks, or the one of rank 0
//! ranks.R.NAME      that of rank R, from 1, if it differs between ranks
//! ranks.count       the number of ranks, if there is any such array
//! ranks.share       index and number of ranks, in the state of one of them that has its share alone
//! ```
//!
//! Shares have no name in common. Once gathered they are the whole state, under the names that it has on one rank.

use std::borrow::Cow;
use std::mem;

use super::{Array, StateDict, Stateful};
use crate::BoxError;
use crate::data::Rank;
use crate::peers::{AgreedError, Peers};

const COUNT: &str = "ranks.count";

/// The name of a part while its arrays are gathered.
const PART: &str = "ranks.part";

/// The array of a state that is the share of one rank: see [`Stateful::is_of_rank`].
pub const SHARE: &str = "ranks.share";

/// The mark of a rank that keeps its share, while arrays are gathered.
const APART: &str = "ranks.apart";

/// Marks `dict` as the share of `rank`.
pub(crate) fn mark_share(dict: &mut StateDict, rank: Rank) -> Result<(), BoxError> {
    dict.insert(SHARE, Array::from_slice(&[rank.index, rank.count]))
}

/// Whether `dict` is the share of a rank.
pub(crate) fn is_share(dict: &StateDict) -> bool {
    dict.contains(SHARE)
}

/// The rank whose share `dict` is. Returns `None` if there is no mark: the state is whole.
fn share_of(dict: &StateDict) -> Result<Option<Rank>, BoxError> {
    let Ok(mark) = dict.array(SHARE) else { return Ok(None) };
    match mark.to_vec()?[..] {
        [index, count] if index < count => Ok(Some(Rank { index, count })),
        _ => Err(format!("`{SHARE}` is no rank").into()),
    }
}

/// The same, and removes the mark.
pub(crate) fn take_share(dict: &mut StateDict) -> Result<Option<Rank>, BoxError> {
    let share = share_of(dict)?;
    let _ = dict.remove(SHARE);
    Ok(share)
}

/// Whether the shares of a state come together on rank 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shares {
    /// All of them come to rank 0.
    Together,
    /// Each rank keeps its own.
    Apart,
}

/// Adds to `dict`, the state of `part` on this rank, the arrays of the other ranks for which `is_of_rank` returns
/// `true`. Every rank calls it for the same parts in the same order. Returns whether `dict` is a share that was left
/// [apart](Shares::Apart): then no array in it is in that of another rank.
pub(crate) fn gather(
    peers: &dyn Peers,
    part: &str,
    dict: &mut StateDict,
    shares_are: Shares,
    mut is_of_rank: impl FnMut(&str) -> bool,
) -> Result<bool, BoxError> {
    let share = take_share(dict)?;
    if share.is_none() && peers.rank().count == 1 {
        return Ok(false);
    }
    let mut own = if share.is_some() { StateDict::new() } else { filter(dict, &mut is_of_rank)? };
    own.insert(PART, Array::from_text(part))?;
    if let Some(rank) = share {
        mark_share(&mut own, rank)?;
    }
    if shares_are == Shares::Apart {
        own.insert(APART, 1_u8)?;
    }
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
    let shares = all.iter_mut().map(take_share).collect::<Result<Vec<_>, BoxError>>()?;
    let apart: Vec<bool> = all.iter_mut().map(|own| own.remove(APART).is_ok()).collect();
    if shares.iter().any(Option::is_some) {
        if let Some(rank) = apart.iter().position(|is_apart| *is_apart != apart[0]) {
            let keeps = |rank: usize| if apart[rank] { "keeps" } else { "does not keep" };
            return Err(AgreedError::new(format!(
                "the part `{part}` is in shares: rank {rank} {} its own, and rank 0 {}; give \
                 `Checkpointer::every_rank_writes` on all ranks or on none",
                keeps(rank),
                keeps(0)
            ))
            .into());
        }
        let count = peers.rank().count;
        let is_right = |(index, share): (u64, &Option<Rank>)| *share == Some(Rank { index, count });
        return match (0..).zip(&shares).find(|&share| !is_right(share)) {
            None if shares_are == Shares::Together => gather_shares(peers, dict, is_of_rank).map(|()| false),
            None => {
                if !peers.rank().is_first() {
                    let all = mem::take(dict).into_iter();
                    all.filter(|(name, _)| is_of_rank(name))
                        .try_for_each(|(name, array)| dict.insert(name, array))?;
                }
                check_names(peers, part, dict).map(|()| true)
            }
            Some((rank, share)) => {
                let held = share.map_or("all of it".to_owned(), |Rank { index, count }| {
                    format!("the share of rank {index} of {count}")
                });
                Err(AgreedError::new(format!(
                    "the part `{part}` is in shares, and rank {rank} of {count} has {held}; restore a checkpoint on all \
                     ranks"
                ))
                .into())
            }
        };
    }
    if all.iter().all(StateDict::is_empty) {
        return Ok(false);
    }
    dict.insert(COUNT, all.len() as u64)?;
    for (rank, own) in all.into_iter().enumerate().skip(1) {
        dict.insert_all(&format!("ranks.{rank}"), own)?;
    }
    Ok(false)
}

/// Returns an error on all ranks if an array of `dict`, a share of `part`, is in that of another rank too. Every rank
/// calls it.
fn check_names(peers: &dyn Peers, part: &str, dict: &StateDict) -> Result<(), BoxError> {
    let (mut own, mut all) = (StateDict::new(), StateDict::new());
    for (name, _) in dict.iter() {
        own.insert(name, Array::from_slice::<u8>(&[]))?;
    }
    for (name, nothing) in peers.gather_states(&own)?.into_iter().flatten() {
        if all.contains(&name) {
            return Err(AgreedError::new(format!(
                "the part `{part}` is in shares, and two of them have an array `{name}`"
            ))
            .into());
        }
        all.insert(name, nothing)?;
    }
    Ok(())
}

/// Adds the shares of the other ranks to that of rank 0, `dict` there. They are gathered one array of each rank at a
/// time: only rank 0 must have the memory for all.
fn gather_shares(
    peers: &dyn Peers,
    dict: &mut StateDict,
    mut is_of_rank: impl FnMut(&str) -> bool,
) -> Result<(), BoxError> {
    let own: Vec<String> =
        dict.iter().map(|(name, _)| name).filter(|name| is_of_rank(name)).map(str::to_owned).collect();
    let mut most = 0;
    for length in peers.gather(&(own.len() as u64).to_le_bytes())? {
        let length = length.try_into().map_err(|_| "another rank has no number of arrays")?;
        most = most.max(u64::from_le_bytes(length));
    }
    for turn in 0..usize::try_from(most)? {
        let mut one = StateDict::new();
        if let Some(name) = own.get(turn) {
            one.insert(name, dict.array(name)?.clone())?;
        }
        for (name, array) in peers.states_at_first(&one)?.into_iter().skip(1).flatten() {
            dict.insert(name, array)?;
        }
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
        if share_of(&self.first)? == Some(self.rank) {
            return Ok(Cow::Borrowed(&self.first));
        }
        let mut saved = vec![filter(&self.first, |name| part.is_of_rank(name))?];
        saved.extend(self.others.iter().cloned());
        let is_alike = saved.iter().all(StateDict::is_empty);
        if is_alike || self.others.is_empty() && self.rank.count == 1 {
            return Ok(Cow::Borrowed(&self.first));
        }
        let index = usize::try_from(self.rank.index)?;
        let own = match saved.get_mut(index) {
            Some(own) if self.others.len() as u64 + 1 == self.rank.count => mem::take(own),
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
