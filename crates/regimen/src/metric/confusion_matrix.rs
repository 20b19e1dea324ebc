//! The confusion matrix: which class was taken for which.

use std::fmt;

use super::logits::{argmax, check_lengths, check_target, rows};
use super::ratio;
use crate::BoxError;
use crate::saved::{Array, StateDict, Stateful};
use crate::text::Count;

/// Counts samples by their target and by the class predicted for them.
///
/// Its [`Display`](fmt::Display) is an aligned table: a row for each target, a column for each
/// prediction, recall at the end of the rows and precision below the columns. A row of logits that
/// holds a NaN predicts no class; such samples have a separate column, shown if it is not
/// empty, and count in the recall of their target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfusionMatrix {
    classes: usize,
    /// Row-major, a row for each target: its counts by predicted class, then those without one.
    counts: Vec<u64>,
}

const MOST: usize = 16_384;

impl ConfusionMatrix {
    /// An empty matrix of `classes` classes, numbered from 0. None at all is an error, and so are
    /// more than 16,384, whose counts would fill 2 GiB.
    pub fn new(classes: usize) -> Result<Self, BoxError> {
        if classes == 0 {
            return Err("a confusion matrix of 0 classes holds nothing; give 1 or more".into());
        }
        if classes > MOST {
            return Err(format!(
                "a confusion matrix of {classes} classes does not fit into memory; at most {MOST} do"
            )
            .into());
        }
        Ok(ConfusionMatrix { classes, counts: vec![0; classes * (classes + 1)] })
    }

    /// Counts predicted classes. As many predictions as targets are needed, and all in range; after
    /// an error nothing of this call is counted.
    pub fn add(&mut self, predictions: &[usize], targets: &[usize]) -> Result<(), BoxError> {
        check_lengths(predictions.len(), targets.len())?;
        let classes = self.classes;
        if let Some(prediction) = predictions.iter().find(|&&prediction| prediction >= classes) {
            return Err(
                format!("prediction {prediction} is out of range: there are {classes} classes").into()
            );
        }
        self.add_each(predictions.iter().copied().map(Some), targets)
    }

    /// Counts a matrix of logits, one row of as many as there are classes for each target, row
    /// after row. After an error nothing of this call is counted.
    pub fn add_logits<T: PartialOrd + Copy>(
        &mut self,
        logits: &[T],
        targets: &[usize],
    ) -> Result<(), BoxError> {
        let rows = rows(logits, targets)?;
        if let Some(row) = rows.clone().find(|row| row.len() != self.classes) {
            let (found, classes) = (row.len(), self.classes);
            return Err(format!(
                "rows of {} for a matrix of {classes} classes",
                Count(found as u64, "logit")
            )
            .into());
        }
        self.add_each(rows.map(argmax), targets)
    }

    fn add_each(
        &mut self,
        predictions: impl Iterator<Item = Option<usize>>,
        targets: &[usize],
    ) -> Result<(), BoxError> {
        targets.iter().try_for_each(|&target| check_target(target, self.classes))?;
        for (prediction, &target) in predictions.zip(targets) {
            self.counts[target * (self.classes + 1) + prediction.unwrap_or(self.classes)] += 1;
        }
        Ok(())
    }

    /// Adds what another has counted. One of another number of classes is an error.
    pub fn merge(&mut self, other: &ConfusionMatrix) -> Result<(), BoxError> {
        if self.classes != other.classes {
            let (ours, theirs) = (self.classes, other.classes);
            return Err(format!("matrices of {ours} and {theirs} classes cannot be merged").into());
        }
        for (ours, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *ours += theirs;
        }
        Ok(())
    }

    /// Forgets everything counted.
    pub fn reset(&mut self) {
        self.counts.fill(0);
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The number of samples of `target` predicted as `prediction`; 0 if there is no such class.
    pub fn count(&self, target: usize, prediction: usize) -> u64 {
        if prediction < self.classes { self.cell(target, prediction) } else { 0 }
    }

    /// The number of samples.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The share of all samples that was predicted right; none before anything is counted.
    pub fn accuracy(&self) -> Option<f64> {
        ratio((0..self.classes).map(|class| self.count(class, class)).sum(), self.total())
    }

    /// Of the samples taken for `class`, the share that is of it. Returns `None` if there are none.
    pub fn precision(&self, class: usize) -> Option<f64> {
        let predicted = (0..self.classes).map(|target| self.count(target, class)).sum();
        ratio(self.count(class, class), predicted)
    }

    /// The share of the samples of `class` that were predicted as it. Returns `None` without
    /// such samples.
    pub fn recall(&self, class: usize) -> Option<f64> {
        let samples = (0..=self.classes).map(|prediction| self.cell(class, prediction)).sum();
        ratio(self.count(class, class), samples)
    }

    /// The count in a column, that of no prediction included; 0 if there is no such row.
    fn cell(&self, target: usize, column: usize) -> u64 {
        self.counts.chunks(self.classes + 1).nth(target).map_or(0, |row| row[column])
    }
}

impl fmt::Display for ConfusionMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = (0..self.classes).any(|target| self.cell(target, self.classes) > 0);
        let columns = self.classes + usize::from(none);
        let largest = self.counts.iter().max().copied().unwrap_or(0);
        let width = largest.to_string().len().max(self.classes.to_string().len()).max(6);
        let share = |share: Option<f64>| match share {
            Some(share) => format!("{:.1} %", 100.0 * share),
            None => "-".to_owned(),
        };
        write!(f, "{:>9}", "target")?;
        for column in 0..columns {
            match column == self.classes {
                false => write!(f, " {column:>width$}")?,
                true => write!(f, " {:>width$}", "none")?,
            }
        }
        writeln!(f, " {:>8}", "recall")?;
        for target in 0..self.classes {
            write!(f, "{target:>9}")?;
            for column in 0..columns {
                write!(f, " {:>width$}", self.cell(target, column))?;
            }
            writeln!(f, " {:>8}", share(self.recall(target)))?;
        }
        write!(f, "{:>9}", "precision")?;
        for class in 0..self.classes {
            write!(f, " {:>width$}", share(self.precision(class)).replace(' ', ""))?;
        }
        if none {
            write!(f, " {:>width$}", "")?;
        }
        write!(f, " {:>8}", share(self.accuracy()))
    }
}

/// The counts; the number of classes belongs to the settings, and another is refused.
impl Stateful for ConfusionMatrix {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("counts", Array::from_slice(&self.counts))?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.check_state_dict(dict)?;
        self.counts = dict.array("counts")?.to_vec()?;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.state_dict()?.check_same_layout(dict)
    }
}
