//! Ranks that have failed.

use std::thread;
use std::time::Duration;

use regimen_core::BoxError;
use regimen_core::engine::Bucket;
use regimen_core::peers::{PeerLost, Peers};

use super::ensure;

/// If the last rank aborts, the calls of the others that wait for it and those that they make later fail. The errors
/// are [`PeerLost`] and name the rank and the cause.
pub fn an_abort_ends_the_calls_of_the_others(peers: &dyn Peers) -> Result<(), BoxError> {
    let rank = peers.rank();
    peers.gather(&[])?;
    if rank.index + 1 == rank.count {
        // The first rank waits by now, and the second has not called yet.
        thread::sleep(Duration::from_millis(10));
        peers.abort("the disk is full");
        return Ok(());
    }
    if rank.index == 1 {
        thread::sleep(Duration::from_millis(20));
    }
    for call in ["the call under way", "the next call", "the call after that"] {
        let Err(error) = peers.sum(Bucket::F64(&mut [1.0])) else {
            return Err(format!("{call} succeeded after an abort").into());
        };
        let text = error.to_string();
        ensure(PeerLost::is_in(&*error), format!("{call}: no rank counts as lost: {text}"))?;
        let failed = format!("rank {} failed: the disk is full", rank.count - 1);
        ensure(text.contains(&failed), format!("{call}: the error does not say `{failed}`: {text}"))?;
    }
    Ok(())
}
