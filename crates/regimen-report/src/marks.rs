//! Another count beside the step.

/// The values of another count at some steps: epochs, samples or seconds. Between two marks it grows evenly.
///
/// At most [`Curve::MOST`](crate::Curve::MOST) marks are kept; if there are more, every second one is left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marks {
    marks: Vec<(u64, f64)>,
    /// Marks that are left out between two.
    left_out: u64,
    skipped: u64,
    newest: Option<(u64, f64)>,
}

impl Marks {
    /// No mark.
    pub fn new() -> Self {
        Marks::default()
    }

    /// Adds a mark. The steps and the counts only grow: a mark that is before the last one is left out.
    pub fn push(&mut self, step: u64, at: f64) {
        if !at.is_finite() || self.newest.is_some_and(|(last, value)| step <= last || at < value) {
            return;
        }
        self.newest = Some((step, at));
        if self.skipped < self.left_out {
            self.skipped += 1;
            return;
        }
        self.skipped = 0;
        self.marks.push((step, at));
        if self.marks.len() == crate::Curve::MOST {
            let mut n = 0;
            self.marks.retain(|_| {
                n += 1;
                n % 2 == 1
            });
            self.left_out = self.left_out * 2 + 1;
        }
    }

    /// Removes the marks at `step` and later.
    pub(crate) fn cut(&mut self, step: u64) {
        if self.newest.is_some_and(|(last, _)| last < step) {
            return;
        }
        while self.marks.pop_if(|(last, _)| step <= *last).is_some() {}
        self.newest = self.marks.last().copied();
        self.skipped = 0;
    }

    /// The marks in the order of their steps, with the last one.
    pub fn all(&self) -> Vec<(u64, f64)> {
        let mut all = self.marks.clone();
        all.extend(self.newest.filter(|newest| all.last() != Some(newest)));
        all
    }

    /// The count at the last mark.
    pub fn last(&self) -> Option<f64> {
        Some(self.newest?.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_thinned_out_and_the_last_one_stays() {
        let mut marks = Marks::new();
        (1..=5000).for_each(|step| marks.push(step, step as f64 / 2.0));
        let all = marks.all();
        assert!((512..=1024).contains(&all.len()), "{}", all.len());
        assert_eq!((all[0], all[all.len() - 1]), ((1, 0.5), (5000, 2500.0)));
        assert!(all.iter().all(|&(step, at)| at == step as f64 / 2.0));
    }

    #[test]
    fn steps_that_were_made_again_have_the_later_marks() {
        let mut marks = Marks::new();
        (1..=9).for_each(|step| marks.push(step, step as f64));
        marks.cut(5);
        marks.push(5, 50.0);
        assert_eq!(marks.all(), [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 50.0)]);
        marks.push(6, 49.0);
        assert_eq!(marks.last(), Some(50.0));
    }
}
