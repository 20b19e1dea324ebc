//! The traits of states that are saved and loaded, and of units that list their parts.

use std::collections::{BTreeMap, BTreeSet};

use super::ranks::{self, OfRanks, Shares};
use super::{Array, Element, StateDict};
use crate::BoxError;
use crate::data::Rank;
use crate::error::placed::placed;
use crate::peers::Peers;
use crate::text::Count;

/// A type whose state can be saved and loaded.
///
/// After `b.load_state_dict(&a.state_dict()?)?`, `b` continues exactly as `a` would.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `Stateful`, so a checkpoint cannot hold it",
    note = "an engine, or another struct with parts of its own, is marked `#[app_state(nested)]`",
    note = "a module of Burn's or a `VarStore` of tch's is saved through the `ModuleState` of `regimen_burn` or \
            `regimen_torch`: in a struct that derives `AppState`, mark the field `#[app_state(with = ModuleState)]`",
    note = "an optimizer is saved through the `OptimizerState` of `regimen_burn`, in an `AppState` written by hand, \
            or is the `Optim` of `regimen_torch`",
    note = "a field that need not be saved is marked `#[app_state(skip)]`"
)]
pub trait Stateful {
    /// A copy of the state.
    fn state_dict(&self) -> Result<StateDict, BoxError>;

    /// Replaces the state. After an error the old state is still in place.
    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError>;

    /// Checks whether [`load_state_dict`](Stateful::load_state_dict) would accept `dict`: names, shapes
    /// and types, not values. Called for every part before any part is changed.
    ///
    /// The default accepts everything; override it if a mistake can be detected early.
    fn check_state_dict(&self, _dict: &StateDict) -> Result<(), BoxError> {
        Ok(())
    }

    /// Whether the array `name` of the state differs between ranks that train [together](crate::Run::peers), such
    /// as held gradients do. A checkpoint has those arrays of every rank, and all others of rank 0.
    /// Default: no.
    ///
    /// If the ranks have shares of one state, each state has the array [`SHARE`](super::SHARE) beside its own: the index of the
    /// rank and the number of ranks, as `u64`. A checkpoint then has the arrays of all shares under their names, which
    /// must differ. [`share`](Stateful::share) chooses from them, and adds that array.
    fn is_of_rank(&self, _name: &str) -> bool {
        false
    }

    /// The arrays [of a rank](Stateful::is_of_rank) with which `rank` continues, if a checkpoint was saved by
    /// another number of ranks: `saved` has those of each, in order. The default is an error.
    ///
    /// It may also be called with one share of a state at a time. Then the arrays of all results are put together.
    fn share(&self, saved: &[StateDict], rank: Rank) -> Result<StateDict, BoxError> {
        Err(format!(
            "it was saved by {}, and cannot be continued by {}",
            Count(saved.len() as u64, "rank"),
            rank.count
        )
        .into())
    }

    /// Whether it holds trained weights. A checkpoint whose weights are not finite is not saved over
    /// one whose weights are. Default: no.
    fn is_weights(&self) -> bool {
        false
    }

    /// The state that a [dry run](crate::Run::dry_run) puts back by
    /// [`load_state_dict`](Stateful::load_state_dict): that of a checkpoint, and what this process alone remembers.
    /// Default: [`state_dict`](Stateful::state_dict).
    fn kept_state(&self) -> Result<StateDict, BoxError> {
        self.state_dict()
    }
}

impl<S: Stateful + ?Sized> Stateful for &mut S {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        (**self).state_dict()
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        (**self).load_state_dict(dict)
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        (**self).check_state_dict(dict)
    }

    fn is_of_rank(&self, name: &str) -> bool {
        (**self).is_of_rank(name)
    }

    fn share(&self, saved: &[StateDict], rank: Rank) -> Result<StateDict, BoxError> {
        (**self).share(saved, rank)
    }

    fn is_weights(&self) -> bool {
        (**self).is_weights()
    }

    fn kept_state(&self) -> Result<StateDict, BoxError> {
        (**self).kept_state()
    }
}

macro_rules! number {
    ($($number:ty),*) => {$(
        /// A single number is its state, under the name `value`.
        impl Stateful for $number {
            fn state_dict(&self) -> Result<StateDict, BoxError> {
                let mut dict = StateDict::new();
                dict.insert("value", *self)?;
                Ok(dict)
            }

            fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
                *self = dict.get("value")?;
                Ok(())
            }

            fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
                dict.get::<$number>("value").map(drop)
            }
        }
    )*};
}
number!(u8, i8, u16, i16, u32, i32, f32, u64, i64, f64);

/// A list of numbers is its state, under the name `values`. Its length may change.
impl<T: Element> Stateful for Vec<T> {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("values", Array::from_slice(self))?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        *self = dict.array("values")?.to_vec()?;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        dict.array("values")?.to_vec::<T>().map(drop)
    }
}

/// The parts of a unit that a checkpoint holds, listed in one place for saving and loading.
///
/// ```
/// use regimen_core::saved::{AppState, Parts};
/// use regimen_core::BoxError;
///
/// struct Line { slope: f64, offset: f64 }
///
/// impl AppState for Line {
///     fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
///         parts.part("slope", &mut self.slope)?;
///         parts.part("offset", &mut self.offset)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `AppState`, so it cannot be saved or restored",
    note = "derive it with `#[derive(AppState)]` of `regimen::saved`, or list the parts in an `impl AppState`",
    note = "a unit that is not `AppState` runs without a saver"
)]
pub trait AppState {
    /// Hands every part to `parts`, under a unique name. The list must not depend on the content of the
    /// parts.
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError>;
}

impl<A: AppState + ?Sized> AppState for &mut A {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        (**self).visit(parts)
    }
}

/// Receives the parts of an [`AppState`] one after another.
pub trait Parts {
    /// Takes one part. Two parts of one name are an error.
    fn part(&mut self, name: &str, part: &mut dyn Stateful) -> Result<(), BoxError>;

    /// Takes an optional part. A checkpoint without it loads an empty state into it, and one that has
    /// it is accepted if the unit has none. Either is a notice.
    fn optional(&mut self, name: &str, part: Option<&mut dyn Stateful>) -> Result<(), BoxError> {
        part.map_or(Ok(()), |part| self.part(name, part))
    }
}

impl dyn Parts + '_ {
    /// Takes every part of `app`, under its name behind `name` and a dot: the parts `module` and `optimizer`
    /// of a field `engine` are `engine.module` and `engine.optimizer`.
    pub fn nested(&mut self, name: &str, app: &mut dyn AppState) -> Result<(), BoxError> {
        app.visit(&mut Nested { name, parts: self })
    }
}

/// Receives the parts of a field.
struct Nested<'p, 'a> {
    name: &'p str,
    parts: &'p mut (dyn Parts + 'a),
}

impl Parts for Nested<'_, '_> {
    fn part(&mut self, name: &str, part: &mut dyn Stateful) -> Result<(), BoxError> {
        self.parts.part(&format!("{}.{name}", self.name), part)
    }

    fn optional(&mut self, name: &str, part: Option<&mut dyn Stateful>) -> Result<(), BoxError> {
        self.parts.optional(&format!("{}.{name}", self.name), part)
    }
}

/// The state of every part of `app`, by the part's name.
pub fn save_parts(app: &mut (impl AppState + ?Sized)) -> Result<BTreeMap<String, StateDict>, BoxError> {
    Ok(save(app, None, |part| part.state_dict())?.0)
}

/// The same with all that a [dry run](crate::Run::dry_run) puts back.
pub(crate) fn keep_parts(
    app: &mut (impl AppState + ?Sized),
) -> Result<BTreeMap<String, StateDict>, BoxError> {
    Ok(save(app, None, |part| part.kept_state())?.0)
}

/// The same with the arrays [of every rank](Stateful::is_of_rank). Every rank calls it; the result of rank 0 is the
/// one to write.
pub fn save_parts_of_ranks(
    app: &mut (impl AppState + ?Sized),
    peers: &dyn Peers,
) -> Result<BTreeMap<String, StateDict>, BoxError> {
    Ok(save(app, Some((peers, Shares::Together)), |part| part.state_dict())?.0)
}

/// The same, but of a part in [shares](Stateful::is_of_rank) each rank has its own. The names of these parts are
/// returned too: they are the same on all ranks, and what every rank has of them is to be written. No array is in two
/// shares: what has no owner is in that of rank 0.
pub fn save_parts_in_shares(
    app: &mut (impl AppState + ?Sized),
    peers: &dyn Peers,
) -> Result<(BTreeMap<String, StateDict>, BTreeSet<String>), BoxError> {
    save(app, Some((peers, Shares::Apart)), |part| part.state_dict())
}

/// The state of a part.
type StateOf = fn(&dyn Stateful) -> Result<StateDict, BoxError>;

/// Returns the parts, and the names of those in shares that were left apart.
fn save(
    app: &mut (impl AppState + ?Sized),
    ranks: Option<(&dyn Peers, Shares)>,
    state_of: StateOf,
) -> Result<(BTreeMap<String, StateDict>, BTreeSet<String>), BoxError> {
    struct Save<'p> {
        parts: BTreeMap<String, StateDict>,
        apart: BTreeSet<String>,
        ranks: Option<(&'p dyn Peers, Shares)>,
        state_of: StateOf,
    }
    impl Parts for Save<'_> {
        fn part(&mut self, name: &str, part: &mut dyn Stateful) -> Result<(), BoxError> {
            let mut dict = (self.state_of)(part).map_err(|cause| placed(format!("part `{name}`"), cause))?;
            if let Some((peers, shares)) = self.ranks
                && ranks::gather(peers, name, &mut dict, shares, |name| part.is_of_rank(name))?
            {
                self.apart.insert(name.to_owned());
            }
            match self.parts.insert(name.to_owned(), dict) {
                None => Ok(()),
                Some(_) => Err(format!("two parts are named `{name}`").into()),
            }
        }
    }
    let mut save = Save { parts: BTreeMap::new(), apart: BTreeSet::new(), ranks, state_of };
    app.visit(&mut save)?;
    Ok((save.parts, save.apart))
}

/// The names of the parts of `app` that hold [weights](Stateful::is_weights).
pub fn weight_parts(app: &mut (impl AppState + ?Sized)) -> Result<BTreeSet<String>, BoxError> {
    struct Weights(BTreeSet<String>);
    impl Parts for Weights {
        fn part(&mut self, name: &str, part: &mut dyn Stateful) -> Result<(), BoxError> {
            if part.is_weights() {
                self.0.insert(name.to_owned());
            }
            Ok(())
        }
    }
    let mut weights = Weights(BTreeSet::new());
    app.visit(&mut weights)?;
    Ok(weights.0)
}

/// Restores `saved` into the parts of `app`.
///
/// Every part is checked before any is changed: an unknown part, a missing part, or a part with
/// other names, shapes or types is an error, and `app` is as it was.
pub fn load_parts(
    app: &mut (impl AppState + ?Sized),
    saved: &BTreeMap<String, StateDict>,
) -> Result<(), BoxError> {
    load_parts_except(app, saved, &[], Rank::default()).map(drop)
}

/// Restores `saved` into the parts of `app` for `rank`, except those named in `except`: they stay as they are,
/// and need not be saved. Returns a text for each part that was left out, or that is
/// [optional](Parts::optional) and only in one of the two. Otherwise as [`load_parts`], which is for a lone rank.
pub fn load_parts_except(
    app: &mut (impl AppState + ?Sized),
    saved: &BTreeMap<String, StateDict>,
    except: &[String],
    rank: Rank,
) -> Result<Vec<String>, BoxError> {
    struct Load<'a> {
        rank: Rank,
        saved: &'a BTreeMap<String, StateDict>,
        except: &'a [String],
        seen: Vec<String>,
        notices: Vec<String>,
        is_check: bool,
    }
    impl Load<'_> {
        fn notify(&mut self, text: String) {
            if self.is_check {
                self.notices.push(text);
            }
        }

        fn load(&self, name: &str, part: &mut dyn Stateful, dict: &StateDict) -> Result<(), BoxError> {
            let load = |part: &mut dyn Stateful| {
                let all = OfRanks::new(dict, self.rank)?;
                let own = all.of(part)?;
                if self.is_check { part.check_state_dict(&own) } else { part.load_state_dict(&own) }
            };
            load(part).map_err(|cause| placed(format!("part `{name}`"), cause))
        }
    }
    impl Parts for Load<'_> {
        fn part(&mut self, name: &str, part: &mut dyn Stateful) -> Result<(), BoxError> {
            self.seen.push(name.to_owned());
            if self.except.iter().any(|except| except == name) {
                self.notify(format!("part `{name}` is left out, and stays as it is"));
                return Ok(());
            }
            let dict = self.saved.get(name).ok_or_else(|| format!("part `{name}` was not saved"))?;
            self.load(name, part, dict)
        }

        fn optional(&mut self, name: &str, part: Option<&mut dyn Stateful>) -> Result<(), BoxError> {
            let is_saved = self.saved.contains_key(name);
            match part {
                Some(part) if is_saved || self.except.iter().any(|except| except == name) => {
                    self.part(name, part)
                }
                Some(part) => {
                    self.notify(format!("part `{name}` was not saved, and begins anew"));
                    self.load(name, part, &StateDict::new())
                }
                None if is_saved => {
                    self.seen.push(name.to_owned());
                    self.notify(format!("part `{name}` was saved, and is not used"));
                    Ok(())
                }
                None => Ok(()),
            }
        }
    }
    let mut load = Load { rank, saved, except, seen: Vec::new(), notices: Vec::new(), is_check: true };
    app.visit(&mut load)?;
    let Load { seen, .. } = &load;
    if let Some(unknown) = except.iter().find(|name| !seen.contains(name) && !saved.contains_key(*name)) {
        return Err(format!("part `{unknown}` cannot be left out: no part has that name").into());
    }
    let unknown = saved.keys().find(|name| !seen.contains(name) && !except.contains(name));
    if let Some(unknown) = unknown {
        return Err(format!("part `{unknown}` is not known here").into());
    }
    load.is_check = false;
    app.visit(&mut load)?;
    Ok(load.notices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Two {
        count: u64,
        list: Vec<f64>,
        second: &'static str,
    }

    impl AppState for Two {
        fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
            parts.part("count", &mut self.count)?;
            parts.part(self.second, &mut self.list)
        }
    }

    fn two(count: u64, second: &'static str) -> Two {
        Two { count, list: vec![count as f64; 3], second }
    }

    /// Loads `saved` into a unit that differs, which must fail and leave it as it was.
    #[track_caller]
    fn check_refused(saved: &BTreeMap<String, StateDict>, expected: &str) {
        let mut unit = two(2, "list");
        assert_eq!(load_parts(&mut unit, saved).unwrap_err().to_string(), expected);
        assert_eq!(unit, two(2, "list"));
    }

    #[test]
    fn parts_that_were_saved_come_back() {
        let saved = save_parts(&mut two(1, "list")).unwrap();
        let mut unit = two(2, "list");
        load_parts(&mut unit, &saved).unwrap();
        assert_eq!(unit, two(1, "list"));
    }

    #[test]
    fn two_parts_of_one_name_are_an_error() {
        let error = save_parts(&mut two(1, "count")).unwrap_err();
        assert_eq!(error.to_string(), "two parts are named `count`");
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let saved = save_parts(&mut two(1, "list")).unwrap();
        check_refused(&save_parts(&mut two(1, "other")).unwrap(), "part `list` was not saved");
        let mut more = saved.clone();
        more.insert("more".to_owned(), StateDict::new());
        check_refused(&more, "part `more` is not known here");
        let mut wrong = saved.clone();
        wrong.insert("list".to_owned(), 7_u8.state_dict().unwrap());
        check_refused(&wrong, "part `list`: no array is named `values`");
    }
}
