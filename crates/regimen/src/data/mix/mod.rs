//! Several sources as one, a batch of one of them at a time.

mod all;
mod epoch;
mod length;
mod source;

pub use all::{AllBatches, AllBatchesEpoch, BatchOfEach};
pub use epoch::MixEpoch;

use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::data::{At, Data, DynData};

use self::length::{Length, at_random, in_turn, one_by_one};
use self::source::Source;

/// When an epoch over several sources ends. A source is exhausted when it is asked for a batch
/// and has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stopping {
    /// When all are exhausted. One that is exhausted earlier is passed over from then on.
    #[default]
    AllExhausted,
    /// When one is exhausted.
    SmallestExhausted,
    /// When all were exhausted once. One that is exhausted earlier begins anew.
    RestartUntilAllExhausted,
    /// Never: every source begins anew. The run needs a limit.
    WrapAround,
}

/// Batches of several sources of one batch type, one at a time: [`Data`] for a run.
///
/// Which source is next is a pure function of (seed, epoch, batches given), the same on every
/// rank; where each source stands travels with each batch.
///
/// ```
/// use regimen::data::{Mix, Stopping};
/// let books = vec!["b1", "b2"];
/// let web = vec!["w1", "w2", "w3"];
/// let text = Mix::random().weighted("books", 3.0, books).weighted("web", 1.0, web).until(Stopping::WrapAround);
/// ```
///
/// A source that begins anew inside an epoch is given another epoch number, so it shuffles anew.
/// Settings that cannot be used are an error of the first epoch.
pub struct Mix<B> {
    pub(crate) strategy: Strategy,
    pub(crate) sources: Vec<Source<B>>,
    order: Option<Vec<String>>,
    pub(crate) stopping: Stopping,
    pub(crate) allow_empty: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    RoundRobin,
    InOrder,
    Random,
}

impl<B> Mix<B> {
    /// A batch of each source in turn.
    pub fn round_robin() -> Self {
        Mix::new(Strategy::RoundRobin)
    }

    /// All batches of the first source, then all of the second, and so on.
    pub fn in_order() -> Self {
        Mix::new(Strategy::InOrder)
    }

    /// A batch of a source drawn at random, each as likely as its weight says.
    pub fn random() -> Self {
        Mix::new(Strategy::Random)
    }

    fn new(strategy: Strategy) -> Self {
        Mix { strategy, sources: vec![], order: None, stopping: Stopping::default(), allow_empty: false }
    }

    /// Adds a source, of weight 1.
    pub fn source(self, name: impl Into<Arc<str>>, data: impl DynData<B> + Send + Sync + 'static) -> Self {
        self.weighted(name, 1.0, data)
    }

    /// Adds a source of some weight, which [`random`](Self::random) draws by. Weights need not sum
    /// to 1.
    pub fn weighted(
        mut self,
        name: impl Into<Arc<str>>,
        weight: f64,
        data: impl DynData<B> + Send + Sync + 'static,
    ) -> Self {
        self.sources.push(Source { name: name.into(), weight, data: Box::new(data) });
        self
    }

    /// The turns of the sources, by name: each at least once. Default: as added. In order, a source
    /// may be named again, and is passed through again.
    pub fn order<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.order = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// When an epoch ends. Default: [`Stopping::AllExhausted`]. In order, that is the only one.
    pub fn until(mut self, stopping: Stopping) -> Self {
        self.stopping = stopping;
        self
    }

    /// Passes over sources that have no batch at all. By default they are an error.
    pub fn allow_empty(mut self) -> Self {
        self.allow_empty = true;
        self
    }

    /// The turns as places of sources.
    fn turns(&self) -> Result<Vec<usize>, BoxError> {
        let Some(order) = &self.order else { return Ok((0..self.sources.len()).collect()) };
        let turns = order.iter().map(|name| {
            let place = self.sources.iter().position(|source| *source.name == **name);
            place.ok_or_else(|| format!("there is no source `{name}` to have a turn").into())
        });
        let turns: Vec<usize> = turns.collect::<Result<_, BoxError>>()?;
        match (0..self.sources.len()).find(|place| !turns.contains(place)) {
            Some(place) => {
                let name = &self.sources[place].name;
                Err(format!("source `{name}` has no turn; name it in the order, or do not add it").into())
            }
            None => Ok(turns),
        }
    }

    /// How many batches are left from turn `turn` on, where that follows from those of the sources.
    pub(crate) fn length(&self, turns: &[usize], turn: u64, lengths: &[Length]) -> Option<u64> {
        match self.strategy {
            Strategy::InOrder => one_by_one(lengths, turns, turn),
            Strategy::RoundRobin => in_turn(lengths, turns, turn, self.stopping),
            Strategy::Random => at_random(lengths, turns, self.stopping),
        }
    }

    fn check(&self, turns: &[usize]) -> Result<(), BoxError> {
        if turns.is_empty() {
            return Err("a mix of no source".into());
        }
        if self.strategy == Strategy::InOrder && self.stopping != Stopping::AllExhausted {
            return Err("sources in order are exhausted one by one: no other stopping rule applies".into());
        }
        for source in &self.sources {
            if !(source.weight > 0.0 && source.weight.is_finite()) {
                return Err(format!(
                    "weight {} of source `{}` cannot be drawn by",
                    source.weight, source.name
                )
                .into());
            }
        }
        let sum: f64 = self.sources.iter().map(|source| source.weight).sum();
        if !sum.is_finite() {
            return Err(format!("weights that sum to {sum} cannot be drawn by").into());
        }
        Ok(())
    }
}

impl<B> Data for Mix<B> {
    type Batch = B;
    type Epoch<'a>
        = MixEpoch<'a, B>
    where
        B: 'a;

    fn epoch(&self, at: At<'_>) -> Result<MixEpoch<'_, B>, BoxError> {
        let turns = self.turns()?;
        self.check(&turns)?;
        MixEpoch::new(self, turns, at)
    }

    fn batches(&self) -> Option<u64> {
        let turns = self.turns().ok()?;
        let lengths = self.sources.iter().map(Source::length).collect::<Option<Vec<_>>>()?;
        self.length(&turns, 0, &lengths)
    }
}

impl<B> std::fmt::Debug for Mix<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.sources.iter().map(|source| &*source.name).collect();
        f.debug_struct("Mix")
            .field("strategy", &self.strategy)
            .field("sources", &names)
            .field("stopping", &self.stopping)
            .finish_non_exhaustive()
    }
}
