//! The data of a case, which may fail.

use regimen::BoxError;
use regimen::data::{At, Data, Epoch, Fetched, Position};

use super::case::{Item, Reading};
use super::world::{Place, Shared};

/// Batches in a new order per epoch, except in manual passes.
pub(super) struct Batches<'c> {
    pub(super) items: &'c [Item],
    pub(super) reading: Reading,
    /// Shift of the order per epoch.
    pub(super) turn: u64,
    pub(super) shared: Shared,
}

impl Data for Batches<'_> {
    type Batch = Item;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = Item>, BoxError> {
        self.shared.visit(Place::Data("epoch"))?;
        let mut done = at.skip;
        if self.reading == Reading::Positioned {
            let bytes = at.position.as_ref().map_or(Ok([0; 8]), |position| position.as_bytes().try_into())?;
            done = u64::from_le_bytes(bytes);
            if done != at.skip {
                return Err(format!("at position {done} after {} batches", at.skip).into());
            }
        }
        Ok(Reader { batches: self, turned: self.turn * (at.epoch + at.seed), done })
    }

    fn batches(&self) -> Option<u64> {
        (self.reading == Reading::Counted).then_some(self.items.len() as u64)
    }
}

struct Reader<'a> {
    batches: &'a Batches<'a>,
    turned: u64,
    done: u64,
}

impl Epoch for Reader<'_> {
    type Batch = Item;

    fn next(&mut self) -> Option<Result<Fetched<Item>, BoxError>> {
        let Batches { items, reading, shared, .. } = self.batches;
        let n = items.len() as u64;
        if n <= self.done {
            return None;
        }
        if let Err(error) = shared.visit(Place::Data("next")) {
            return Some(Err(error));
        }
        let item = items[((self.done + self.turned) % n) as usize];
        self.done += 1;
        let mut fetched = Fetched::new(item, 1 + item.0 % 3);
        if *reading == Reading::Positioned {
            fetched.position = Some(Position::new(&self.done.to_le_bytes()));
        }
        Some(Ok(fetched))
    }
}
