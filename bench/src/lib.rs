//! Shared parts of the benchmarks: allocation counts, runs to measure, rounds in one program and over several, cells
//! in separate processes, and the output lines that `cargo xtask bench` parses.

mod allocations;
mod batteries;
mod cell;
mod empty;
mod interfaces;
mod ranks;
mod rounds;
mod serve;

pub use allocations::{Counting, allocations};
pub use batteries::batteries_run;
pub use cell::Cell;
pub use empty::{CALLBACKS, empty_run, profiled_run};
pub use interfaces::{Interface, small_run};
pub use ranks::{BATCH, Ranks};
pub use rounds::{median, rounds};
pub use serve::{Contestant, serve};

use std::io::{self, Write};

/// Prints one line.
pub fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

/// Prints one figure for `cargo xtask bench`: four cells separated by tabs.
pub fn figure(case: &str, metric: &str, value: f64, unit: &str) -> io::Result<()> {
    line(&format!("{case}\t{metric}\t{value}\t{unit}"))
}
