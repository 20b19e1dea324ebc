//! The confusion matrix: which class was taken for which.

use std::borrow::Cow;
use std::fmt;

use super::confusion_picture::picture;
use super::logits::{argmax, check_lengths, check_target, rows};
use super::measure::counted_by_each_rank;
use super::{Image, Measure, ratio};
use crate::BoxError;
use crate::saved::{Array, MAX_COUNT, StateDict, Stateful};
use crate::text::Count;

/// Counts samples by their target and by the class predicted for them.
///
/// Its [`Display`](fmt::Display) is an aligned table: a row for each target, a column for each
/// prediction, recall at the end of the rows and precision below the columns. A row of logits that
/// holds a NaN predicts no class; such samples have a separate column, shown if it is not
/// empty, and count in the recall of their target. [`image`](ConfusionMatrix::image) is the same as a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfusionMatrix {
    classes: usize,
    /// Of the classes; empty if they have numbers.
    names: Vec<String>,
    /// Row-major, a row for each target: its counts by predicted class, then those without one.
    counts: Vec<u64>,
    /// The sum of the counts.
    total: u64,
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
        Ok(ConfusionMatrix { classes, names: Vec::new(), counts: vec![0; classes * (classes + 1)], total: 0 })
    }

    /// An empty matrix of as many classes as there are names, for its table and its picture. Both show the first 18
    /// characters of a longer name.
    pub fn named(names: impl IntoIterator<Item: Into<String>>) -> Result<Self, BoxError> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let numbered = ConfusionMatrix::new(names.len())?;
        Ok(ConfusionMatrix { names, ..numbered })
    }

    /// Counts a matrix of logits, one row of as many as there are classes for each target, row
    /// after row. After an error nothing of this call is counted.
    pub fn update_logits<T: PartialOrd + Copy>(
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
        self.total += targets.len() as u64;
        Ok(())
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
        self.total
    }

    /// The share of all samples that was predicted right; returns `None` before a sample is counted.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.right(), self.total)
    }

    /// The number of samples predicted right.
    pub(super) fn right(&self) -> u64 {
        (0..self.classes).map(|class| self.cell(class, class)).sum()
    }

    /// The matrix as a picture in colour, to log as [`Media`](super::Media): a row for each target, a column for
    /// each prediction. The darker a cell, the larger its share of the row; the row of a class without samples is
    /// grey.
    ///
    /// Cells have their shares as numbers if there are fewer than 70 classes. Of more than 1024, several classes
    /// are one cell, which shows the largest of their shares.
    ///
    /// ```
    /// # use regimen::State;
    /// # use regimen::metric::{ConfusionMatrix, Measure};
    /// # fn example(state: &mut State) -> Result<(), regimen::BoxError> {
    /// let mut matrix = ConfusionMatrix::named(["cat", "dog"])?;
    /// matrix.update((&[0, 1, 1], &[0, 1, 0]))?;
    /// state.log_media("eval/confusion_matrix", matrix.image()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn image(&self) -> Result<Image, BoxError> {
        picture(self)
    }

    /// The name of a column, that of no prediction included.
    pub(super) fn name(&self, column: usize) -> Cow<'_, str> {
        match self.names.get(column) {
            _ if column == self.classes => "none".into(),
            Some(name) if name.chars().count() > 18 => {
                (name.chars().take(18).collect::<String>() + "..").into()
            }
            Some(name) => name.into(),
            None => column.to_string().into(),
        }
    }

    /// Columns that are shown: that of no prediction only if it is not empty.
    pub(super) fn columns(&self) -> usize {
        self.classes + usize::from((0..self.classes).any(|target| self.cell(target, self.classes) > 0))
    }

    /// The count in a column, that of no prediction included; 0 if there is no such row.
    pub(super) fn cell(&self, target: usize, column: usize) -> u64 {
        self.counts.chunks(self.classes + 1).nth(target).map_or(0, |row| row[column])
    }
}

impl fmt::Display for ConfusionMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.columns();
        let largest = self.counts.iter().max().map_or(0, |count| count.to_string().len());
        let name_of = |column| self.name(column).chars().count();
        let width_of = |column| largest.max(name_of(column)).max(6);
        let left = (0..self.classes).map(name_of).max().unwrap_or(0).max(9);
        let share = |share: Option<f64>| match share {
            Some(share) => format!("{:.1} %", 100.0 * share),
            None => "-".to_owned(),
        };
        write!(f, "{:>left$}", "target")?;
        for column in 0..columns {
            write!(f, " {:>1$}", self.name(column), width_of(column))?;
        }
        writeln!(f, " {:>8}", "recall")?;
        for target in 0..self.classes {
            write!(f, "{:>left$}", self.name(target))?;
            for column in 0..columns {
                write!(f, " {:>1$}", self.cell(target, column), width_of(column))?;
            }
            writeln!(f, " {:>8}", share(self.recall(target)))?;
        }
        write!(f, "{:>left$}", "precision")?;
        for class in 0..self.classes {
            write!(f, " {:>1$}", share(self.precision(class)).replace(' ', ""), width_of(class))?;
        }
        if columns > self.classes {
            write!(f, " {:>1$}", "", width_of(self.classes))?;
        }
        write!(f, " {:>8}", share(self.accuracy()))
    }
}

/// Of predicted classes and targets, as many of each, and all in range.
impl Measure for ConfusionMatrix {
    type Batch<'b> = (&'b [usize], &'b [usize]);

    /// The [accuracy](ConfusionMatrix::accuracy).
    type Value = Option<f64>;

    fn update(&mut self, (predicted, targets): Self::Batch<'_>) -> Result<(), BoxError> {
        check_lengths(predicted.len(), targets.len())?;
        let classes = self.classes;
        if let Some(class) = predicted.iter().find(|&&class| class >= classes) {
            return Err(format!("prediction {class} is out of range: there are {classes} classes").into());
        }
        self.add_each(predicted.iter().copied().map(Some), targets)
    }

    fn compute(&self) -> Option<f64> {
        self.accuracy()
    }

    fn merge(&mut self, other: &ConfusionMatrix) -> Result<(), BoxError> {
        if self.classes != other.classes {
            let (ours, theirs) = (self.classes, other.classes);
            return Err(format!("matrices of {ours} and {theirs} classes cannot be merged").into());
        }
        for (ours, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *ours += theirs;
        }
        self.total += other.total;
        Ok(())
    }

    fn reset(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }
}

/// The counts; classes and names are settings. Another number of classes is refused.
impl Stateful for ConfusionMatrix {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("counts", Array::from_slice(&self.counts))?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.check_state_dict(dict)?;
        let counts: Vec<u64> = dict.array("counts")?.to_vec()?;
        let total = counts.iter().try_fold(0_u64, |total, &count| total.checked_add(count));
        self.total = total
            .filter(|&total| total <= MAX_COUNT)
            .ok_or("`counts` add up to more than any run counts; they are damaged")?;
        self.counts = counts;
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.state_dict()?.check_same_layout(dict)
    }

    counted_by_each_rank!();
}
