//! Mixes: several sources as one, a batch of one of them at a time.

mod all;
mod length;
mod sources;
mod stopping;

pub use all::{AllBatches, BatchOfEach};
pub use stopping::Stopping;

use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::data::{At, Data, DynData, Epoch, Fetched, Position};
use regimen_core::random::{Random, keyed};

use self::length::{Length, at_random, in_turn, one_by_one, shorter};
use self::sources::{Exhausted, Source, Sources, opened};
use super::position::{Decoder, Encoder};

/// Batches of several sources of one batch type, one at a time: [`Data`] for a run.
///
/// The order of sources is a pure function of (seed, epoch, batches given), the same on every rank; the
/// position of each source travels with each batch.
///
/// ```
/// use regimen::data::{Mix, Stopping};
/// let books = vec!["b1", "b2"];
/// let web = vec!["w1", "w2", "w3"];
/// let text = Mix::random().weighted("books", 3.0, books).weighted("web", 1.0, web).until(Stopping::WrapAround);
/// ```
///
/// A source that starts over inside an epoch gets another epoch number, so its order is another.
/// Settings that cannot be used are an error of the first epoch.
pub struct Mix<B> {
    strategy: Strategy,
    sources: Vec<Source<B>>,
    order: Option<Vec<String>>,
    stopping: Stopping,
    allow_empty: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strategy {
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

    /// The turns, as indices of sources.
    fn turns(&self) -> Result<Vec<usize>, BoxError> {
        let Some(order) = &self.order else { return Ok((0..self.sources.len()).collect()) };
        let turns = order.iter().map(|name| {
            let index = self.sources.iter().position(|source| *source.name == **name);
            index.ok_or_else(|| format!("there is no source `{name}` to have a turn").into())
        });
        let turns: Vec<usize> = turns.collect::<Result<_, BoxError>>()?;
        match (0..self.sources.len()).find(|index| !turns.contains(index)) {
            Some(index) => {
                let name = &self.sources[index].name;
                Err(format!("source `{name}` has no turn; name it in the order, or do not add it").into())
            }
            None => Ok(turns),
        }
    }

    /// The batches left from turn `turn` on. Returns `None` if they do not follow from those of the
    /// sources.
    fn length(&self, turns: &[usize], turn: u64, lengths: &[Length]) -> Option<u64> {
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

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = B>, BoxError> {
        let turns = self.turns()?;
        self.check(&turns)?;
        MixEpoch::new(self, turns, &at)
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

/// One epoch of a mix.
struct MixEpoch<'a, B> {
    mix: &'a Mix<B>,
    sources: Sources<'a, B>,
    turns: Vec<usize>,
    /// Turns had: by batches given or sources passed over.
    turn: u64,
    key: u64,
}

impl<'a, B> MixEpoch<'a, B> {
    /// The epoch that `at` names, or the rest of it.
    fn new(mix: &'a Mix<B>, turns: Vec<usize>, at: &At) -> Result<Self, BoxError> {
        let sources = opened(&mix.sources, at, mix.stopping, mix.allow_empty)?;
        let key = keyed(at.seed, "mix", at.epoch, 0);
        let mut epoch = MixEpoch { mix, sources, turns, turn: 0, key };
        if let Some(position) = &at.position {
            let mut position = Decoder::new(position);
            epoch.turn = position.number()?;
            epoch.sources.restore(&mut position)?;
            position.end()?;
        } else {
            for number in 0..at.skip {
                epoch.draw()?.ok_or_else(|| shorter(at.skip, number))?;
            }
        }
        Ok(epoch)
    }

    fn draw(&mut self) -> Result<Option<Fetched<B>>, BoxError> {
        while let Some(index) = self.next_source() {
            if let Some(fetched) = self.sources.next(index)? {
                self.turn += u64::from(self.mix.strategy != Strategy::InOrder);
                return Ok(Some(fetched));
            }
            match (self.mix.strategy, self.sources.exhausted(index)) {
                (Strategy::InOrder, _) => self.turn += 1,
                (_, Exhausted::Stop) => break,
                (_, Exhausted::GoOn) => {}
            }
        }
        Ok(None)
    }

    /// The source whose turn it is, or `None` at the end.
    fn next_source(&mut self) -> Option<usize> {
        let turns = self.turns.len() as u64;
        match self.mix.strategy {
            Strategy::InOrder => self.turns.get(usize::try_from(self.turn).ok()?).copied(),
            Strategy::RoundRobin => {
                let turn = (self.turn..self.turn + turns)
                    .find(|turn| self.sources.in_play(self.turns[(turn % turns) as usize]))?;
                self.turn = turn;
                Some(self.turns[(turn % turns) as usize])
            }
            Strategy::Random => {
                let in_play = || self.turns.iter().copied().filter(|&index| self.sources.in_play(index));
                let total: f64 = in_play().map(|index| self.sources.weight(index)).sum();
                let mut drawn = Random::new(keyed(self.key, "draw", 0, self.turn)).uniform() * total;
                let drawn = in_play().find(|&index| {
                    drawn -= self.sources.weight(index);
                    drawn < 0.0
                });
                // Rounding may leave a rest, which is the last one's.
                drawn.or_else(|| in_play().next_back())
            }
        }
    }

    fn position(&self) -> Position {
        self.sources.save(Encoder::default().number(self.turn)).finish()
    }
}

impl<B> Epoch for MixEpoch<'_, B> {
    type Batch = B;

    fn next(&mut self) -> Option<Result<Fetched<B>, BoxError>> {
        let fetched = self.draw().transpose()?;
        Some(fetched.map(|fetched| Fetched { position: Some(self.position()), ..fetched }))
    }

    fn batches_left(&self) -> Option<u64> {
        self.mix.length(&self.turns, self.turn, &self.sources.lengths()?)
    }

    fn notice(&mut self) -> Option<String> {
        self.sources.notice()
    }
}
