//! The newest times of a profile, for a trace.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Times that are kept by default.
const LIMIT: usize = 100_000;

/// The newest times of blocks, each at its end.
pub(super) struct Spans {
    newest: VecDeque<Span>,
    limit: usize,
}

struct Span {
    block: usize,
    /// In nanoseconds.
    began: u64,
    time: u64,
}

impl Spans {
    pub(super) fn new() -> Self {
        Spans { newest: VecDeque::new(), limit: LIMIT }
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        let over = self.newest.len().saturating_sub(limit);
        self.newest.drain(..over);
    }

    pub(super) fn add(&mut self, block: usize, began: u64, time: u64) {
        if self.limit == 0 {
            return;
        }
        if self.newest.len() == self.limit {
            self.newest.pop_front();
        }
        self.newest.push_back(Span { block, began, time });
    }

    /// Writes the trace events of Chrome: complete events (`"ph":"X"`) of one thread, in microseconds.
    pub(super) fn write(&self, names: &[&str], path: &Path) -> io::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        out.write_all(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")?;
        for (i, Span { block, began, time }) in self.newest.iter().enumerate() {
            out.write_all(if i == 0 { b"\n" } else { b",\n" })?;
            let name = serde_json::to_string(names.get(*block).copied().unwrap_or(""))?;
            let [began, time] = [*began, *time].map(|time| time as f64 / 1e3);
            write!(
                out,
                "{{\"name\":{name},\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":{began:.3},\"dur\":{time:.3}}}"
            )?;
        }
        out.write_all(b"\n]}\n")?;
        out.flush()
    }
}
