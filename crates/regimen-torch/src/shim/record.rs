//! Recordings of `shim/record.h`.

use std::ffi::c_void;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::slice;
use std::time::Duration;

use tch::Tensor;
use torch_sys::C_tensor;

use super::{List, Text, done, pointer};

/// An operation that no other one has called. The work of a node of a backward pass is one, and so is, without
/// its time, a product in it that reads a variable.
#[derive(Debug)]
pub(crate) struct Operation {
    /// The number of the first variable that it reads.
    pub(crate) variable: Option<usize>,
    /// The numbers of the nodes that it has made for a backward pass.
    pub(crate) nodes: Range<u64>,
    /// The node whose work this is.
    pub(crate) node: Option<Node>,
    /// Multiply-accumulates.
    pub(crate) flops: u64,
    pub(crate) time: Duration,
    /// The shape of its output, unless it works on variables alone or changes one.
    pub(crate) output: Option<Vec<usize>>,
}

/// A node of a backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Numbered(u64),
    /// It adds to a gradient, right after the node that has made the summand.
    Adds,
}

#[repr(C)]
struct RawOperation {
    variable: i64,
    first: u64,
    end: u64,
    is_node: bool,
    node: i64,
    flops: u64,
    nanoseconds: u64,
    shape: *const i64,
    rank: usize,
}

#[repr(C)]
struct CRecording {
    _opaque: [u8; 0],
}

type Give = unsafe extern "C" fn(*mut c_void, *const RawOperation);

unsafe extern "C" {
    fn rt_begin_recording(variables: List, n: usize, recording: *mut *mut CRecording) -> Text;
    fn rt_end_recording(recording: *mut CRecording, to: *mut c_void, give: Give);
}

/// Calls `f`, and returns its operations too. They are none if libtorch cannot record.
pub(crate) fn recorded<'t, R>(
    variables: impl Iterator<Item = &'t Tensor>,
    f: impl FnOnce() -> R,
) -> (R, Vec<Operation>) {
    let list: Vec<*mut C_tensor> = variables.map(pointer).collect();
    let mut begun = ptr::null_mut();
    // SAFETY: a list of as many tensors as it says, and a place for a pointer.
    let is_done = done(unsafe { rt_begin_recording(list.as_ptr(), list.len(), &mut begun) });
    let recording = is_done.ok().and_then(|()| NonNull::new(begun)).map(Recording);
    let result = f();
    (result, recording.map(Recording::end).unwrap_or_default())
}

/// A recording under way, which ends when it is dropped.
struct Recording(NonNull<CRecording>);

impl Recording {
    fn end(self) -> Vec<Operation> {
        let mut operations = Vec::new();
        self.give(&mut operations);
        std::mem::forget(self);
        operations
    }

    fn give(&self, to: &mut Vec<Operation>) {
        // SAFETY: the shim's own pointer, ended once and on the thread that began it: it does not leave
        // `recorded`. And `give` with the list that it takes.
        unsafe { rt_end_recording(self.0.as_ptr(), ptr::from_mut(to).cast(), give) }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.give(&mut Vec::new());
    }
}

/// # Safety
///
/// `to` is a `Vec<Operation>` that nothing else uses, and `raw` is whole.
unsafe extern "C" fn give(to: *mut c_void, raw: *const RawOperation) {
    // SAFETY: as said above.
    let (all, raw) = unsafe { (&mut *to.cast::<Vec<Operation>>(), &*raw) };
    let output = (!raw.shape.is_null()).then(|| {
        // SAFETY: as many numbers as it says.
        let shape = unsafe { slice::from_raw_parts(raw.shape, raw.rank) };
        shape.iter().map(|&n| usize::try_from(n).unwrap_or(0)).collect()
    });
    all.push(Operation {
        variable: usize::try_from(raw.variable).ok(),
        nodes: raw.first..raw.end,
        node: raw.is_node.then(|| u64::try_from(raw.node).map_or(Node::Adds, Node::Numbered)),
        flops: raw.flops,
        time: Duration::from_nanos(raw.nanoseconds),
        output,
    });
}
