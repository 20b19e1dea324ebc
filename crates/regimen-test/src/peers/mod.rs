//! Peers for tests: ranks that are threads of one process, and wrappers that make a transport slow or end a rank.
//!
//! ```
//! use std::time::Duration;
//!
//! use regimen_core::engine::Bucket;
//! use regimen_core::peers::Peers;
//! use regimen_test::peers::{Threads, on_ranks};
//!
//! let sums = on_ranks(Threads::of(3, Duration::from_secs(60)), |peers| {
//!     let mut values = [peers.rank().index as f64, 1.0];
//!     peers.sum(Bucket::F64(&mut values)).map(|()| values).map_err(|error| error.to_string())
//! });
//! assert_eq!(sums, [Ok(Ok([3.0, 3.0])), Ok(Ok([3.0, 3.0])), Ok(Ok([3.0, 3.0]))]);
//! ```

mod on_ranks;
mod punisher;
mod slow;
mod threads;

pub use on_ranks::on_ranks;
pub use punisher::{Collective, Punisher, Punishment};
pub use slow::Slow;
pub use threads::Threads;

use std::fmt;

use regimen_core::BoxError;
use regimen_core::engine::Bucket;

/// A collective as a rank calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    SumF32(usize),
    SumF64(usize),
    Gather(usize),
    Broadcast(usize),
    Commit,
}

impl Call {
    /// An error for a bucket on a device, whose length is not known.
    fn sum(values: &Bucket<'_>) -> Result<Self, BoxError> {
        match values {
            Bucket::F32(values) => Ok(Call::SumF32(values.len())),
            Bucket::F64(values) => Ok(Call::SumF64(values.len())),
            other => Err(other.refused()),
        }
    }

    /// Whether ranks may make these calls together.
    fn goes_with(self, other: Call) -> bool {
        self == other || matches!((self, other), (Call::Gather(_), Call::Gather(_)))
    }

    /// Bytes that the rank sends.
    fn bytes(self) -> usize {
        match self {
            Call::SumF32(values) => 4 * values,
            Call::SumF64(values) => 8 * values,
            Call::Gather(bytes) | Call::Broadcast(bytes) => bytes,
            Call::Commit => 0,
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::SumF32(values) => write!(f, "sum of {values} f32"),
            Call::SumF64(values) => write!(f, "sum of {values} f64"),
            Call::Gather(bytes) => write!(f, "gather of {bytes} bytes"),
            Call::Broadcast(bytes) => write!(f, "broadcast of {bytes} bytes"),
            Call::Commit => write!(f, "commit"),
        }
    }
}
