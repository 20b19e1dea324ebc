//! Ranks that are threads of one process.

use std::iter::Sum;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use regimen_core::BoxError;
use regimen_core::data::Rank;
use regimen_core::engine::Bucket;
use regimen_core::peers::{PeerLost, Peers};

use super::Call;

/// Ranks that are threads of one process. See also [`on_ranks`](super::on_ranks).
///
/// A sum adds rank 1 to rank 0, then rank 2, and so on. It allocates only at the first call of its kind and length.
/// Ranks that make calls which do not go together get an error that lists all calls, and can go on. A rank that waits
/// longer than the patience gets a [`PeerLost`] with its call and the missing ranks. All later calls of every rank
/// fail with the same text.
#[derive(Debug)]
pub struct Threads {
    shared: Arc<Shared>,
    rank: Rank,
}

#[derive(Debug)]
struct Shared {
    board: Mutex<Board>,
    changed: Condvar,
    patience: Duration,
}

/// The call under way, and the results of the last one. These are read before the last rank comes to the next call.
#[derive(Debug, Default)]
struct Board {
    slots: Vec<Slot>,
    /// Number of calls that all ranks have made.
    round: u64,
    sum_f32: Vec<f32>,
    sum_f64: Vec<f64>,
    gathered: Vec<Vec<u8>>,
    disagreement: Option<String>,
    lost: Option<PeerLost>,
}

/// The part of one rank. The buffers are kept, so that no call allocates twice.
#[derive(Debug, Default)]
struct Slot {
    call: Option<Call>,
    f32: Vec<f32>,
    f64: Vec<f64>,
    bytes: Vec<u8>,
}

impl Threads {
    /// `count` ranks, each for a thread of its own, in their order. A call waits for the others no longer than
    /// `patience`.
    pub fn of(count: u64, patience: Duration) -> Vec<Arc<Threads>> {
        let slots = (0..count).map(|_| Slot::default()).collect();
        let board = Mutex::new(Board { slots, ..Board::default() });
        let shared = Arc::new(Shared { board, changed: Condvar::new(), patience });
        let rank = |index| Threads { shared: shared.clone(), rank: Rank { index, count } };
        (0..count).map(|index| Arc::new(rank(index))).collect()
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.shared.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the part of this rank in `call`, waits for the others, and returns the results.
    fn meet(&self, call: Call, give: impl FnOnce(&mut Slot)) -> Result<MutexGuard<'_, Board>, BoxError> {
        let Shared { changed, patience, .. } = &*self.shared;
        let mut board = self.board();
        if let Some(lost) = &board.lost {
            return Err(lost.clone().into());
        }
        let round = board.round;
        let slot = &mut board.slots[self.rank.index as usize];
        slot.call = Some(call);
        give(slot);
        if board.slots.iter().all(|slot| slot.call.is_some()) {
            board.complete();
            changed.notify_all();
        }
        let waits = |board: &mut Board| board.round == round && board.lost.is_none();
        let waited = changed.wait_timeout_while(board, *patience, waits);
        let (mut board, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if board.round == round {
            let lost = board.lost.clone().unwrap_or_else(|| {
                let missing: Vec<String> = board.missing().map(|rank| rank.to_string()).collect();
                let ranks = if missing.len() == 1 { "rank" } else { "ranks" };
                let missing = missing.join(", ");
                PeerLost::new(format!("{call}: {ranks} {missing} did not come within {patience:?}"))
            });
            board.lost = Some(lost.clone());
            changed.notify_all();
            return Err(lost.into());
        }
        match board.disagreement.clone() {
            Some(disagreement) => Err(disagreement.into()),
            None => Ok(board),
        }
    }
}

impl Board {
    fn missing(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().enumerate().filter(|(_, slot)| slot.call.is_none()).map(|(rank, _)| rank)
    }

    /// Makes the results of a call to which all ranks have come.
    fn complete(&mut self) {
        let Board { slots, sum_f32, sum_f64, gathered, .. } = self;
        let calls = || slots.iter().filter_map(|slot| slot.call);
        let first = calls().next().unwrap_or(Call::Commit);
        self.disagreement = calls().any(|call| !call.goes_with(first)).then(|| {
            let calls: Vec<String> =
                calls().enumerate().map(|(rank, call)| format!("{call} on rank {rank}")).collect();
            format!("the ranks make different calls: {}", calls.join(", "))
        });
        if self.disagreement.is_none() {
            match first {
                Call::SumF32(length) => {
                    add_up(sum_f32, length, |i| slots.iter().map(move |slot| slot.f32[i]))
                }
                Call::SumF64(length) => {
                    add_up(sum_f64, length, |i| slots.iter().map(move |slot| slot.f64[i]))
                }
                Call::Gather(_) | Call::Broadcast(_) => {
                    gathered.resize_with(slots.len(), Vec::new);
                    gathered.iter_mut().zip(slots).for_each(|(to, slot)| to.clone_from(&slot.bytes));
                }
                Call::Commit => {}
            }
        }
        self.slots.iter_mut().for_each(|slot| slot.call = None);
        self.round += 1;
    }
}

/// Overwrites `sums` with the sum of each element, in the order of `of`.
fn add_up<T: Sum, I: Iterator<Item = T>>(sums: &mut Vec<T>, length: usize, of: impl Fn(usize) -> I) {
    sums.clear();
    sums.extend((0..length).map(|i| of(i).sum::<T>()));
}

fn overwrite<T: Copy>(buffer: &mut Vec<T>, values: &[T]) {
    buffer.clear();
    buffer.extend_from_slice(values);
}

impl Peers for Threads {
    fn rank(&self) -> Rank {
        self.rank
    }

    fn sum(&self, values: Bucket<'_>) -> Result<(), BoxError> {
        let call = Call::sum(&values)?;
        match values {
            Bucket::F32(values) => {
                let board = self.meet(call, |slot| overwrite(&mut slot.f32, values))?;
                values.copy_from_slice(&board.sum_f32);
            }
            Bucket::F64(values) => {
                let board = self.meet(call, |slot| overwrite(&mut slot.f64, values))?;
                values.copy_from_slice(&board.sum_f64);
            }
            other => return Err(other.refused()),
        }
        Ok(())
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, BoxError> {
        let board = self.meet(Call::Gather(own.len()), |slot| overwrite(&mut slot.bytes, own))?;
        Ok(board.gathered.clone())
    }

    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), BoxError> {
        let board = self.meet(Call::Broadcast(bytes.len()), |slot| overwrite(&mut slot.bytes, bytes))?;
        bytes.copy_from_slice(&board.gathered[0]);
        Ok(())
    }

    fn commit(&self) -> Result<(), BoxError> {
        self.meet(Call::Commit, |_| ()).map(drop)
    }

    fn abort(&self, why: &str) {
        let lost = PeerLost::new(format!("rank {} failed: {why}", self.rank.index));
        self.board().lost.get_or_insert(lost);
        self.shared.changed.notify_all();
    }
}
