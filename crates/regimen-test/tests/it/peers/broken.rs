//! Threads with one habit broken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use regimen_core::BoxError;
use regimen_core::data::Rank;
use regimen_core::engine::Bucket;
use regimen_core::peers::{PeerLost, Peers};
use regimen_test::peers::Threads;

/// The defect of a [`Broken`] transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    HasNoIndex,
    GathersBackwards,
    BroadcastsTheLast,
    SumsWithoutTheLast,
    DropsNan,
    SumsInAnotherOrder,
    SumsInOrderOfArrival,
    CommitsNever,
    LagsBehind,
    ChecksNoLengths,
    NamesNobody,
    AbortsInSilence,
    HidesTheLoss,
}

/// A rank with a defect.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) peers: Arc<Threads>,
    pub(crate) defect: Defect,
}

impl Broken {
    /// A sum by a gather, over the ranks in the order of `order`.
    fn sum_in_order(
        &self,
        values: Bucket<'_>,
        order: impl FnOnce(&mut Vec<Vec<f64>>),
    ) -> Result<(), BoxError> {
        let own: Vec<f64> = match &values {
            Bucket::F32(values) => values.iter().map(|&value| f64::from(value)).collect(),
            Bucket::F64(values) => values.to_vec(),
            other => return Err(other.refused()),
        };
        let bytes: Vec<u8> = own.iter().flat_map(|value| value.to_le_bytes()).collect();
        let all = self.peers.gather(&bytes)?;
        let decode = |bytes: &Vec<u8>| {
            bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect::<Vec<f64>>()
        };
        let mut all: Vec<Vec<f64>> = all.iter().map(decode).collect();
        order(&mut all);
        let of = |i: usize| all.iter().filter_map(move |own| own.get(i));
        match values {
            Bucket::F32(values) => {
                values.iter_mut().enumerate().for_each(|(i, value)| *value = of(i).map(|&x| x as f32).sum());
            }
            Bucket::F64(values) => values.iter_mut().enumerate().for_each(|(i, value)| *value = of(i).sum()),
            other => return Err(other.refused()),
        }
        Ok(())
    }
}

impl Peers for Broken {
    fn rank(&self) -> Rank {
        match self.defect {
            Defect::HasNoIndex => Rank { index: 0, ..self.peers.rank() },
            _ => self.peers.rank(),
        }
    }

    fn sum(&self, values: Bucket<'_>) -> Result<(), BoxError> {
        static ARRIVALS: AtomicU64 = AtomicU64::new(0);
        let rank = self.peers.rank();
        match self.defect {
            Defect::SumsInAnotherOrder if rank.index == 1 => self.sum_in_order(values, |all| all.reverse()),
            Defect::SumsInAnotherOrder | Defect::ChecksNoLengths => self.sum_in_order(values, |_| ()),
            Defect::SumsWithoutTheLast => self.sum_in_order(values, |all| all.truncate(all.len().max(2) - 1)),
            Defect::SumsInOrderOfArrival => {
                let mut first = ARRIVALS.fetch_add(1, Ordering::Relaxed).to_le_bytes();
                self.peers.broadcast(&mut first)?;
                self.sum_in_order(values, |all| {
                    let turn = u64::from_le_bytes(first) as usize % all.len();
                    all.rotate_left(turn);
                })
            }
            Defect::DropsNan => self.sum_in_order(values, |all| {
                all.iter_mut().flatten().filter(|value| value.is_nan()).for_each(|value| *value = 0.0);
            }),
            Defect::LagsBehind => match values {
                Bucket::F32([first, ..]) if *first == 42.0 => {
                    *first = 41.0;
                    Ok(())
                }
                values => self.peers.sum(values),
            },
            Defect::NamesNobody => self.peers.sum(values).map_err(|_| "another call".into()),
            Defect::HidesTheLoss => self.peers.sum(values).map_err(|error| error.to_string().into()),
            _ => self.peers.sum(values),
        }
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, BoxError> {
        let mut all = self.peers.gather(own)?;
        if self.defect == Defect::GathersBackwards {
            all.reverse();
        }
        Ok(all)
    }

    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), BoxError> {
        match self.defect {
            Defect::BroadcastsTheLast => {
                let all = self.peers.gather(bytes)?;
                bytes.copy_from_slice(all.last().ok_or("no ranks")?);
                Ok(())
            }
            _ => self.peers.broadcast(bytes),
        }
    }

    fn commit(&self) -> Result<(), BoxError> {
        match self.defect {
            Defect::CommitsNever => Err(PeerLost::new("a rank is gone").into()),
            _ => self.peers.commit(),
        }
    }

    fn abort(&self, why: &str) {
        if self.defect != Defect::AbortsInSilence {
            self.peers.abort(why);
        }
    }
}
