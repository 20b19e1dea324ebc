//! Predicted probabilities of classes, checked.

use super::logits::check_target;
use super::mean::Mean;
use crate::BoxError;
use crate::saved::StateDict;
use crate::text::Count;

/// The columns of a matrix of probabilities: that of class 1 alone, or one for each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Columns {
    One,
    Classes(usize),
}

/// The mean of a function of the probabilities of each sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SampleMean {
    columns: Columns,
    mean: Mean,
}

/// The probabilities of a sample, and its class.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample<'a, T> {
    row: &'a [T],
    pub(super) target: usize,
}

/// How far the sum of a row may be from 1: probabilities in half precision are.
const TOLERANCE: f64 = 0.01;

impl Columns {
    pub(super) fn classes(classes: usize) -> Result<Self, BoxError> {
        match classes {
            0 | 1 => Err(format!("probabilities of {classes} classes; give 2 or more").into()),
            _ => Ok(Columns::Classes(classes)),
        }
    }

    /// The number of columns, which is that of all settings.
    pub(super) fn count(self) -> usize {
        match self {
            Columns::One => 1,
            Columns::Classes(classes) => classes,
        }
    }

    /// The samples of a matrix, row after row, if all of them are probabilities.
    pub(super) fn samples<'a, T: Copy + Into<f64>>(
        self,
        probabilities: &'a [T],
        targets: &'a [usize],
    ) -> Result<impl Iterator<Item = Sample<'a, T>> + Clone, BoxError> {
        let columns = self.count();
        if targets.len().checked_mul(columns) != Some(probabilities.len()) {
            let (found, targets) = (probabilities.len(), targets.len());
            return Err(
                format!("{found} probabilities are not {columns} for each of {targets} targets").into()
            );
        }
        let is_wrong = |&probability: &T| !(0.0..=1.0).contains(&probability.into());
        if let Some(index) = probabilities.iter().position(is_wrong) {
            let found: f64 = probabilities[index].into();
            return Err(format!("probability {index} is {found}, not from 0 to 1").into());
        }
        for (number, row) in probabilities.chunks_exact(columns).enumerate().filter(|_| columns > 1) {
            let sum: f64 = row.iter().map(|&probability| probability.into()).sum();
            if (sum - 1.0).abs() > TOLERANCE {
                return Err(format!("the probabilities of row {number} have the sum {sum}, not 1").into());
            }
        }
        targets.iter().try_for_each(|&target| check_target(target, columns.max(2)))?;
        let rows = probabilities.chunks_exact(columns).zip(targets);
        Ok(rows.map(|(row, &target)| Sample { row, target }))
    }

    /// An error unless the array `columns` of a state is of as many.
    pub(super) fn check_state(self, dict: &StateDict) -> Result<(), BoxError> {
        match dict.get::<u64>("columns")? {
            columns if columns == self.count() as u64 => Ok(()),
            columns => {
                let columns = Count(columns, "column");
                Err(format!("the saved measure has {columns}, this one {}", self.count()).into())
            }
        }
    }

    /// An error unless both are equal.
    pub(super) fn check_same(self, other: Columns) -> Result<(), BoxError> {
        if self == other {
            return Ok(());
        }
        let told = |columns: Columns| match columns {
            Columns::One => "a binary class".to_owned(),
            Columns::Classes(classes) => format!("{classes} classes"),
        };
        Err(format!("probabilities of {} and of {} cannot be merged", told(self), told(other)).into())
    }
}

impl SampleMean {
    pub(super) fn new(columns: Columns) -> Self {
        SampleMean { columns, mean: Mean::default() }
    }

    /// Counts samples, of which `of` is the function. After an error nothing of them is counted.
    pub(super) fn update<'a, T: Copy + Into<f64>>(
        &mut self,
        probabilities: &'a [T],
        targets: &'a [usize],
        of: impl Fn(Sample<'a, T>) -> f64,
    ) -> Result<(), BoxError> {
        self.columns.samples(probabilities, targets)?.for_each(|sample| self.mean.add(of(sample)));
        Ok(())
    }

    /// Returns `None` without samples.
    pub(super) fn value(self) -> Option<f64> {
        self.mean.value()
    }

    pub(super) fn merge(&mut self, other: SampleMean) -> Result<(), BoxError> {
        self.columns.check_same(other.columns)?;
        self.mean.merge(other.mean);
        Ok(())
    }

    pub(super) fn reset(&mut self) {
        self.mean = Mean::default();
    }

    /// The state, in which the sum has this name.
    pub(super) fn state_dict(self, sum: &str) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("columns", self.columns.count() as u64)?;
        self.mean.insert_into(&mut dict, [sum, "samples"])?;
        Ok(dict)
    }

    /// The same with what a state holds. One of other columns is refused.
    pub(super) fn loaded(self, dict: &StateDict, sum: &str) -> Result<Self, BoxError> {
        self.columns.check_state(dict)?;
        Ok(SampleMean { mean: Mean::from_state(dict, [sum, "samples"])?, ..self })
    }
}

impl<T: Copy + Into<f64>> Sample<'_, T> {
    /// The probability of the target.
    pub(super) fn of_target(self) -> f64 {
        match *self.row {
            [of_one] if self.target == 1 => of_one.into(),
            [of_one] => 1.0 - of_one.into(),
            ref row => row[self.target].into(),
        }
    }

    /// The class with the largest probability, the first of equal ones, and this probability.
    pub(super) fn predicted(self) -> (usize, f64) {
        if let [of_one] = *self.row {
            let of_one = of_one.into();
            return if of_one > 0.5 { (1, of_one) } else { (0, 1.0 - of_one) };
        }
        let of_classes = self.row.iter().map(|&probability| probability.into()).enumerate();
        of_classes.fold((0, -1.0), |best, next| if next.1 > best.1 { next } else { best })
    }

    /// The sum over classes of the squared difference from 1 for the target and from 0 for the others; of one column,
    /// that of this column alone.
    pub(super) fn squared_error(self) -> f64 {
        let from = |probability: f64, is_target: bool| (f64::from(u8::from(is_target)) - probability).powi(2);
        let first = usize::from(self.row.len() == 1);
        let classes = self.row.iter().zip(first..);
        classes.map(|(&probability, class)| from(probability.into(), class == self.target)).sum()
    }
}

/// The one of `bins` bins of equal width over 0 to 1 that holds `value`: a value at an edge is in the bin above it, and
/// 1 in the last one.
pub(super) fn bin(value: f64, bins: usize) -> usize {
    let edge = |bin: usize| bin as f64 / bins as f64;
    // The product may round to the edge next to it.
    let bin = (value * bins as f64) as usize;
    let bin = if value < edge(bin) { bin - 1 } else { bin + usize::from(value >= edge(bin + 1)) };
    bin.min(bins - 1)
}
