//! The sharded optimizer (ZeRO-1): each rank has the state of its own parameters, and makes their step. With sharded
//! gradients (ZeRO-2) it holds those of its own parameters.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use super::AutoUnit;
use crate::data::Rank;
use crate::engine::{Bucket, Engine, Part, Role};
use crate::peers::Peers;
use crate::saved::ranks::{is_share, mark_share, take_share};
use crate::saved::{Parts, StateDict, Stateful};
use crate::{BoxError, State, Task};

/// The optimizer state that the engine of a rank has.
#[derive(Debug)]
pub(super) enum Held {
    /// All of it.
    Whole,
    /// That of its own parameters.
    Share(Share),
    /// An update was made whose parameters did not come from all owners.
    Torn,
}

/// The share of a rank.
#[derive(Debug)]
pub(super) struct Share {
    rank: Rank,
    owners: Owners,
}

/// The rank that owns each parameter. It depends on the names and sizes of the parameters and on the number of ranks
/// alone, so it is never saved. A frozen parameter has an owner too.
#[derive(Debug)]
struct Owners(BTreeMap<String, u64>);

impl Owners {
    /// The largest parameter is given first, each to the rank with the fewest bytes so far.
    fn of(engine: &impl Engine, ranks: u64) -> Result<Self, BoxError> {
        let parameters = engine.variables()?.into_iter().filter(|variable| variable.role != Role::Buffer);
        Ok(Owners::of_sizes(parameters.map(|parameter| (parameter.bytes(), parameter.name)).collect(), ranks))
    }

    fn of_sizes(mut parameters: Vec<(u64, String)>, ranks: u64) -> Self {
        parameters.sort_by(|(a, first), (b, second)| b.cmp(a).then_with(|| first.cmp(second)));
        let mut loads: BTreeSet<(u64, u64)> = (0..ranks).map(|rank| (0, rank)).collect();
        let mut owners = BTreeMap::new();
        for (bytes, name) in parameters {
            let Some((load, rank)) = loads.pop_first() else { break };
            loads.insert((load.saturating_add(bytes), rank));
            owners.insert(name, rank);
        }
        Owners(owners)
    }

    fn of_parameter(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// The owner of an array of the optimizer: that of the parameter with the longest name it begins with.
    fn of_array(&self, name: &str) -> Option<u64> {
        name.rmatch_indices('.').find_map(|(dot, _)| self.of_parameter(&name[..dot]))
    }
}

impl Share {
    fn of(engine: &impl Engine, rank: Rank) -> Result<Self, BoxError> {
        Ok(Share { rank, owners: Owners::of(engine, rank.count)? })
    }

    /// Whether the rank owns the parameter of that name.
    pub(super) fn has(&self, parameter: &str) -> bool {
        self.owners.of_parameter(parameter) == Some(self.rank.index)
    }

    /// The arrays in `state` that no other rank owns.
    fn own_of(&self, state: StateDict) -> Result<StateDict, BoxError> {
        let mut own = StateDict::new();
        for (name, array) in state {
            if self.owners.of_array(&name).is_none_or(|owner| owner == self.rank.index) {
                own.insert(name, array)?;
            }
        }
        Ok(own)
    }
}

impl<E: Engine, T: Task<E>> AutoUnit<E, T> {
    /// Leaves the engine with the optimizer state that this rank needs: its share, if the setting is on and there are
    /// other ranks. A share of other ranks than those of now cannot be made whole, and is an error.
    pub(super) fn share_out(&mut self, peers: Option<&dyn Peers>) -> Result<(), BoxError> {
        let rank = peers.map_or(Rank::default(), Peers::rank);
        let shared = (self.settings.shards_optimizer && rank.count > 1).then_some(rank);
        match (&self.held, shared) {
            (Held::Torn, _) => Err(torn()),
            (Held::Whole, None) => Ok(()),
            (Held::Whole, Some(rank)) => {
                let share = Share::of(&self.engine, rank)?;
                let state = self.engine.state(Part::Optimizer)?;
                let all = state.len();
                let own = share.own_of(state)?;
                if own.len() < all {
                    self.engine.load_state(Part::Optimizer, &own)?;
                }
                self.held = Held::Share(share);
                Ok(())
            }
            (Held::Share(share), Some(rank)) if share.rank == rank => Ok(()),
            (Held::Share(Share { rank: Rank { index, count }, .. }), _) => {
                let now = match shared {
                    Some(Rank { index, count }) => format!("that of rank {index} of {count}"),
                    None => "all of it".to_owned(),
                };
                Err(format!(
                    "the optimizer has the share of rank {index} of {count}, and needs {now}; restore a checkpoint on \
                     all ranks"
                )
                .into())
            }
        }
    }

    /// One step of the optimizer. A rank with a share makes that of its own parameters, and gets the others from their
    /// owners.
    pub(super) fn step(&mut self, state: &mut State, peers: Option<&dyn Peers>) -> Result<(), BoxError> {
        let AutoUnit { engine, settings, rates, held, .. } = self;
        let Some(peers) = peers.filter(|_| matches!(held, Held::Share(_))) else {
            return state.time("optimizer", |_| engine.step(rates));
        };
        // Whatever fails now, other ranks may have made their part of the update.
        let before = mem::replace(held, Held::Torn);
        let Held::Share(share) = &before else { return Err(torn()) };
        let is_own = |name: &str| share.has(name);
        state.time("optimizer", |_| {
            engine.retain_gradients(&is_own)?;
            engine.step(rates)
        })?;
        let (bytes, sum) = (settings.bucket_bytes, &mut |bucket: Bucket<'_>| peers.sum(bucket));
        state.time("exchange parameters", |_| match peers.takes_device() {
            true => engine.exchange_parameters_on_device(bytes, &is_own, sum),
            false => engine.exchange_parameters(bytes, &is_own, sum),
        })?;
        *held = before;
        Ok(())
    }

    /// Hands the part `optimizer` to `parts`.
    pub(super) fn visit_optimizer(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        let AutoUnit { engine, held, settings, .. } = self;
        let is_on = settings.shards_optimizer;
        let may_share = is_on || matches!(held, Held::Share(_));
        let parameters = may_share.then(|| Owners::of(engine, 1)).transpose()?;
        parts.part("optimizer", &mut OptimizerPart { engine, held, is_on, parameters })
    }
}

fn torn() -> BoxError {
    "an update was made, and its parameters did not come from all ranks; restore a checkpoint on all ranks"
        .into()
}

/// The optimizer, or the share of a rank.
struct OptimizerPart<'u, E> {
    engine: &'u mut E,
    held: &'u mut Held,
    /// Whether it is to be in shares.
    is_on: bool,
    /// All parameters, if the state may be in shares.
    parameters: Option<Owners>,
}

impl<E: Engine> Stateful for OptimizerPart<'_, E> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let state = self.engine.state(Part::Optimizer)?;
        match &*self.held {
            Held::Whole => Ok(state),
            Held::Torn => Err(torn()),
            Held::Share(share) => {
                let mut own = share.own_of(state)?;
                mark_share(&mut own, share.rank)?;
                Ok(own)
            }
        }
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        let (own, rank) = without_mark(dict)?;
        let loaded = match rank {
            Some(rank) => Held::Share(Share::of(self.engine, rank)?),
            None => Held::Whole,
        };
        self.engine.load_state(Part::Optimizer, &own)?;
        *self.held = loaded;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.engine.check_state(Part::Optimizer, &without_mark(dict)?.0)
    }

    fn is_of_rank(&self, name: &str) -> bool {
        self.parameters.as_ref().is_some_and(|parameters| parameters.of_array(name).is_some())
    }

    fn share(&self, saved: &[StateDict], rank: Rank) -> Result<StateDict, BoxError> {
        let mut own = StateDict::new();
        for (name, array) in saved.iter().flat_map(StateDict::iter) {
            // Each rank has all of it in a state that was saved before it was shared out.
            if !own.contains(name) {
                own.insert(name, array.clone())?;
            }
        }
        if self.is_on {
            own = Share::of(self.engine, rank)?.own_of(own)?;
            mark_share(&mut own, rank)?;
        }
        Ok(own)
    }
}

/// `dict` without the mark of a share, and its rank.
fn without_mark(dict: &StateDict) -> Result<(Cow<'_, StateDict>, Option<Rank>), BoxError> {
    if !is_share(dict) {
        return Ok((Cow::Borrowed(dict), None));
    }
    let mut own = dict.clone();
    let rank = take_share(&mut own)?;
    Ok((Cow::Owned(own), rank))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(sizes: &[(u64, &str)], ranks: u64) -> Owners {
        Owners::of_sizes(sizes.iter().map(|(bytes, name)| (*bytes, (*name).to_owned())).collect(), ranks)
    }

    #[test]
    fn the_largest_parameter_goes_to_the_rank_with_the_fewest_bytes() {
        let check = |sizes: &[(u64, &str)], ranks, expected: &[(&str, u64)]| {
            // Whichever order they are listed in.
            for sizes in [sizes.to_vec(), sizes.iter().rev().copied().collect()] {
                let found = owners(&sizes, ranks).0;
                let found: Vec<(&str, u64)> = found.iter().map(|(name, rank)| (&**name, *rank)).collect();
                assert_eq!(found, expected, "{sizes:?} on {ranks}");
            }
        };
        let sizes = [(8, "a"), (64, "b"), (32, "c"), (32, "d"), (8, "e")];
        check(&sizes, 1, &[("a", 0), ("b", 0), ("c", 0), ("d", 0), ("e", 0)]);
        check(&sizes, 2, &[("a", 0), ("b", 0), ("c", 1), ("d", 1), ("e", 1)]);
        check(&sizes, 3, &[("a", 1), ("b", 0), ("c", 1), ("d", 2), ("e", 2)]);
        check(&[(1, "a"), (0, "b")], 4, &[("a", 0), ("b", 1)]);
        check(&[], 4, &[]);
    }

    #[test]
    fn an_array_belongs_to_the_parameter_with_the_longest_name() {
        let owners = owners(&[(2, "a"), (1, "a.b")], 2);
        let check = |array, owner| assert_eq!(owners.of_array(array), owner, "{array}");
        check("a.step", Some(0));
        check("a.moment_1.moment", Some(0));
        check("a.b.step", Some(1));
        check("a.b", Some(0));
        check("ab.step", None);
        check("step", None);
    }
}
