//! A mix while it is read: whose turn it is, and where that stands.

use regimen_core::BoxError;
use regimen_core::data::{At, Epoch, Fetched, Position};
use regimen_core::random::{Random, keyed};

use super::length::shorter;
use super::source::{Exhausted, Sources, opened};
use super::{Mix, Strategy};
use crate::data::position::{Decoder, Encoder};

/// One epoch of a [`Mix`](crate::data::Mix).
pub struct MixEpoch<'a, B> {
    mix: &'a Mix<B>,
    sources: Sources<'a, B>,
    turns: Vec<usize>,
    /// Turns had: by batches given or sources passed over.
    turn: u64,
    key: u64,
}

impl<'a, B> MixEpoch<'a, B> {
    /// The epoch that `at` names, or what is left of it.
    pub(crate) fn new(mix: &'a Mix<B>, turns: Vec<usize>, at: At<'_>) -> Result<Self, BoxError> {
        let sources = opened(&mix.sources, at, mix.stopping, mix.allow_empty)?;
        let key = keyed(at.seed, "mix", at.epoch, 0);
        let mut epoch = MixEpoch { mix, sources, turns, turn: 0, key };
        if let Some(position) = at.position {
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
        while let Some(place) = self.place() {
            if let Some(fetched) = self.sources.next(place)? {
                self.turn += u64::from(self.mix.strategy != Strategy::InOrder);
                return Ok(Some(fetched));
            }
            match (self.mix.strategy, self.sources.exhausted(place)) {
                (Strategy::InOrder, _) => self.turn += 1,
                (_, Exhausted::Stop) => break,
                (_, Exhausted::GoOn) => {}
            }
        }
        Ok(None)
    }

    /// Whose turn it is; nobody's at the end.
    fn place(&mut self) -> Option<usize> {
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
                let in_play = || self.turns.iter().copied().filter(|&place| self.sources.in_play(place));
                let total: f64 = in_play().map(|place| self.sources.weight(place)).sum();
                let mut drawn = Random::new(keyed(self.key, "draw", 0, self.turn)).uniform() * total;
                let drawn = in_play().find(|&place| {
                    drawn -= self.sources.weight(place);
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

impl<B> std::fmt::Debug for MixEpoch<'_, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MixEpoch").field("mix", self.mix).field("turn", &self.turn).finish()
    }
}
