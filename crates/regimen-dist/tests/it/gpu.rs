//! Sums on a GPU. Without `REGIMEN_TEST_GPU` the tests pass and check nothing, so `cargo xtask ci nccl` counts them
//! separately. They need NCCL and one GPU, and those in `several` two.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, DeviceRepr, sys};
use regimen_core::BoxError;
use regimen_core::data::Rank;
use regimen_core::engine::Bucket;
use regimen_core::peers::Peers;
use regimen_cuda::{CudaBuffer, Kind};
use regimen_dist::{Collective, Nccl, Solo};
use regimen_test::peers::{Threads, on_ranks};
use regimen_test::peers_suite;

fn has_gpu() -> bool {
    env::var_os("REGIMEN_TEST_GPU").is_some()
}

/// A thread as a rank of a launcher.
#[derive(Debug)]
struct Local(Arc<dyn Peers>);

impl Peers for Local {
    fn rank(&self) -> Rank {
        self.0.rank()
    }

    fn sum(&self, values: Bucket<'_>) -> Result<(), BoxError> {
        self.0.sum(values)
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, BoxError> {
        self.0.gather(own)
    }

    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), BoxError> {
        self.0.broadcast(bytes)
    }

    fn abort(&self, why: &str) {
        self.0.abort(why);
    }
}

impl Collective for Local {
    fn local_rank(&self) -> u64 {
        self.0.rank().index
    }

    fn set_patience(&self, _: Duration) {}

    fn on_hang(&self, _: Box<dyn FnOnce(&str) + Send>) {}
}

/// A copy of the values on device 0, as a bucket that says `device`.
fn bucket<T: DeviceRepr + 'static>(
    values: &[T],
    kind: Kind,
    device: usize,
    stream: &Arc<CudaStream>,
) -> CudaBuffer {
    let memory: CudaSlice<T> = stream.clone_htod(values).unwrap();
    let pointer = memory.device_ptr(stream).0;
    // SAFETY: so many elements of this kind in memory that is handed over, with all work on them in the stream. A bucket that
    // says another device is refused.
    unsafe { CudaBuffer::new(pointer, values.len(), kind, device, stream.cu_stream() as usize, memory) }
}

/// The values in it.
fn values<T: DeviceRepr + Clone + Default>(bucket: &CudaBuffer, stream: &CudaStream) -> Vec<T> {
    let mut values = vec![T::default(); bucket.elements()];
    stream.synchronize().unwrap();
    // SAFETY: as many bytes to write as are read.
    unsafe {
        let code = sys::cuMemcpyDtoH_v2(
            values.as_mut_ptr().cast(),
            bucket.pointer(),
            size_of::<T>() * bucket.elements(),
        );
        code.result().unwrap();
    }
    values
}

fn sum(peers: &dyn Peers, bucket: &mut CudaBuffer) -> Result<(), String> {
    peers.sum(Bucket::Device(bucket)).map_err(|error| error.to_string())
}

#[test]
fn a_sum_of_one_rank_keeps_every_bit() {
    if !has_gpu() {
        return;
    }
    let peers = Nccl::over(Arc::new(Solo), 0).unwrap();
    let context = CudaContext::new(0).unwrap();
    for stream in [context.default_stream(), context.new_stream().unwrap()] {
        for length in [1, 3, 1_000, 1_000_003] {
            let special = [f32::NAN, -0.0, f32::INFINITY, f32::MIN_POSITIVE / 8.0];
            let singles: Vec<f32> =
                (0..length).map(|i| special.get(i).copied().unwrap_or(0.1 * i as f32)).collect();
            let doubles: Vec<f64> = (0..length).map(|i| 0.1 * i as f64 - 7.0).collect();
            let mut single = bucket(&singles, Kind::F32, 0, &stream);
            let mut double = bucket(&doubles, Kind::F64, 0, &stream);
            sum(&peers, &mut single).unwrap();
            sum(&peers, &mut double).unwrap();
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&values::<f32>(&single, &stream)), bits(&singles), "{length}");
            assert_eq!(values::<f64>(&double, &stream), doubles, "{length}");
        }
    }
}

#[test]
fn wrong_buckets_are_errors_and_the_next_sum_is_right() {
    if !has_gpu() {
        return;
    }
    let peers = Nccl::over(Arc::new(Solo), 0).unwrap();
    assert!(peers.takes_device());
    let stream = CudaContext::new(0).unwrap().default_stream();
    assert_eq!(
        peers.sum(Bucket::Device(&mut vec![1.0_f32])).unwrap_err().to_string(),
        "rank 0: the bucket on a device is no `CudaBuffer`: NCCL sums gradients of engines on CUDA"
    );
    assert_eq!(
        sum(&peers, &mut bucket(&[1.0_f32], Kind::F32, 1, &stream)).unwrap_err(),
        "rank 0: the bucket is on CUDA device 1, and this rank sums on device 0: give `Nccl::over` the device of the \
         engine"
    );
    let mut right = bucket(&[1.5_f32], Kind::F32, 0, &stream);
    sum(&peers, &mut right).unwrap();
    assert_eq!(values::<f32>(&right, &stream), [1.5]);
}

#[test]
fn two_ranks_on_one_gpu_are_refused() {
    if !has_gpu() {
        return;
    }
    let errors = on_ranks(Threads::of(2, Duration::from_secs(600)), |peers| {
        Nccl::over(Arc::new(Local(peers)), 0).unwrap_err().to_string()
    });
    let text = "ranks 0 and 1 have the same CUDA device, and NCCL needs one per rank: choose it by `local_rank`, and \
                start at most one rank per device";
    assert_eq!(errors, [Ok(text.to_owned()), Ok(text.to_owned())]);
}

#[test]
fn every_check_of_the_peers_holds_for_one_rank() {
    if has_gpu() {
        peers_suite::run_all(|count| {
            let over = |peers: Arc<Threads>| -> Arc<dyn Peers> {
                if count == 1 { Arc::new(Nccl::over(Arc::new(Local(peers)), 0).unwrap()) } else { peers }
            };
            Threads::of(count, Duration::from_secs(60)).into_iter().map(over).collect()
        });
    }
}

mod several {
    use super::*;

    #[test]
    fn ranks_with_a_gpu_each_have_the_same_sums_and_errors() {
        if !has_gpu() {
            return;
        }
        let results = on_ranks(Threads::of(2, Duration::from_secs(600)), |peers| {
            let rank = peers.rank().index as usize;
            let peers = Nccl::over(Arc::new(Local(peers)), rank).unwrap();
            let stream = CudaContext::new(rank).unwrap().new_stream().unwrap();
            for length in [1, 1_000, 1_000_003] {
                let own: Vec<f32> = (0..length).map(|i| ((rank + 1) * (i % 100)) as f32).collect();
                let mut bucket = bucket(&own, Kind::F32, rank, &stream);
                sum(&peers, &mut bucket).unwrap();
                let expected: Vec<f32> = (0..length).map(|i| 3.0 * (i % 100) as f32).collect();
                assert_eq!(values::<f32>(&bucket, &stream), expected, "{length}");
            }
            let error = sum(&peers, &mut bucket(&vec![1.0_f64; 3 + rank], Kind::F64, rank, &stream));
            let mut empty = bucket::<f64>(&[], Kind::F64, rank, &stream);
            sum(&peers, &mut empty).unwrap();
            let mut next = bucket(&[0.5_f64], Kind::F64, rank, &stream);
            sum(&peers, &mut next).unwrap();
            assert_eq!(values::<f64>(&next, &stream), [1.0]);
            error.unwrap_err()
        });
        let text = "the ranks sum different buckets on their devices: 3 f64 on rank 0, 4 f64 on rank 1; all must make the \
                    same calls in the same order";
        assert_eq!(results, [Ok(text.to_owned()), Ok(text.to_owned())]);
    }
}
