//! What the measuring programs share: counted allocations, rounds that take turns in one program and
//! in several, cells that have a process of their own, and the lines that `cargo xtask bench` reads.

mod allocations;
mod cell;
mod empty;
mod rounds;
mod serve;

pub use allocations::{Counting, allocations};
pub use cell::Cell;
pub use empty::{CALLBACKS, empty_run};
pub use rounds::{median, rounds};
pub use serve::{Contestant, serve};

use std::io::{self, Write};

/// Prints one line.
pub fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

/// Prints one figure as `cargo xtask bench` reads it: four cells with tabs between.
pub fn figure(case: &str, metric: &str, value: f64, unit: &str) -> io::Result<()> {
    line(&format!("{case}\t{metric}\t{value}\t{unit}"))
}
