//! The key of a metric.

use std::fmt;
use std::sync::Arc;

/// The name of a metric and the reduction of its values within an epoch.
///
/// Declare it once and use it everywhere a metric is logged, watched or shown:
///
/// ```
/// use regimen_core::metric::Key;
/// const EVAL_LOSS: Key = Key::mean("eval/loss");
/// ```
///
/// A clone allocates nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    name: Name,
    reduction: Reduction,
}

/// The reduction of the values within an epoch to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// The mean, weighted by the weights given.
    Mean,
    /// The sum of value times weight.
    Sum,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The newest.
    Last,
}

impl Key {
    /// The weighted mean over the epoch.
    pub const fn mean(name: &'static str) -> Self {
        Key { name: Name::Static(name), reduction: Reduction::Mean }
    }

    /// The sum over the epoch of value times weight.
    pub const fn sum(name: &'static str) -> Self {
        Key { name: Name::Static(name), reduction: Reduction::Sum }
    }

    /// The smallest value of the epoch.
    pub const fn min(name: &'static str) -> Self {
        Key { name: Name::Static(name), reduction: Reduction::Min }
    }

    /// The largest value of the epoch.
    pub const fn max(name: &'static str) -> Self {
        Key { name: Name::Static(name), reduction: Reduction::Max }
    }

    /// The newest value of the epoch.
    pub const fn last(name: &'static str) -> Self {
        Key { name: Name::Static(name), reduction: Reduction::Last }
    }

    /// A key whose name is made at run time: one per class, one per layer.
    pub fn named(name: impl Into<String>, reduction: Reduction) -> Self {
        Key { name: Name::Shared(name.into().into()), reduction }
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.name.text()
    }

    /// The reduction of the values.
    pub fn reduction(&self) -> Reduction {
        self.reduction
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is in the program, or was made at run time.
#[derive(Clone)]
enum Name {
    Static(&'static str),
    Shared(Arc<str>),
}

impl Name {
    fn text(&self) -> &str {
        match self {
            Name::Static(text) => text,
            Name::Shared(text) => text,
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Name {}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}
