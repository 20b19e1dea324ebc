#![doc = include_str!("../README.md")]

use std::any::Any;
use std::fmt;
use std::mem;

/// A flat buffer of numbers in the memory of a CUDA device: the type of a `Bucket::Device` between an engine on CUDA and
/// peers that sum there.
///
/// It owns the memory that it describes, so it is valid as long as it lives.
pub struct CudaBuffer {
    pointer: u64,
    elements: usize,
    kind: Kind,
    device: usize,
    stream: usize,
    memory: Box<dyn Any + Send>,
}

/// The type of the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Single precision.
    F32,
    /// Double precision.
    F64,
}

impl CudaBuffer {
    /// A buffer of `elements` numbers at the address `pointer` of device `device`, counted from 0 as CUDA counts them in
    /// this process. `stream` is the handle of the `cudaStream_t` that orders all work on the buffer; 0 is the
    /// default stream. `memory` is the owner of the memory, such as a tensor.
    ///
    /// # Safety
    ///
    /// As long as `memory` is not dropped:
    ///
    /// - `pointer` is aligned, and leads to `elements` numbers of this kind on that device, to be read and written;
    /// - `stream` is a stream of the primary context of that device;
    /// - all other work on these numbers is in `stream`, or complete.
    pub unsafe fn new(
        pointer: u64,
        elements: usize,
        kind: Kind,
        device: usize,
        stream: usize,
        memory: impl Send + 'static,
    ) -> Self {
        CudaBuffer { pointer, elements, kind, device, stream, memory: Box::new(memory) }
    }

    /// Keeps the memory to the end of the process, for a failure after which the device may still write to it.
    pub fn leak(&mut self) {
        mem::forget(mem::replace(&mut self.memory, Box::new(())));
    }

    /// The address on the device.
    pub fn pointer(&self) -> u64 {
        self.pointer
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// The type of the elements.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The number of the device.
    pub fn device(&self) -> usize {
        self.device
    }

    /// The handle of the stream.
    pub fn stream(&self) -> usize {
        self.stream
    }
}

impl fmt::Debug for CudaBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CudaBuffer({self} on device {})", self.device)
    }
}

/// Elements and type, as `3 f32`.
impl fmt::Display for CudaBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::F32 => "f32",
            Kind::F64 => "f64",
        };
        write!(f, "{} {kind}", self.elements)
    }
}
