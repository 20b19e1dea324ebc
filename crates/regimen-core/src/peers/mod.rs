//! The trait of peers: the processes that train together.

mod agreed;
mod peer_lost;
mod wire;

use std::fmt;

pub use agreed::AgreedError;
pub use peer_lost::PeerLost;

use crate::BoxError;
use crate::data::Rank;
use crate::engine::Bucket;
use crate::error::{Place, WithCauses};
use crate::saved::StateDict;

/// The processes that train together with this one: given to [`Run::peers`](crate::Run::peers). The crate
/// `regimen-dist` has implementations.
///
/// Each call but [`rank`](Peers::rank) and [`abort`](Peers::abort) is a collective: every rank makes it, in the
/// same order, and it returns on each when all have made it. It never waits forever. If a rank is gone or has
/// [failed](Peers::abort), the call is a [`PeerLost`] on all others. If ranks make different calls, or
/// calls of different lengths where these must be equal, it is an error on all that names the ranks. After such an
/// error the ranks can go on.
///
/// A collective is called by one thread at a time.
pub trait Peers: fmt::Debug + Send + Sync {
    /// The rank of this process, and the number of ranks. They change only if the ranks that are left after a loss close
    /// up, between two calls of a run.
    fn rank(&self) -> Rank;

    /// Adds up `values` over all ranks, element by element, in an order that depends on the number of ranks and
    /// the length alone. Each rank gets the same bits. The length is the same on all.
    ///
    /// A bucket on a device is an error unless the peers [take it](Peers::takes_device). Then it also must be of the
    /// type that they know.
    fn sum(&self, values: Bucket<'_>) -> Result<(), BoxError>;

    /// Whether [`sum`](Peers::sum) takes buckets on a [device](Bucket::Device). The same on all ranks. The default is
    /// `false`.
    fn takes_device(&self) -> bool {
        false
    }

    /// Returns the bytes that each rank gives, in the order of the ranks. Their lengths may differ.
    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, BoxError>;

    /// Overwrites `bytes` with those of rank 0. The length is the same on all.
    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), BoxError>;

    /// Returns `Ok` on every rank that lives, or on none. It is called before a change that cannot be taken
    /// back, such as the step of the optimizer. The default is for transports that lose all ranks with one, and
    /// does nothing.
    fn commit(&self) -> Result<(), BoxError> {
        Ok(())
    }

    /// Whether the ranks that are left can go on after a [`PeerLost`], as `survive` of `regimen-dist` has them do. Then
    /// a run keeps what it needs to [go back](crate::Run::rewind), and a save for the post-mortem of a lost rank is
    /// not made. The same on all ranks and for all time. The default is `false`.
    fn is_elastic(&self) -> bool {
        false
    }

    /// Notes the place in the run of the calls that follow. The loop does so before each step. A transport names the
    /// place in the message about a call that waits too long. The default does nothing.
    fn note_place(&self, _: Place) {}

    /// Tells the others that this rank has failed: their calls, those under way included, fail with a
    /// [`PeerLost`] that names this rank and `why`. Without effect if a rank was lost before.
    fn abort(&self, why: &str);
}

impl dyn Peers + '_ {
    /// Whether `value` is true on rank 0.
    pub fn ask_first(&self, value: bool) -> Result<bool, BoxError> {
        let mut byte = [u8::from(value)];
        self.broadcast(&mut byte)?;
        Ok(byte[0] != 0)
    }

    /// The text of rank 0.
    pub fn text_of_first(&self, text: &str) -> Result<String, BoxError> {
        let own = if self.rank().is_first() { text } else { "" };
        let all = self.gather(own.as_bytes())?;
        Ok(String::from_utf8_lossy(all.first().map_or(&[], |first| first)).into_owned())
    }

    /// Returns `result` if it is `Ok` on every rank, and otherwise the same error on each: that of the first rank that
    /// has one: an [`AgreedError`]. Every rank calls it.
    pub fn agree<R>(&self, result: Result<R, BoxError>) -> Result<R, BoxError> {
        let own = match &result {
            Ok(_) => Vec::new(),
            Err(cause) => format!("rank {}: {}", self.rank().index, WithCauses(&**cause)).into_bytes(),
        };
        let all = self.gather(&own)?;
        match all.iter().find(|text| !text.is_empty()) {
            None => result,
            Some(text) => Err(AgreedError::new(String::from_utf8_lossy(text)).into()),
        }
    }

    /// Returns the state that each rank gives, in the order of the ranks.
    pub fn gather_states(&self, own: &StateDict) -> Result<Vec<StateDict>, BoxError> {
        self.gather(&wire::encode(own))?.iter().map(|bytes| wire::decode(bytes)).collect()
    }

    /// Returns, on rank 0, the state that each rank gives, in the order of the ranks. The other ranks do not read them,
    /// and have an empty list.
    pub fn states_at_first(&self, own: &StateDict) -> Result<Vec<StateDict>, BoxError> {
        let all = self.gather(&wire::encode(own))?;
        match self.rank().is_first() {
            true => all.iter().map(|bytes| wire::decode(bytes)).collect(),
            false => Ok(Vec::new()),
        }
    }

    /// Returns the state of rank 0. Those of the other ranks are not read.
    pub fn state_of_first(&self, own: &StateDict) -> Result<StateDict, BoxError> {
        let mut bytes = if self.rank().is_first() { wire::encode(own) } else { Vec::new() };
        let mut length = (bytes.len() as u64).to_le_bytes();
        self.broadcast(&mut length)?;
        bytes.resize(usize::try_from(u64::from_le_bytes(length))?, 0);
        self.broadcast(&mut bytes)?;
        wire::decode(&bytes)
    }
}
