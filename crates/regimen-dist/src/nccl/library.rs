//! Safe functions over the driver of CUDA and a loaded library of NCCL.
//!
//! All unsafe code of the feature is here. It rests on four facts. The signatures are those of `nccl.h`, which are the same
//! since NCCL 2.14; results are read as integers, for newer versions have more of them. A [`Communicator`] is used by one thread
//! at a time, with the context of its device bound to it. A [`CudaBuffer`] is valid as long as it lives, and a sum returns when
//! the device is done with it, or after an abort. Nothing is unloaded, for NCCL's threads may go on after an abort.
//!
//! NCCL is not called through cudarc, which panics if it does not find the library, and does not try `libnccl.so.2`, the only
//! name that packages without headers have.
#![allow(unsafe_code)]

use std::env;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::mem;
use std::ptr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cudarc::driver::{CudaContext, DriverError, sys};
use regimen_core::BoxError;
use regimen_core::data::Rank;
use regimen_core::peers::PeerLost;
use regimen_cuda::{CudaBuffer, Kind};

use crate::mpi::library::{load, symbol};

/// A device of CUDA, with its primary context, which tensor libraries use too.
pub(super) struct Device {
    context: &'static CudaContext,
    uuid: [u8; 16],
}

impl Device {
    pub(super) fn open(number: usize) -> Result<Self, BoxError> {
        // SAFETY: the initializers of libcuda have no requirements. Without this test, cudarc panics.
        if !unsafe { sys::is_culib_present() } {
            return Err("the library of the NVIDIA driver, `libcuda.so.1`, is not found: install the driver, or train \
                        without `Nccl`"
                .into());
        }
        let count = CudaContext::device_count().map_err(text)?;
        if !usize::try_from(count).is_ok_and(|count| number < count) {
            return Err(format!(
                "there is no CUDA device {number}: {count} are visible, counted from 0; start at most as many ranks per \
                 machine, and see `CUDA_VISIBLE_DEVICES`"
            )
            .into());
        }
        // Kept to the end of the process.
        let context: &'static Arc<CudaContext> = Box::leak(Box::new(CudaContext::new(number).map_err(text)?));
        let uuid = context.uuid().map_err(text)?.bytes.map(|byte| byte as u8);
        Ok(Device { context, uuid })
    }

    /// An identifier that no other device has, on any machine.
    pub(super) fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    fn bind(&self) -> Result<(), BoxError> {
        self.context.bind_to_thread().map_err(text)
    }
}

fn text(error: DriverError) -> BoxError {
    match error.error_string() {
        Ok(text) => format!("CUDA: {}", text.to_string_lossy()).into(),
        Err(_) => format!("CUDA: {error}").into(),
    }
}

type Handle = *mut c_void;

#[repr(C)]
#[derive(Clone, Copy)]
struct UniqueId([u8; 128]);

/// The settings of a communicator as in NCCL 2.18. Older versions read the beginning, and newer ones have defaults for the
/// rest.
#[repr(C)]
struct Config {
    size: usize,
    magic: c_uint,
    version: c_uint,
    blocking: c_int,
    cga_cluster_size: c_int,
    min_ctas: c_int,
    max_ctas: c_int,
    net_name: *const c_char,
    split_share: c_int,
}

impl Config {
    /// Calls return before they are complete, so that none waits forever.
    fn not_blocking() -> Self {
        const DEFAULT: c_int = c_int::MIN;
        Config {
            size: size_of::<Config>(),
            magic: 0xcafe_beef,
            version: 21801,
            blocking: 0,
            cga_cluster_size: DEFAULT,
            min_ctas: DEFAULT,
            max_ctas: DEFAULT,
            net_name: ptr::null(),
            split_share: DEFAULT,
        }
    }
}

const SUCCESS: c_int = 0;
const REMOTE_ERROR: c_int = 6;
const IN_PROGRESS: c_int = 7;

const SUM: c_int = 0;
const F32: c_int = 7;
const F64: c_int = 8;

/// The functions of NCCL.
#[derive(Clone, Copy)]
pub(super) struct Library {
    get_error_string: unsafe extern "C" fn(c_int) -> *const c_char,
    get_unique_id: unsafe extern "C" fn(*mut UniqueId) -> c_int,
    comm_init_rank_config: unsafe extern "C" fn(*mut Handle, c_int, UniqueId, c_int, *mut Config) -> c_int,
    comm_get_async_error: unsafe extern "C" fn(Handle, *mut c_int) -> c_int,
    all_reduce:
        unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, c_int, Handle, *mut c_void) -> c_int,
    comm_abort: unsafe extern "C" fn(Handle) -> c_int,
}

impl Library {
    pub(super) fn load() -> Result<Self, BoxError> {
        match env::var_os("REGIMEN_NCCL").filter(|path| !path.is_empty()) {
            Some(path) => Self::load_from(&[path.to_string_lossy().into_owned()]),
            None => Self::load_from(&["libnccl.so.2", "libnccl.so"].map(str::to_owned)),
        }
    }

    fn load_from(names: &[String]) -> Result<Self, BoxError> {
        // SAFETY: the initializers of NCCL have no requirements. Its symbols stay its own, for libtorch may have some of
        // the same names.
        let library = load(names, |name| unsafe { libloading::Library::new(name) }).map_err(|tried| {
            format!(
                "the library of NCCL is not found: {tried}; install it, for example by `pip install nvidia-nccl-cu12`, or \
                 set `REGIMEN_NCCL` to the path of its `libnccl.so.2`"
            )
        })?;
        // SAFETY: the signatures are those of `nccl.h`.
        let loaded = unsafe {
            Library {
                get_error_string: symbol(&library, "ncclGetErrorString")?,
                get_unique_id: symbol(&library, "ncclGetUniqueId")?,
                comm_init_rank_config: symbol(&library, "ncclCommInitRankConfig")?,
                comm_get_async_error: symbol(&library, "ncclCommGetAsyncError")?,
                all_reduce: symbol(&library, "ncclAllReduce")?,
                comm_abort: symbol(&library, "ncclCommAbort")?,
            }
        };
        mem::forget(library);
        Ok(loaded)
    }

    /// The identifier by which ranks find each other, made by one of them.
    pub(super) fn unique_id(&self) -> Result<[u8; 128], BoxError> {
        let mut id = UniqueId([0; _]);
        // SAFETY: room for an identifier.
        self.checked("ncclGetUniqueId", unsafe { (self.get_unique_id)(&mut id) })?;
        Ok(id.0)
    }

    fn checked(&self, name: &str, code: c_int) -> Result<(), BoxError> {
        if [SUCCESS, IN_PROGRESS].contains(&code) {
            return Ok(());
        }
        // SAFETY: it returns a text that is constant, for any code.
        let text = unsafe { CStr::from_ptr((self.get_error_string)(code)) };
        let text = format!("{name}: {}", text.to_string_lossy());
        Err(if code == REMOTE_ERROR { PeerLost::new(text).into() } else { text.into() })
    }
}

/// The ranks, as connected by NCCL. Dropped, it aborts all that is under way, and waits for nobody.
pub(super) struct Communicator {
    nccl: Library,
    device: Device,
    handle: Handle,
}

// SAFETY: any thread may use a communicator, one at a time, if the context of its device is bound to the thread.
unsafe impl Send for Communicator {}

impl Communicator {
    /// Meets the others. The identifier is the same on all.
    pub(super) fn start(
        nccl: Library,
        device: Device,
        rank: Rank,
        id: [u8; 128],
        patience: Duration,
    ) -> Result<Self, BoxError> {
        const NAME: &str = "ncclCommInitRankConfig";
        device.bind()?;
        let (count, index) = (c_int::try_from(rank.count)?, c_int::try_from(rank.index)?);
        let mut this = Communicator { nccl, device, handle: ptr::null_mut() };
        let mut config = Config::not_blocking();
        // SAFETY: room for a handle, settings whose size they have, and an index below the count.
        let code = unsafe {
            (nccl.comm_init_rank_config)(&mut this.handle, count, UniqueId(id), index, &mut config)
        };
        nccl.checked(NAME, code)?;
        this.wait(NAME, patience, || Ok(true))?;
        Ok(this)
    }

    /// Adds up a buffer that every rank has in the same length and type.
    /// After an error it is of no use any more.
    pub(super) fn sum(&mut self, buffer: &mut CudaBuffer, patience: Duration) -> Result<(), BoxError> {
        let summed = self.try_sum(buffer, patience);
        if summed.is_err() && !self.abort() {
            // The device may still write to it.
            buffer.leak();
        }
        summed
    }

    fn try_sum(&self, buffer: &CudaBuffer, patience: Duration) -> Result<(), BoxError> {
        self.device.bind()?;
        let name = format!("ncclAllReduce of {buffer}");
        let at: *mut c_void = ptr::with_exposed_provenance_mut(usize::try_from(buffer.pointer())?);
        let stream: *mut c_void = ptr::with_exposed_provenance_mut(buffer.stream());
        let (elements, kind) = (buffer.elements(), if buffer.kind() == Kind::F32 { F32 } else { F64 });
        // SAFETY: so many elements of the kind to read and to write, and a stream that orders this after all other work
        // on them. The buffer lives until the device is done, or is never freed.
        let code = unsafe { (self.nccl.all_reduce)(at, at, elements, kind, SUM, self.handle, stream) };
        self.nccl.checked(&name, code)?;
        self.wait(&name, patience, || {
            // SAFETY: the stream of a buffer that lives, and of the context that is bound.
            match unsafe { sys::cuStreamQuery(stream.cast()) } {
                sys::CUresult::CUDA_ERROR_NOT_READY => Ok(false),
                code => code.result().map(|()| true).map_err(text),
            }
        })
    }

    /// Waits until NCCL has nothing in progress and `is_done` is true.
    fn wait(
        &self,
        name: &str,
        patience: Duration,
        is_done: impl Fn() -> Result<bool, BoxError>,
    ) -> Result<(), BoxError> {
        let begin = Instant::now();
        loop {
            let mut state = SUCCESS;
            // SAFETY: a communicator that is started, and room for a code.
            let code = unsafe { (self.nccl.comm_get_async_error)(self.handle, &mut state) };
            self.nccl.checked("ncclCommGetAsyncError", code)?;
            self.nccl.checked(name, state)?;
            if state == SUCCESS && is_done()? {
                return Ok(());
            }
            if patience < begin.elapsed() {
                return Err(
                    PeerLost::new(format!("{name}: the others did not come within {patience:?}")).into()
                );
            }
            thread::yield_now();
        }
    }
}

impl Communicator {
    /// Ends all that is under way, and returns whether that is certain.
    fn abort(&mut self) -> bool {
        let handle = mem::replace(&mut self.handle, ptr::null_mut());
        // SAFETY: nobody uses the handle afterwards. An abort does not wait for other ranks, as a regular end does.
        handle.is_null() || self.device.bind().is_ok() && unsafe { (self.nccl.comm_abort)(handle) } == SUCCESS
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        self.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        Library::load_from(&names).map(drop).unwrap_err().to_string()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_library_that_is_missing_is_named() {
        assert_eq!(
            error(&["nowhere/libnccl.so.2", "nowhere/libnccl.so"]),
            "the library of NCCL is not found: nowhere/libnccl.so.2: cannot open shared object file: No such file or \
             directory; nowhere/libnccl.so: cannot open shared object file: No such file or directory; install it, for \
             example by `pip install nvidia-nccl-cu12`, or set `REGIMEN_NCCL` to the path of its `libnccl.so.2`"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_library_that_is_not_of_nccl_is_refused() {
        let error = error(&["libc.so.6"]);
        assert!(error.contains("undefined symbol: ncclGetErrorString"), "{error}");
    }
}
