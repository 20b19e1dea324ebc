//! Safe functions over a loaded library of MPI.
//!
//! All unsafe code about MPI is here. It rests on four facts. The signatures are those of the MPI standard, with
//! the handles of the library's ABI, and those of ULFM for the functions that have them. There is one [`World`] per
//! process, created after `MPI_Init_thread` and finalized by its drop, on the thread that has started it. MPI allows all other calls from any thread, one at a time, and every
//! call needs `&mut World`. A blocking call keeps no pointer to its buffers; the buffer of the one that does not block is
//! never freed.
#![allow(unsafe_code)]

use std::error::Error;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};

use libloading::Library;
use regimen_core::BoxError;
use regimen_core::data::Rank;
use regimen_core::engine::Bucket;

/// Numbers that ranks compare.
pub(super) type Header = [i64; 4];

/// All processes that MPI connects. The error of a call is its name with the text of MPI, and the world is broken after
/// it.
pub(super) trait World: Send {
    fn rank(&self) -> Rank;

    /// The largest over all ranks, element by element. Returns `None` if `gives_up` before all ranks are here.
    fn max(&mut self, values: Header, gives_up: &dyn Fn() -> bool) -> Result<Option<Header>, String>;

    fn sum(&mut self, values: Bucket<'_>) -> Result<(), String>;

    /// Overwrites `bytes` with those of rank 0.
    fn broadcast(&mut self, bytes: &mut [u8]) -> Result<(), String>;

    /// Collects `lengths[rank]` bytes of each rank. The bytes of this one are as many.
    fn gather(&mut self, own: &[u8], lengths: &[usize]) -> Result<Vec<u8>, String>;

    /// Whether the library has the functions with which ranks go on after the loss of others (ULFM).
    fn can_shrink(&self) -> bool;

    /// Whether this rank knows that another is gone or that the world is revoked. Open MPI 5 may end a call without an
    /// error, and with wrong values, though a rank has died in it. It has noticed that death.
    fn has_lost(&mut self) -> bool;

    /// All further calls of all ranks but those to [agree](World::agree) and [shrink](World::shrink) fail, those under
    /// way included.
    fn revoke(&mut self);

    /// Whether every rank gives `true` and none has failed, with the same answer on all that live, also if one fails
    /// meanwhile or the world is revoked. Every rank that lives makes as many of these calls.
    fn agree(&mut self, vote: bool) -> Result<bool, String>;

    /// This rank leaves: it does not wait for the others at its end.
    fn leave(&mut self);

    /// Goes on with the ranks that live, numbered in the same order. Every one calls it.
    fn shrink(&mut self) -> Result<Rank, String>;
}

/// Loads the first of `names` that `open` finds. The error lists them all.
pub(crate) fn load(
    names: &[String],
    open: impl Fn(&str) -> Result<Library, libloading::Error>,
) -> Result<Library, String> {
    let mut errors = Vec::new();
    for name in names {
        match open(name) {
            Ok(library) => return Ok(library),
            Err(error) => errors.push(text_of_system(&error)),
        }
    }
    Err(errors.join("; "))
}

/// The system's text has the name of the library or of the symbol.
fn text_of_system(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(unix)]
pub(super) fn open(name: &str) -> Result<Library, libloading::Error> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // The plugins of Open MPI look for its symbols among the global ones.
    // SAFETY: the library's initializers are those of MPI, which have no requirements.
    unsafe { Library::open(Some(name), RTLD_NOW | RTLD_GLOBAL).map(Into::into) }
}

#[cfg(not(unix))]
pub(super) fn open(name: &str) -> Result<Library, libloading::Error> {
    // SAFETY: the library's initializers are those of MPI, which have no requirements.
    unsafe { Library::new(name) }
}

/// Starts MPI, once per process.
pub(super) fn start(library: Library) -> Result<Box<dyn World>, BoxError> {
    static STARTED: AtomicBool = AtomicBool::new(false);
    if STARTED.swap(true, Ordering::Relaxed) {
        return Err("MPI can be started once per process: share the value that was returned first".into());
    }
    // Its threads and exit handlers go on after MPI_Finalize, so it is never unloaded.
    let library = Box::leak(Box::new(library));
    if is_standard(library) {
        return Ok(Box::new(Loaded::start(library, Handles::standard(), 2048)?));
    }
    if let Ok(world) = address(library, "ompi_mpi_comm_world") {
        return Ok(Box::new(Loaded::start(library, Handles::open_mpi(library, world)?, 2)?));
    }
    Ok(Box::new(Loaded::start(library, Handles::mpich(), 2)?))
}

/// Whether the library has the standard ABI of MPI 5. Others have the function as well, and answer -1.
fn is_standard(library: &Library) -> bool {
    type GetVersion = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;
    // SAFETY: the signature is that of the standard.
    let get = unsafe { symbol::<GetVersion>(library, "MPI_Abi_get_version") };
    let (mut major, mut minor) = (-1, -1);
    // SAFETY: two numbers to write to. The function may be called before MPI is started.
    get.is_ok_and(|get| unsafe { get(&mut major, &mut minor) } == 0 && major >= 1)
}

/// The address of a variable of the library.
fn address(library: &Library, name: &str) -> Result<*mut c_void, BoxError> {
    // SAFETY: nothing is read from the address.
    unsafe { symbol(library, name) }
}

/// # Safety
///
/// `F` is a pointer to a function with the signature of this one, or any pointer of which nothing is read.
pub(crate) unsafe fn symbol<F: Copy>(library: &Library, name: &str) -> Result<F, BoxError> {
    // SAFETY: as above.
    let symbol = unsafe { library.get(name) };
    symbol.map(|symbol| *symbol).map_err(|error| text_of_system(&error).into())
}

/// Constants of an ABI; `H` is the type of its handles.
struct Handles<H> {
    world: H,
    byte: H,
    i64: H,
    f32: H,
    f64: H,
    max: H,
    sum: H,
    errors_return: H,
    in_place: *const c_void,
}

impl Handles<*mut c_void> {
    fn standard() -> Self {
        let handle = ptr::without_provenance_mut;
        Handles {
            world: handle(0x101),
            byte: handle(0x247),
            i64: handle(0x258),
            f32: handle(0x210),
            f64: handle(0x214),
            max: handle(0x23),
            sum: handle(0x21),
            errors_return: handle(0x143),
            in_place: ptr::without_provenance(1),
        }
    }

    fn open_mpi(library: &Library, world: *mut c_void) -> Result<Self, BoxError> {
        Ok(Handles {
            world,
            byte: address(library, "ompi_mpi_byte")?,
            i64: address(library, "ompi_mpi_int64_t")?,
            f32: address(library, "ompi_mpi_float")?,
            f64: address(library, "ompi_mpi_double")?,
            max: address(library, "ompi_mpi_op_max")?,
            sum: address(library, "ompi_mpi_op_sum")?,
            errors_return: address(library, "ompi_mpi_errors_return")?,
            in_place: ptr::without_provenance(1),
        })
    }
}

impl Handles<c_int> {
    /// Also those of Intel MPI, MVAPICH and Cray MPICH.
    fn mpich() -> Self {
        Handles {
            world: 0x4400_0000,
            byte: 0x4c00_010d,
            i64: 0x4c00_083a,
            f32: 0x4c00_040a,
            f64: 0x4c00_080b,
            max: 0x5800_0001,
            sum: 0x5800_0003,
            errors_return: 0x5400_0001,
            in_place: ptr::without_provenance(usize::MAX),
        }
    }
}

type InitThread = unsafe extern "C" fn(*mut c_int, *mut c_void, c_int, *mut c_int) -> c_int;
type CommNumber<H> = unsafe extern "C" fn(H, *mut c_int) -> c_int;
type SetErrhandler<H> = unsafe extern "C" fn(H, H) -> c_int;
type Allreduce<H> = unsafe extern "C" fn(*const c_void, *mut c_void, c_int, H, H, H) -> c_int;
type Iallreduce<H> =
    unsafe extern "C" fn(*const c_void, *mut c_void, c_int, H, H, H, *mut MaybeUninit<H>) -> c_int;
type Test<H> = unsafe extern "C" fn(*mut MaybeUninit<H>, *mut c_int, *mut Status) -> c_int;
type Bcast<H> = unsafe extern "C" fn(*mut c_void, c_int, H, c_int, H) -> c_int;
type Allgatherv<H> =
    unsafe extern "C" fn(*const c_void, c_int, H, *mut c_void, *const c_int, *const c_int, H, H) -> c_int;
type ErrorString = unsafe extern "C" fn(c_int, *mut c_char, *mut c_int) -> c_int;
type Revoke<H> = unsafe extern "C" fn(H) -> c_int;
type Agree<H> = unsafe extern "C" fn(H, *mut c_int) -> c_int;
type Shrink<H> = unsafe extern "C" fn(H, *mut MaybeUninit<H>) -> c_int;
type GetFailed<H> = unsafe extern "C" fn(H, *mut MaybeUninit<H>) -> c_int;
type GroupSize<H> = unsafe extern "C" fn(H, *mut c_int) -> c_int;
type GroupFree<H> = unsafe extern "C" fn(*mut MaybeUninit<H>) -> c_int;
type Finalize = unsafe extern "C" fn() -> c_int;

/// Tests of a call before the thread offers its core to others, in about 0.1 ms.
const TESTS: u32 = 1000;

/// Room for the status of any ABI, which has 32 bytes at most.
type Status = [u64; 8];

/// A library whose MPI is started.
struct Loaded<H> {
    handles: Handles<H>,
    rank: Rank,
    allreduce: Allreduce<H>,
    iallreduce: Iallreduce<H>,
    test: Test<H>,
    bcast: Bcast<H>,
    allgatherv: Allgatherv<H>,
    error_string: ErrorString,
    finalize: Finalize,
    comm_rank: CommNumber<H>,
    comm_size: CommNumber<H>,
    set_errhandler: SetErrhandler<H>,
    /// `None` if the library has no ULFM.
    ulfm: Option<Ulfm<H>>,
    is_broken: bool,
    /// Ranks are gone: `MPI_Finalize` could wait for them.
    has_shrunk: bool,
    /// Where MPI compares the numbers of the ranks, for as long as the process lives.
    header: *mut Header,
    /// The thread that has started MPI, and is to finalize it.
    thread: ThreadId,
}

/// The functions for going on after the loss of a rank.
#[derive(Clone, Copy)]
struct Ulfm<H> {
    revoke: Revoke<H>,
    agree: Agree<H>,
    shrink: Shrink<H>,
    /// `MPIX_Comm_is_revoked`.
    is_revoked: CommNumber<H>,
    get_failed: GetFailed<H>,
    group_size: GroupSize<H>,
    group_free: GroupFree<H>,
}

// SAFETY: handles are constants and addresses of MPI's statics, which any thread may use: MPI was asked for
// MPI_THREAD_SERIALIZED. Nothing else has the address of the header.
unsafe impl<H> Send for Loaded<H> {}

impl<H: Copy> Loaded<H> {
    /// `serialized` is the value of MPI_THREAD_SERIALIZED.
    fn start(library: &'static Library, handles: Handles<H>, serialized: c_int) -> Result<Self, BoxError> {
        // SAFETY: the signatures are those of the standard, with the handles of this library.
        let (init_thread, mut world) = unsafe {
            let init_thread: InitThread = symbol(library, "MPI_Init_thread")?;
            let ulfm = || -> Result<Ulfm<H>, BoxError> {
                Ok(Ulfm {
                    revoke: symbol(library, "MPIX_Comm_revoke")?,
                    agree: symbol(library, "MPIX_Comm_agree")?,
                    shrink: symbol(library, "MPIX_Comm_shrink")?,
                    is_revoked: symbol(library, "MPIX_Comm_is_revoked")?,
                    get_failed: symbol(library, "MPIX_Comm_get_failed")?,
                    group_size: symbol(library, "MPI_Group_size")?,
                    group_free: symbol(library, "MPI_Group_free")?,
                })
            };
            let world = Loaded {
                handles,
                rank: Rank::default(),
                allreduce: symbol(library, "MPI_Allreduce")?,
                iallreduce: symbol(library, "MPI_Iallreduce")?,
                test: symbol(library, "MPI_Test")?,
                bcast: symbol(library, "MPI_Bcast")?,
                allgatherv: symbol(library, "MPI_Allgatherv")?,
                error_string: symbol(library, "MPI_Error_string")?,
                finalize: symbol(library, "MPI_Finalize")?,
                comm_rank: symbol(library, "MPI_Comm_rank")?,
                comm_size: symbol(library, "MPI_Comm_size")?,
                set_errhandler: symbol(library, "MPI_Comm_set_errhandler")?,
                ulfm: ulfm().ok(),
                // Until it is started.
                is_broken: true,
                has_shrunk: false,
                header: Box::leak(Box::new([0; 4])),
                thread: thread::current().id(),
            };
            (init_thread, world)
        };
        let mut provided = 0;
        // SAFETY: no arguments of a program, as the standard allows, and a number to write to. `start` calls this once.
        let code = unsafe { init_thread(ptr::null_mut(), ptr::null_mut(), serialized, &mut provided) };
        if code != 0 {
            return Err(format!("MPI_Init_thread failed with code {code}").into());
        }
        world.is_broken = false;
        if provided < serialized {
            return Err("this MPI allows calls from one thread alone: install one with threads".into());
        }
        world.take()?;
        Ok(world)
    }

    /// Takes the rank of this process in the world, whose errors are returned from now on.
    fn take(&mut self) -> Result<(), String> {
        let (handle, mut index, mut count) = (self.handles.world, 0, 0);
        // SAFETY: handles of this library, and numbers to write to.
        let codes = unsafe {
            [
                ("MPI_Comm_set_errhandler", (self.set_errhandler)(handle, self.handles.errors_return)),
                ("MPI_Comm_rank", (self.comm_rank)(handle, &mut index)),
                ("MPI_Comm_size", (self.comm_size)(handle, &mut count)),
            ]
        };
        codes.into_iter().try_for_each(|(name, code)| self.checked(name, code))?;
        let number = |number| u64::try_from(number).map_err(|_| format!("MPI counts {number} ranks"));
        self.rank = Rank { index: number(index)?, count: number(count)? };
        Ok(())
    }

    fn checked(&mut self, name: &str, code: c_int) -> Result<(), String> {
        if code == 0 {
            return Ok(());
        }
        self.is_broken = true;
        // Twice as long as the longest of any implementation, so that the last byte stays zero.
        let mut text = [0; 1024];
        // SAFETY: room for the longest text, and for its length.
        unsafe { (self.error_string)(code, text.as_mut_ptr(), &mut 0) };
        // SAFETY: a zero ends the text.
        let text = unsafe { CStr::from_ptr(text.as_ptr()) };
        Err(format!("{name}: {}", text.to_string_lossy()))
    }

    fn allreduce<T>(&mut self, values: &mut [T], datatype: H, operation: H) -> Result<(), String> {
        let (in_place, world) = (self.handles.in_place, self.handles.world);
        let (at, length) = (values.as_mut_ptr().cast(), c_length(values.len())?);
        // SAFETY: `length` elements of the type to read and to write.
        let code = unsafe { (self.allreduce)(in_place, at, length, datatype, operation, world) };
        self.checked("MPI_Allreduce", code)
    }
}

impl<H: Copy> World for Loaded<H> {
    fn rank(&self) -> Rank {
        self.rank
    }

    fn max(&mut self, values: Header, gives_up: &dyn Fn() -> bool) -> Result<Option<Header>, String> {
        let Handles { in_place, i64, max, world, .. } = self.handles;
        let (at, length) = (self.header.cast(), c_length(values.len())?);
        let mut request = MaybeUninit::uninit();
        // SAFETY: the header is never freed, and no call of MPI is under way that has its address: a world in which one
        // was given up is broken, and makes no further call. `length` elements to read and to write, and a handle to
        // write to.
        let code = unsafe {
            self.header.write(values);
            (self.iallreduce)(in_place, at, length, i64, max, world, &mut request)
        };
        self.checked("MPI_Iallreduce", code)?;
        let mut tests = 0;
        loop {
            let (mut is_complete, mut status) = (0, Status::default());
            // SAFETY: the request of the call above, which is not complete yet, and numbers to write to.
            let code = unsafe { (self.test)(&mut request, &mut is_complete, &mut status) };
            self.checked("MPI_Test", code)?;
            if is_complete != 0 {
                // SAFETY: MPI has written it, and is done with it.
                return Ok(Some(unsafe { self.header.read() }));
            }
            if gives_up() {
                self.is_broken = true;
                return Ok(None);
            }
            // The ranks are together within so many tests if each has a core. Otherwise another needs this one.
            tests += 1;
            if tests > TESTS {
                thread::yield_now();
            }
        }
    }

    fn sum(&mut self, values: Bucket<'_>) -> Result<(), String> {
        match values {
            Bucket::F32(values) => self.allreduce(values, self.handles.f32, self.handles.sum),
            Bucket::F64(values) => self.allreduce(values, self.handles.f64, self.handles.sum),
            other => Err(other.refused().to_string()),
        }
    }

    fn broadcast(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        let (at, length) = (bytes.as_mut_ptr().cast(), c_length(bytes.len())?);
        // SAFETY: `length` bytes to read or to write.
        let code = unsafe { (self.bcast)(at, length, self.handles.byte, 0, self.handles.world) };
        self.checked("MPI_Bcast", code)
    }

    fn gather(&mut self, own: &[u8], lengths: &[usize]) -> Result<Vec<u8>, String> {
        let mut all = vec![0; lengths.iter().sum()];
        let (own_length, _) = (c_length(own.len())?, c_length(all.len())?);
        let is_complete = lengths.len() as u64 == self.rank.count;
        if !is_complete || lengths[self.rank.index as usize] != own.len() {
            return Err("a gather must know the lengths of all ranks".into());
        }
        let begins = lengths.iter().scan(0, |end, length| {
            let begin = *end;
            *end += length;
            Some(begin)
        });
        let begins = begins.map(c_length).collect::<Result<Vec<_>, _>>()?;
        let lengths = lengths.iter().copied().map(c_length).collect::<Result<Vec<_>, _>>()?;
        let (from, into) = (own.as_ptr().cast(), all.as_mut_ptr().cast());
        let (byte, world) = (self.handles.byte, self.handles.world);
        // SAFETY: so many bytes to read; a length and a beginning for each rank, whose bytes have room there. MPI
        // fails if a rank sends more.
        let code = unsafe {
            (self.allgatherv)(from, own_length, byte, into, lengths.as_ptr(), begins.as_ptr(), byte, world)
        };
        self.checked("MPI_Allgatherv", code)?;
        Ok(all)
    }

    fn can_shrink(&self) -> bool {
        self.ulfm.is_some()
    }

    fn has_lost(&mut self) -> bool {
        let Some(ulfm) = self.ulfm else { return false };
        let (world, mut is_revoked, mut failed) = (self.handles.world, 0, 0);
        let mut group = MaybeUninit::uninit();
        // SAFETY: a handle of this library, and places for a number and for a handle.
        let codes =
            unsafe { [(ulfm.is_revoked)(world, &mut is_revoked), (ulfm.get_failed)(world, &mut group)] };
        if codes != [0, 0] {
            return true;
        }
        // SAFETY: the call before has written the handle of a group, which is freed here and used no more.
        let codes =
            unsafe { [(ulfm.group_size)(group.assume_init(), &mut failed), (ulfm.group_free)(&mut group)] };
        codes != [0, 0] || is_revoked != 0 || failed != 0
    }

    fn revoke(&mut self) {
        if let Some(ulfm) = self.ulfm {
            // SAFETY: a handle of this library. A world that is revoked already stays so.
            unsafe { (ulfm.revoke)(self.handles.world) };
        }
    }

    fn agree(&mut self, vote: bool) -> Result<bool, String> {
        let Some(ulfm) = self.ulfm else { return Err(WITHOUT_ULFM.into()) };
        let mut flag = c_int::from(vote);
        // SAFETY: a handle of this library, and a number to read and to write.
        let code = unsafe { (ulfm.agree)(self.handles.world, &mut flag) };
        self.checked("MPIX_Comm_agree", code)?;
        Ok(flag == 1)
    }

    fn leave(&mut self) {
        self.is_broken = true;
    }

    fn shrink(&mut self) -> Result<Rank, String> {
        let Some(ulfm) = self.ulfm else { return Err(WITHOUT_ULFM.into()) };
        let mut world = MaybeUninit::uninit();
        // SAFETY: a handle of this library, and one to write to.
        let code = unsafe { (ulfm.shrink)(self.handles.world, &mut world) };
        self.checked("MPIX_Comm_shrink", code)?;
        // SAFETY: the call has succeeded, so it has written the handle.
        self.handles.world = unsafe { world.assume_init() };
        // A call in the old world may still write to the old one.
        self.header = Box::leak(Box::new([0; 4]));
        (self.is_broken, self.has_shrunk) = (false, true);
        self.take()?;
        Ok(self.rank)
    }
}

const WITHOUT_ULFM: &str = "this MPI has no ULFM";

/// The callers split what is longer.
fn c_length(length: usize) -> Result<c_int, String> {
    c_int::try_from(length).map_err(|_| format!("a message of MPI cannot have {length} elements"))
}

impl<H> Drop for Loaded<H> {
    /// After a failure or a loss it leaves without `MPI_Finalize`, which would wait for ranks that are gone. So it does on another
    /// thread than the one that has started MPI.
    fn drop(&mut self) {
        if !self.is_broken
            && !self.has_shrunk
            && !thread::panicking()
            && self.thread == thread::current().id()
        {
            // SAFETY: MPI is started, and nothing calls it afterwards.
            unsafe { (self.finalize)() };
        }
    }
}
