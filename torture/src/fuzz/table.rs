//! Fuzz results per reader.

use std::collections::BTreeMap;
use std::fmt;

use super::child::{Outcome, Verdict};
use super::trial::FLOOR;

/// Counts per reader.
#[derive(Debug, Default)]
pub(super) struct Table(BTreeMap<String, Row>);

#[derive(Debug, Default)]
struct Row {
    cases: u64,
    read: u64,
    broken: BTreeMap<Verdict, u64>,
    /// Peak memory, in bytes.
    peak: usize,
    /// Largest ratio of memory beyond the common allowance to input size.
    multiple: f64,
}

impl Table {
    /// Counts `outcome`, and returns the number of its verdict for its reader so far.
    pub(super) fn count(&mut self, outcome: &Outcome) -> u64 {
        let row = self.0.entry(outcome.reader.clone()).or_default();
        row.cases += 1;
        row.read += u64::from(outcome.is_read);
        row.peak = row.peak.max(outcome.peak);
        let multiple = outcome.peak.saturating_sub(FLOOR) as f64 / outcome.size.max(1) as f64;
        row.multiple = row.multiple.max(multiple);
        if outcome.verdict == Verdict::Held {
            return 0;
        }
        let count = row.broken.entry(outcome.verdict).or_default();
        *count += 1;
        *count
    }

    pub(super) fn cases(&self) -> u64 {
        self.0.values().map(|row| row.cases).sum()
    }

    /// The number of cases that broke a promise, as text.
    pub(super) fn broken(&self) -> String {
        let broken: u64 = self.0.values().flat_map(|row| row.broken.values()).sum();
        format!("{broken} cases broke a promise, {} readers", self.0.len())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let beyond = format!("x file beyond {} KiB", FLOOR / 1024);
        writeln!(
            f,
            "{:<14}{:>9}{:>9}{:>8}{:>7}{:>9}{:>12}{:>13}{:>13}  {beyond}",
            "reader",
            "cases",
            "read",
            "panics",
            "hangs",
            "crashes",
            "mismatches",
            "over memory",
            "most memory"
        )?;
        for (reader, row) in &self.0 {
            let broken = |verdict| row.broken.get(&verdict).copied().unwrap_or(0);
            let [panics, hangs, crashes, mismatches, memory] =
                [Verdict::Panic, Verdict::Hang, Verdict::Crash, Verdict::Mismatch, Verdict::Memory]
                    .map(broken);
            let Row { cases, read, peak, multiple, .. } = row;
            writeln!(
                f,
                "{reader:<14}{cases:>9}{read:>9}{panics:>8}{hangs:>7}{crashes:>9}{mismatches:>12}{memory:>13}\
                 {peak:>13}  {multiple:.1}"
            )?;
        }
        Ok(())
    }
}
