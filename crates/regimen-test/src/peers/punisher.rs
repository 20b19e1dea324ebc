//! A rank that ends, hangs or comes late at a chosen call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use regimen_core::BoxError;
use regimen_core::data::Rank;
use regimen_core::engine::Bucket;
use regimen_core::error::Place;
use regimen_core::peers::{PeerLost, Peers};

/// Peers of which this rank is punished at a chosen call. Until then it is as the others.
///
/// ```
/// use std::time::Duration;
///
/// use regimen_core::peers::Peers;
/// use regimen_test::peers::{Collective, Punisher, Punishment, Threads, on_ranks};
///
/// let errors = on_ranks(Threads::of(2, Duration::from_secs(1)), |peers| {
///     let dies = peers.rank().index == 1;
///     let peers = Punisher::new(peers);
///     let peers = if dies { peers.at(Collective::Commit, 2, Punishment::Kill) } else { peers };
///     peers.commit().unwrap();
///     peers.commit().unwrap_err().to_string()
/// });
/// let [first, second] = [Ok("commit: rank 1 did not come within 1s"), Ok("rank 1 is dead")];
/// assert_eq!(errors, [first, second].map(|error: Result<&str, String>| error.map(str::to_owned)));
/// ```
#[derive(Debug)]
pub struct Punisher {
    peers: Arc<dyn Peers>,
    /// The chosen call, and the number of its calls that are still to come, this one included.
    plan: Option<(Collective, AtomicU64, Punishment)>,
    dead: AtomicBool,
}

/// The punishment of a rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Punishment {
    /// The rank is dead: this call and all later ones fail and do not reach the others, nor does an abort.
    Kill,
    /// The call never returns and does not reach the others. For threads that are not waited for, and for processes.
    Hang,
    /// The call comes later by this time.
    Delay(Duration),
}

/// A kind of [collective](Peers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collective {
    /// [`Peers::sum`].
    Sum,
    /// [`Peers::gather`].
    Gather,
    /// [`Peers::broadcast`].
    Broadcast,
    /// [`Peers::commit`].
    Commit,
    /// Any of them.
    Any,
}

impl Punisher {
    /// `peers`, of which no rank is punished yet.
    pub fn new(peers: Arc<dyn Peers>) -> Self {
        Punisher { peers, plan: None, dead: AtomicBool::new(false) }
    }

    /// Punishes this rank at its `n`-th call of this kind, counted from 1. The last such setting counts.
    pub fn at(self, call: Collective, n: u64, punishment: Punishment) -> Self {
        assert!(n > 0, "calls are counted from 1");
        Punisher { plan: Some((call, AtomicU64::new(n), punishment)), ..self }
    }

    fn before(&self, call: Collective) -> Result<(), BoxError> {
        if let Some((chosen, left, punishment)) = &self.plan
            && (*chosen == call || *chosen == Collective::Any)
            && left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            match punishment {
                Punishment::Kill => self.dead.store(true, Ordering::Relaxed),
                Punishment::Hang => loop {
                    thread::park();
                },
                Punishment::Delay(time) => thread::sleep(*time),
            }
        }
        match self.dead.load(Ordering::Relaxed) {
            true => Err(PeerLost::new(format!("rank {} is dead", self.rank().index)).into()),
            false => Ok(()),
        }
    }
}

impl Peers for Punisher {
    fn rank(&self) -> Rank {
        self.peers.rank()
    }

    fn sum(&self, values: Bucket<'_>) -> Result<(), BoxError> {
        self.before(Collective::Sum)?;
        self.peers.sum(values)
    }

    /// As the peers do: a bucket is passed on as it is.
    fn takes_device(&self) -> bool {
        self.peers.takes_device()
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, BoxError> {
        self.before(Collective::Gather)?;
        self.peers.gather(own)
    }

    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), BoxError> {
        self.before(Collective::Broadcast)?;
        self.peers.broadcast(bytes)
    }

    fn commit(&self) -> Result<(), BoxError> {
        self.before(Collective::Commit)?;
        self.peers.commit()
    }

    fn is_elastic(&self) -> bool {
        self.peers.is_elastic()
    }

    fn note_place(&self, place: Place) {
        self.peers.note_place(place);
    }

    fn abort(&self, why: &str) {
        if !self.dead.load(Ordering::Relaxed) {
            self.peers.abort(why);
        }
    }
}
