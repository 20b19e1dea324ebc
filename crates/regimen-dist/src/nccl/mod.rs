//! NCCL, loaded when the program starts.

mod library;

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use regimen_core::BoxError;
use regimen_core::data::Rank;
use regimen_core::engine::Bucket;
use regimen_core::error::{Place, WithCauses};
use regimen_core::peers::{AgreedError, PeerLost, Peers};
use regimen_cuda::CudaBuffer;

use self::library::{Communicator, Device, Library};
use crate::{Collective, mpi, values};

/// Peers that sum buckets on CUDA devices by NCCL, one device per rank. Any other call is one of the peers that it is
/// made [over](Nccl::over).
///
/// A bucket on a device is a [`CudaBuffer`] on the device of this rank. Its sum is `ncclAllReduce`, in place and in the stream
/// of the buffer; it is complete on return. Each rank gets the same bits, in an order that also depends on how the devices
/// are connected.
///
/// Before each such sum the ranks compare their buckets by the other peers. So a bucket that is not the same on all
/// is an error on all, and the ranks can go on. If NCCL itself fails, it is an error of this rank, whose
/// [`abort`](Peers::abort) the others see at their next call. Those that wait in NCCL notice the failure by themselves, or
/// after their [patience](Collective::set_patience), as a [`PeerLost`] without that cause. Later sums on a device are
/// errors.
///
/// Neither a failure nor the drop waits for another rank.
pub struct Nccl {
    // Dropped before the peers.
    state: Mutex<State>,
    device: usize,
    patience: Mutex<Duration>,
    peers: Arc<dyn Collective>,
}

/// The error is that of all further sums on a device.
type State = Result<Communicator, String>;

impl Nccl {
    /// Connects the devices of the ranks. `device` is that of this rank, from 0 as CUDA counts them; on machines with several,
    /// usually the [`local_rank`](Collective::local_rank).
    ///
    /// The libraries of the driver and of NCCL are loaded here, the latter from the path in `REGIMEN_NCCL` or under its
    /// usual name. It is an error on all ranks if one of them lacks a library or its device, or if two have the same
    /// device. Every rank calls it.
    ///
    /// The patience of sums on a device is `REGIMEN_PATIENCE` seconds, or 600, until it is
    /// [set](Collective::set_patience) on the value returned, which sets that of `peers` too.
    pub fn over(peers: Arc<dyn Collective>, device: usize) -> Result<Self, BoxError> {
        let all: &dyn Peers = &*peers;
        let patience = all.agree(mpi::patience())?;
        let (own, nccl) = all.agree(Device::open(device).and_then(|own| Ok((own, Library::load()?))))?;
        one_rank_per_device(&values::gather(all, &own.uuid())?)?;
        let mut id = all.agree(if all.rank().is_first() { nccl.unique_id() } else { Ok([0; _]) })?;
        all.broadcast(&mut id)?;
        let communicator = all.agree(Communicator::start(nccl, own, all.rank(), id, patience))?;
        Ok(Nccl { state: Mutex::new(Ok(communicator)), device, patience: Mutex::new(patience), peers })
    }

    fn sum_on_device(&self, values: &mut (dyn Any + Send)) -> Result<(), BoxError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let communicator = state.as_mut().map_err(|lost| PeerLost::new(&*lost))?;
        let buffer = alike(&*self.peers, on_device(values, self.device))?;
        if buffer.elements() == 0 {
            return Ok(());
        }
        let patience = *self.patience();
        communicator.sum(buffer, patience).inspect_err(|error| {
            *state = Err(format!("a sum on a device has failed before: {}", WithCauses(&**error)));
        })
    }

    fn patience(&self) -> MutexGuard<'_, Duration> {
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error if two ranks have the same device, by the identifiers of their devices.
fn one_rank_per_device(uuids: &[[u8; 16]]) -> Result<(), BoxError> {
    for (rank, uuid) in uuids.iter().enumerate() {
        if let Some(first) = uuids[..rank].iter().position(|other| other == uuid) {
            return Err(AgreedError::new(format!(
                "ranks {first} and {rank} have the same CUDA device, and NCCL needs one per rank: choose it by \
                 `local_rank`, and start at most one rank per device"
            ))
            .into());
        }
    }
    Ok(())
}

/// The bucket as a buffer on this device.
fn on_device(values: &mut (dyn Any + Send), device: usize) -> Result<&mut CudaBuffer, BoxError> {
    let buffer = values
        .downcast_mut::<CudaBuffer>()
        .ok_or("the bucket on a device is no `CudaBuffer`: NCCL sums gradients of engines on CUDA")?;
    if buffer.device() != device {
        return Err(format!(
            "the bucket is on CUDA device {}, and this rank sums on device {device}: give `Nccl::over` the device of \
             the engine",
            buffer.device()
        )
        .into());
    }
    Ok(buffer)
}

/// The buffer of this rank if every rank has one of the same length and type, and otherwise the same error on each.
fn alike<'b>(
    peers: &dyn Peers,
    own: Result<&'b mut CudaBuffer, BoxError>,
) -> Result<&'b mut CudaBuffer, BoxError> {
    let shape = match &own {
        Ok(buffer) => Ok(buffer.to_string()),
        Err(error) => Err(WithCauses(&**error).to_string()),
    };
    let all: Vec<Result<String, String>> = values::gather(peers, &shape)?;
    for (rank, shape) in all.iter().enumerate() {
        match (&all[0], shape) {
            (_, Err(text)) => return Err(AgreedError::new(format!("rank {rank}: {text}")).into()),
            (Ok(first), Ok(shape)) if first != shape => {
                return Err(AgreedError::new(format!(
                    "the ranks sum different buckets on their devices: {first} on rank 0, {shape} on rank {rank}; all \
                     must make the same calls in the same order"
                ))
                .into());
            }
            _ => {}
        }
    }
    own
}

impl Peers for Nccl {
    fn rank(&self) -> Rank {
        self.peers.rank()
    }

    fn sum(&self, values: Bucket<'_>) -> Result<(), BoxError> {
        match values {
            Bucket::Device(values) => self.sum_on_device(values),
            values => self.peers.sum(values),
        }
    }

    fn takes_device(&self) -> bool {
        true
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, BoxError> {
        self.peers.gather(own)
    }

    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), BoxError> {
        self.peers.broadcast(bytes)
    }

    fn commit(&self) -> Result<(), BoxError> {
        self.peers.commit()
    }

    fn note_place(&self, place: Place) {
        self.peers.note_place(place);
    }

    fn abort(&self, why: &str) {
        self.peers.abort(why);
    }
}

impl Collective for Nccl {
    fn local_rank(&self) -> u64 {
        self.peers.local_rank()
    }

    /// A sum on a device that has waited as long is an error too, after which the [`abort`](Peers::abort) of the run ends the
    /// process, if no rank answers.
    fn set_patience(&self, patience: Duration) {
        *self.patience() = patience;
        self.peers.set_patience(patience);
    }

    fn on_hang(&self, last: Box<dyn FnOnce(&str) + Send>) {
        self.peers.on_hang(last);
    }
}

impl fmt::Debug for Nccl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nccl")
            .field("device", &self.device)
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use regimen_cuda::Kind;
    use regimen_test::peers::{Threads, on_ranks};

    use super::*;

    /// A buffer of which nothing is read.
    fn buffer(elements: usize, kind: Kind, device: usize) -> CudaBuffer {
        #[allow(unsafe_code)]
        // SAFETY: nothing calls CUDA with it.
        unsafe {
            CudaBuffer::new(256, elements, kind, device, 0, ())
        }
    }

    /// The error of each of three ranks, of which the last has this bucket and the others 3 f32.
    fn errors(last: fn() -> Box<dyn Any + Send>) -> Vec<String> {
        let results = on_ranks(Threads::of(3, Duration::from_secs(600)), |peers| {
            let mut bucket = if peers.rank().index == 2 { last() } else { Box::new(buffer(3, Kind::F32, 0)) };
            let error = alike(&*peers, on_device(&mut *bucket, 0)).err();
            assert!(error.as_ref().is_none_or(|error| AgreedError::is_in(&**error)));
            error.map_or("alike".to_owned(), |error| error.to_string())
        });
        results.into_iter().map(Result::unwrap).collect()
    }

    #[test]
    fn buckets_that_differ_are_an_error_on_all_ranks() {
        let check =
            |last: fn() -> Box<dyn Any + Send>, expected: &str| assert_eq!(errors(last), [expected; 3]);
        check(|| Box::new(buffer(3, Kind::F32, 0)), "alike");
        check(
            || Box::new(buffer(4, Kind::F32, 0)),
            "the ranks sum different buckets on their devices: 3 f32 on rank 0, 4 f32 on rank 2; all must make the same \
             calls in the same order",
        );
        check(
            || Box::new(buffer(3, Kind::F64, 0)),
            "the ranks sum different buckets on their devices: 3 f32 on rank 0, 3 f64 on rank 2; all must make the same \
             calls in the same order",
        );
        check(
            || Box::new(buffer(3, Kind::F32, 1)),
            "rank 2: the bucket is on CUDA device 1, and this rank sums on device 0: give `Nccl::over` the device of the \
             engine",
        );
        check(
            || Box::new("a buffer of another device"),
            "rank 2: the bucket on a device is no `CudaBuffer`: NCCL sums gradients of engines on CUDA",
        );
    }

    #[test]
    fn ranks_on_one_device_are_refused() {
        one_rank_per_device(&[[1; 16], [2; 16], [3; 16]]).unwrap();
        let error = one_rank_per_device(&[[1; 16], [2; 16], [3; 16], [2; 16]]).unwrap_err();
        assert!(AgreedError::is_in(&*error));
        assert_eq!(
            error.to_string(),
            "ranks 1 and 3 have the same CUDA device, and NCCL needs one per rank: choose it by `local_rank`, and start \
             at most one rank per device"
        );
    }
}
