//! Values between ranks. Every function is a collective: all ranks call it, in the same order.

use regimen_core::BoxError;
use regimen_core::engine::Bucket;
use regimen_core::error::WithCauses;
use regimen_core::peers::Peers;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Returns the value that each rank gives, in the order of the ranks.
///
/// ```
/// use regimen_dist::{Solo, gather};
///
/// let names = gather(&Solo, &"digits".to_owned())?; // one per rank
/// assert_eq!(names, ["digits"]);
/// # Ok::<(), regimen_core::BoxError>(())
/// ```
///
/// If the value of one rank cannot be serialized, it is an error on all, which names the rank.
pub fn gather<T: Serialize + DeserializeOwned>(peers: &dyn Peers, own: &T) -> Result<Vec<T>, BoxError> {
    let all = peers.gather(&encode(Ok(own)))?;
    all.iter().enumerate().map(|(rank, bytes)| decode(rank, bytes)).collect()
}

/// Returns the value of rank 0.
pub fn broadcast<T: Serialize + DeserializeOwned>(peers: &dyn Peers, own: &T) -> Result<T, BoxError> {
    broadcast_bytes(peers, || encode(Ok(own)))
}

/// Calls `make` on rank 0 alone, and returns its value on every rank. Its error is an error on all.
///
/// ```no_run
/// use regimen_dist::{init, on_first};
///
/// let peers = init()?;
/// // One rank reads the file.
/// let vocabulary: String = on_first(&*peers, || Ok(std::fs::read_to_string("vocabulary.txt")?))?;
/// # Ok::<(), regimen_core::BoxError>(())
/// ```
pub fn on_first<T: Serialize + DeserializeOwned>(
    peers: &dyn Peers,
    make: impl FnOnce() -> Result<T, BoxError>,
) -> Result<T, BoxError> {
    broadcast_bytes(peers, || encode(make().as_ref()))
}

/// Returns when every rank has called it.
pub fn barrier(peers: &dyn Peers) -> Result<(), BoxError> {
    peers.broadcast(&mut [])
}

/// The number of ranks with a `vote` that is true.
pub fn count_true(peers: &dyn Peers, vote: bool) -> Result<u64, BoxError> {
    let mut count = [f64::from(vote)];
    peers.sum(Bucket::F64(&mut count))?;
    Ok(count[0] as u64)
}

/// Whether `vote` is true on every rank.
pub fn all_true(peers: &dyn Peers, vote: bool) -> Result<bool, BoxError> {
    Ok(count_true(peers, vote)? == peers.rank().count)
}

/// Whether `vote` is true on at least one rank.
pub fn any_true(peers: &dyn Peers, vote: bool) -> Result<bool, BoxError> {
    Ok(count_true(peers, vote)? > 0)
}

fn broadcast_bytes<T: DeserializeOwned>(
    peers: &dyn Peers,
    encoded: impl FnOnce() -> Vec<u8>,
) -> Result<T, BoxError> {
    let mut bytes = if peers.rank().is_first() { encoded() } else { Vec::new() };
    let mut length = (bytes.len() as u64).to_le_bytes();
    peers.broadcast(&mut length)?;
    bytes.resize(usize::try_from(u64::from_le_bytes(length))?, 0);
    peers.broadcast(&mut bytes)?;
    decode(0, &bytes)
}

/// First byte of a message with a value, in MessagePack, or with the text of an error. An error is sent like a value,
/// so that no rank waits for one that never comes.
const VALUE: u8 = 0;
const ERROR: u8 = 1;

fn encode<T: Serialize>(value: Result<&T, &BoxError>) -> Vec<u8> {
    let mut bytes = vec![VALUE];
    let written = match value {
        // With the names of fields, as some may be left out.
        Ok(value) => rmp_serde::encode::write_named(&mut bytes, value)
            .map_err(|error| format!("the value cannot be sent to other ranks: {error}")),
        Err(error) => Err(WithCauses(&**error).to_string()),
    };
    if let Err(text) = written {
        bytes = vec![ERROR];
        bytes.extend(text.as_bytes());
    }
    bytes
}

fn decode<T: DeserializeOwned>(rank: usize, bytes: &[u8]) -> Result<T, BoxError> {
    match bytes.split_first() {
        Some((&VALUE, value)) => rmp_serde::from_slice(value)
            .map_err(|error| format!("the value of rank {rank} is of another type: {error}").into()),
        Some((_, text)) => Err(format!("rank {rank}: {}", String::from_utf8_lossy(text)).into()),
        None => Err(format!("the value of rank {rank} is empty: it was not sent as a value").into()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serializer};

    use super::*;
    use crate::Solo;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Scores {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        name: Option<String>,
        by_class: BTreeMap<u64, f32>,
        best: Option<f64>,
    }

    struct Unsendable;

    impl Serialize for Unsendable {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("it has an open file"))
        }
    }

    impl<'de> Deserialize<'de> for Unsendable {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Err(serde::de::Error::custom("it has an open file"))
        }
    }

    #[test]
    fn every_value_comes_back_exactly() {
        let by_class = BTreeMap::from([(0, 0.1), (7, f32::INFINITY), (u64::MAX, -0.0)]);
        let scores = || Scores { name: None, by_class: by_class.clone(), best: Some(0.1 + 0.2) };
        assert_eq!(gather(&Solo, &scores()).unwrap(), [scores()]);
        assert_eq!(broadcast(&Solo, &scores()).unwrap(), scores());
        assert_eq!(on_first(&Solo, || Ok(scores())).unwrap(), scores());
        assert!(gather(&Solo, &f64::NAN).unwrap()[0].is_nan());
        assert_eq!(gather(&Solo, &()).unwrap(), [()]);
    }

    #[test]
    fn votes_are_counted() {
        assert_eq!([false, true].map(|vote| count_true(&Solo, vote).unwrap()), [0, 1]);
        assert_eq!([false, true].map(|vote| all_true(&Solo, vote).unwrap()), [false, true]);
        assert_eq!([false, true].map(|vote| any_true(&Solo, vote).unwrap()), [false, true]);
        barrier(&Solo).unwrap();
    }

    #[test]
    fn a_value_that_cannot_be_sent_is_an_error_that_names_the_rank() {
        let expected = "rank 0: the value cannot be sent to other ranks: it has an open file";
        assert_eq!(gather(&Solo, &Unsendable).err().unwrap().to_string(), expected);
        assert_eq!(broadcast(&Solo, &Unsendable).err().unwrap().to_string(), expected);
        let failed = on_first(&Solo, || Err::<u8, _>("the file is gone".into()));
        assert_eq!(failed.unwrap_err().to_string(), "rank 0: the file is gone");
    }

    #[test]
    fn bytes_that_are_no_value_are_refused() {
        let check = |bytes: &[u8], expected| {
            assert_eq!(decode::<u8>(3, bytes).unwrap_err().to_string(), expected);
        };
        check(&[], "the value of rank 3 is empty: it was not sent as a value");
        check(&encode(Ok(&"text")), "the value of rank 3 is of another type: wrong msgpack marker FixStr(4)");
    }
}
