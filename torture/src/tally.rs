//! The result of one kind of torture.

use std::fmt;

/// The counts of one kind of torture, and every violation.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    name: &'static str,
    wanted: u64,
    done: u64,
    /// Further counts, as text.
    pub(crate) detail: String,
    violations: Vec<String>,
    not_run: Option<String>,
}

impl Tally {
    /// Creates a tally that expects `wanted` cases.
    pub(crate) fn new(name: &'static str, wanted: u64) -> Self {
        Tally { name, wanted, ..Tally::default() }
    }

    /// Marks the torture as not run, with the reason.
    pub(crate) fn not_run(self, why: impl fmt::Display) -> Self {
        Tally { not_run: Some(why.to_string()), ..self }
    }

    /// Counts one case and records its violation.
    pub(crate) fn count(&mut self, outcome: Result<(), String>) {
        self.done += 1;
        self.note(outcome);
    }

    /// Records the outcome of a check that is not counted as a case.
    pub(crate) fn note(&mut self, outcome: Result<(), String>) {
        if let Err(violation) = outcome {
            println!("{} {}: VIOLATION: {violation}", self.name, self.done);
            self.violations.push(violation);
        }
    }

    /// Sets the expected number of cases if it is known only later.
    pub(crate) fn expect(&mut self, wanted: u64) {
        self.wanted = wanted;
    }

    /// Exit status: 0 if everything ran and every promise was kept, 1 if one was broken, 2 if
    /// something did not run.
    pub(crate) fn status(&self) -> u8 {
        if !self.violations.is_empty() {
            return 1;
        }
        if self.not_run.is_some() { 2 } else { 0 }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { name, done, wanted, detail, violations, not_run } = self;
        write!(f, "{name} {done}/{wanted}")?;
        match not_run {
            Some(why) => write!(f, " NOT RUN: {why}"),
            None => write!(f, ": {detail}{} violations", violations.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tally: &Tally, text: &str, status: u8) {
        assert_eq!((tally.to_string().as_str(), tally.status()), (text, status));
    }

    #[test]
    fn a_broken_promise_weighs_more_than_what_was_not_run() {
        let mut tally = Tally::new("cuts", 2);
        tally.count(Ok(()));
        check(&tally, "cuts 1/2: 0 violations", 0);
        tally.count(Err("a save is lost".into()));
        check(&tally, "cuts 2/2: 1 violations", 1);
        assert_eq!(tally.not_run("no loop device").status(), 1);
        check(&Tally::new("cuts", 9).not_run("no root"), "cuts 0/9 NOT RUN: no root", 2);
    }
}
