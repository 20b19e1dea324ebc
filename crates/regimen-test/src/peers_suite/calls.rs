//! Calls of bytes, and the order of calls.

use std::thread;
use std::time::Duration;

use regimen_core::BoxError;
use regimen_core::engine::Bucket;
use regimen_core::peers::{PeerLost, Peers};

use super::ensure;

/// Every rank has an index of its own, below the count, and all have the same count.
pub fn each_rank_has_its_index(peers: &dyn Peers) -> Result<(), BoxError> {
    let rank = peers.rank();
    let own = format!("{} of {}", rank.index, rank.count);
    let found: Vec<String> =
        peers.gather(own.as_bytes())?.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
    let expected: Vec<String> = (0..rank.count).map(|index| format!("{index} of {}", rank.count)).collect();
    ensure(found == expected, format!("the ranks are {found:?}, and not {expected:?}"))
}

/// A gather returns the bytes of every rank in their order, for any lengths.
pub fn bytes_are_gathered_in_the_order_of_ranks(peers: &dyn Peers) -> Result<(), BoxError> {
    let rank = peers.rank();
    for length in [0, 1, 1_000, 300_000] {
        // The last rank gives nothing, and each of the others more than the next.
        let of = |index: u64| vec![index as u8; length * (rank.count - 1 - index) as usize];
        let found = peers.gather(&of(rank.index))?;
        let right = found == (0..rank.count).map(of).collect::<Vec<_>>();
        let lengths: Vec<usize> = found.iter().map(Vec::len).collect();
        ensure(right, format!("bytes of other ranks, or in another order: lengths {lengths:?}"))?;
    }
    Ok(())
}

/// A broadcast overwrites the bytes of all with those of rank 0, for any length.
pub fn a_broadcast_is_of_the_first_rank(peers: &dyn Peers) -> Result<(), BoxError> {
    for length in [0, 1, 8, 300_000] {
        let mut bytes = vec![peers.rank().index as u8 + 7; length];
        peers.broadcast(&mut bytes)?;
        ensure(bytes.iter().all(|&byte| byte == 7), format!("{length} bytes are not those of rank 0"))?;
    }
    Ok(())
}

/// A commit succeeds if all ranks make it.
pub fn a_commit_succeeds_on_all(peers: &dyn Peers) -> Result<(), BoxError> {
    peers.commit()
}

/// Fast and slow ranks make hundred calls of all kinds, and no call gets the values of another.
pub fn calls_follow_each_other_at_any_pace(peers: &dyn Peers) -> Result<(), BoxError> {
    let rank = peers.rank();
    for n in 0..100 {
        // Another rank is the last to come at each call.
        if n % rank.count == rank.index {
            thread::sleep(Duration::from_millis(n % 2));
        }
        let mut values = [n as f32, rank.index as f32];
        peers.sum(Bucket::F32(&mut values))?;
        let indices = (0..rank.count).sum::<u64>();
        let expected = [(n * rank.count) as f32, indices as f32];
        ensure(values == expected, format!("sum {n} is {values:?}, and not {expected:?}"))?;
        let all = peers.gather(&[n as u8])?;
        ensure(all.iter().all(|bytes| *bytes == [n as u8]), format!("gather {n} is {all:?}"))?;
        let mut first = (n + rank.index).to_le_bytes();
        peers.broadcast(&mut first)?;
        let first = u64::from_le_bytes(first);
        ensure(first == n, format!("broadcast {n} is {first}"))?;
        peers.commit()?;
    }
    Ok(())
}

/// If the last rank makes another call than the others, or one of another length, it is an error on all ranks that
/// names that rank. No rank counts as lost, and the next call can be made.
pub fn calls_that_differ_are_an_error_on_all(peers: &dyn Peers) -> Result<(), BoxError> {
    let rank = peers.rank();
    if rank.count == 1 {
        return Ok(());
    }
    let last = rank.index + 1 == rank.count;
    let sum32 = |length: usize| peers.sum(Bucket::F32(&mut vec![1.0; length]));
    let sum64 = |length: usize| peers.sum(Bucket::F64(&mut vec![1.0; length]));
    let gather = |length: usize| peers.gather(&vec![1; length]).map(drop);
    let broadcast = |length: usize| peers.broadcast(&mut vec![1; length]);
    let results = [
        ("sums of 4 and 5 numbers", if last { sum32(5) } else { sum32(4) }),
        ("sums of 4 and 0 numbers", if last { sum64(0) } else { sum64(4) }),
        ("sums in two types", if last { sum64(4) } else { sum32(4) }),
        ("broadcasts of 8 and 9 bytes", if last { broadcast(9) } else { broadcast(8) }),
        ("a sum and a gather", if last { gather(16) } else { sum32(4) }),
        ("a gather and a broadcast", if last { broadcast(4) } else { gather(4) }),
        ("a broadcast and a sum", if last { sum64(1) } else { broadcast(8) }),
    ];
    for (what, result) in results {
        let Err(error) = result else { return Err(format!("{what} are no error").into()) };
        let text = error.to_string();
        let named = text.contains(&format!("rank {}", rank.count - 1));
        ensure(named, format!("{what}: the error does not name the last rank: {text}"))?;
        ensure(!PeerLost::is_in(&*error), format!("{what}: a rank counts as lost: {text}"))?;
    }
    let mut sum = [1.0];
    peers.sum(Bucket::F64(&mut sum))?;
    ensure(sum == [rank.count as f64], format!("the sum after calls that differ is {sum:?}"))
}
