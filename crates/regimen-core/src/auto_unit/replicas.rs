//! Replicas: the same weights, statistics and optimizer on every rank.

use super::AutoUnit;
use crate::engine::{Bucket, Engine, Part};
use crate::peers::Peers;
use crate::saved::Array;
use crate::{BoxError, State, Task};

impl<E: Engine, T: Task<E>> AutoUnit<E, T> {
    /// A call starts: the weights of a run without a step become those of rank 0, and those of any other run must
    /// be alike.
    pub(super) fn unite(&mut self, state: &State) -> Result<(), BoxError> {
        let Some(peers) = state.peers() else { return Ok(()) };
        if state.train_progress().steps == 0 {
            let first = peers.state_of_first(&self.engine.state(Part::Module)?)?;
            self.engine.load_state(Part::Module, &first)?;
        }
        self.compare(&**peers)
    }

    /// Compares the replicas if a comparison is due before this step.
    pub(super) fn compare_if_due(&mut self, state: &State) -> Result<(), BoxError> {
        match (state.peers(), self.settings.compare_replicas) {
            (Some(peers), Some(updates)) if !self.window.is_open() && self.count.updates > 0 => {
                if self.count.updates.is_multiple_of(updates) { self.compare(&**peers) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// Compares weights and optimizer with those of rank 0. The shares of an optimizer differ.
    fn compare(&self, peers: &dyn Peers) -> Result<(), BoxError> {
        let mut names = Vec::new();
        let mut prints = Vec::new();
        let parts = [(Part::Module, "module"), (Part::Optimizer, "optimizer")];
        let compared = if self.settings.shards_optimizer { &parts[..1] } else { &parts };
        for &(part, of) in compared {
            for (name, array) in self.engine.state(part)?.iter() {
                names.push(format!("`{name}` of the {of}"));
                prints.extend(fingerprint(name, array).to_le_bytes());
            }
        }
        let all = peers.gather(&prints)?;
        let Some((first, others)) = all.split_first() else { return Ok(()) };
        let Some(rank) = others.iter().position(|prints| prints != first) else { return Ok(()) };
        let [first, other] = [first, &others[rank]].map(|prints| prints.as_chunks::<8>().0);
        let differs = first.iter().zip(other).position(|(first, other)| first != other);
        let what = match differs.and_then(|n| names.get(n)) {
            Some(name) if first.len() == other.len() => format!("{name} is another there"),
            _ => format!("it has {} arrays, and rank 0 has {}", other.len(), first.len()),
        };
        Err(format!(
            "rank {} is no replica of rank 0: {what}; restore the same checkpoint on all ranks",
            rank + 1
        )
        .into())
    }
}

/// Makes the running statistics the mean over all ranks, by the weights of their batches. Returns whether there are
/// any.
pub(super) fn average_buffers(
    engine: &mut impl Engine,
    peers: &dyn Peers,
    weight: f64,
) -> Result<bool, BoxError> {
    let mut has_buffers = false;
    engine.exchange_buffers(&mut |bucket| {
        has_buffers = true;
        let Bucket::F64(flat) = bucket else {
            return Err("the engine passes buffers that are not in double precision".into());
        };
        let mut total = [weight];
        peers.sum(Bucket::F64(&mut total))?;
        // Without any weight, no rank has changed them.
        if total[0] == 0.0 {
            return Ok(());
        }
        match weight / total[0] {
            // An infinity times 0 would be NaN.
            0.0 => flat.fill(0.0),
            share => flat.iter_mut().for_each(|element| *element *= share),
        }
        peers.sum(Bucket::F64(flat))
    })?;
    Ok(has_buffers)
}

/// FNV-1a over the name, and over the bytes of the array 8 at a time.
fn fingerprint(name: &str, array: &Array) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    let mut add = |word: u64| hash = (hash ^ word).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(23);
    name.bytes().for_each(|byte| add(byte.into()));
    array.shape().iter().for_each(|&size| add(size as u64));
    let (words, rest) = array.bytes().as_chunks::<8>();
    words.iter().for_each(|word| add(u64::from_le_bytes(*word)));
    rest.iter().for_each(|&byte| add(byte.into()));
    hash
}
