//! The time that a run has taken until a step, without the pauses between its starts.

use crate::Marks;

/// Seconds until each step. Each start goes on with the time of the step from which it starts.
#[derive(Debug, Default)]
pub(crate) struct Elapsed {
    marks: Marks,
    /// The time of the newest start, and the seconds before it.
    start: Option<(f64, f64)>,
}

impl Elapsed {
    /// A start whose first step is `step`, at a time in seconds.
    pub(crate) fn begin(&mut self, step: u64, time: f64) {
        self.marks.cut(step);
        self.start = Some((time, self.marks.last().unwrap_or(0.0)));
    }

    /// `step` was made at a time.
    pub(crate) fn mark(&mut self, step: u64, time: f64) {
        if let Some((start, before)) = self.start {
            self.marks.push(step, before + (time - start).max(0.0));
        }
    }

    pub(crate) fn into_marks(self) -> Marks {
        self.marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_and_steps_that_were_made_again_do_not_count() {
        let mut elapsed = Elapsed::default();
        elapsed.begin(0, 1000.0);
        [(10, 1010.0), (20, 1020.0), (30, 1030.0)].iter().for_each(|&(step, time)| elapsed.mark(step, time));
        // A day later, from the checkpoint of step 20.
        elapsed.begin(21, 90_000.0);
        elapsed.mark(30, 90_015.0);
        assert_eq!(elapsed.into_marks().all(), [(10, 10.0), (20, 20.0), (30, 35.0)]);
    }
}
