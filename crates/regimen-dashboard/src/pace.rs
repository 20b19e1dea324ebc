//! The speed of a training.

use std::collections::VecDeque;

/// Steps per second over the last minute, or over the newest two observations if they are further apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace(VecDeque<(f64, u64)>);

const SECONDS: f64 = 60.0;

impl Pace {
    /// So many `steps` were completed at a time in seconds.
    pub(crate) fn observe(&mut self, seconds: f64, steps: u64) {
        if self.0.back().is_some_and(|&(_, before)| steps < before) {
            // The run went back to a checkpoint.
            self.0.clear();
        }
        if self.0.back().is_some_and(|&(at, before)| steps == before || seconds <= at) {
            return;
        }
        self.0.push_back((seconds, steps));
        while 2 < self.0.len() && self.0.get(1).is_some_and(|&(at, _)| SECONDS <= seconds - at) {
            self.0.pop_front();
        }
    }

    /// Steps per second. Returns `None` before there are two observations.
    pub(crate) fn steps_per_second(&self) -> Option<f64> {
        let (&(from, first), &(to, last)) = (self.0.front()?, self.0.back()?);
        (from < to).then(|| (last - first) as f64 / (to - from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(observed: &[(f64, u64)], speed: Option<f64>) {
        let mut pace = Pace::default();
        observed.iter().for_each(|&(seconds, steps)| pace.observe(seconds, steps));
        assert_eq!(pace.steps_per_second(), speed, "{observed:?}");
    }

    #[test]
    fn a_speed_is_that_of_the_last_minute() {
        check(&[], None);
        check(&[(0.0, 5)], None);
        check(&[(0.0, 5), (2.0, 9)], Some(2.0));
        check(&[(0.0, 5), (2.0, 9), (3.0, 9)], Some(2.0));
        check(&[(0.0, 0), (10.0, 100), (30.0, 200), (90.0, 1400)], Some(20.0));
        check(&[(0.0, 0), (1000.0, 10), (2000.0, 30)], Some(0.02));
    }

    #[test]
    fn a_run_that_went_back_has_a_new_speed() {
        check(&[(0.0, 0), (10.0, 100), (11.0, 50), (12.0, 53)], Some(3.0));
    }
}
