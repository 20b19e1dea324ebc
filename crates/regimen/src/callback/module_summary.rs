//! The summary of a unit's module at the start of training.

use std::fmt;
use std::io::{self, Write};

use super::{Event, Events, Ranks};
use crate::engine::Engine;
use crate::summary::Summary;
use crate::{AutoUnit, BoxError, Callback, State, Task};

/// Prints the [`Summary`] of an `AutoUnit`'s module when training starts for the first time.
///
/// Parameters that the unit freezes at that time are not trainable. An output that is closed or full is no
/// error. Among several ranks only the first prints. For another unit, print [`Summary::of`] each of its
/// engines.
///
/// ```
/// # use regimen::engine::Engine;
/// # use regimen::{AutoUnit, Run, Task};
/// use regimen::callback::{ModuleSummary, ProgressBar};
///
/// # fn example<E: Engine, T: Task<E>>(run: Run<'_, AutoUnit<E, T>>) -> Run<'_, AutoUnit<E, T>> {
/// let bar = ProgressBar::new();
/// run.callback(ModuleSummary::to(bar.printer()).max_depth(2)).callback(bar)
/// # }
/// ```
pub struct ModuleSummary {
    out: Box<dyn Write + Send>,
    max_depth: usize,
    is_printed: bool,
}

impl ModuleSummary {
    /// On standard error.
    pub fn new() -> Self {
        ModuleSummary::to(io::stderr())
    }

    /// To `out`, in one write: the [printer](super::ProgressBar::printer) of a progress bar, say.
    pub fn to(out: impl Write + Send + 'static) -> Self {
        ModuleSummary { out: Box::new(out), max_depth: usize::MAX, is_printed: false }
    }

    /// The number of levels of names; see [`Summary::max_depth`]. Default: all.
    pub fn max_depth(mut self, depth: usize) -> Self {
        self.max_depth = depth;
        self
    }
}

impl Default for ModuleSummary {
    /// On standard error.
    fn default() -> Self {
        ModuleSummary::new()
    }
}

impl<E: Engine, T: Task<E>> Callback<AutoUnit<E, T>> for ModuleSummary {
    fn events(&self) -> Events {
        Events::of(&[Event::TrainStart])
    }

    fn ranks(&self) -> Ranks {
        Ranks::First
    }

    fn on_train_start(&mut self, _state: &mut State, unit: &mut AutoUnit<E, T>) -> Result<(), BoxError> {
        if !self.is_printed {
            let summary = Summary::of(unit.engine())?.max_depth(self.max_depth);
            // Nobody needs to know whether that worked.
            let _ = self.out.write_all(format!("{summary}\n").as_bytes());
            self.is_printed = true;
        }
        Ok(())
    }
}

impl fmt::Debug for ModuleSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ModuleSummary { max_depth, is_printed, .. } = self;
        f.debug_struct("ModuleSummary")
            .field("max_depth", max_depth)
            .field("is_printed", is_printed)
            .finish_non_exhaustive()
    }
}
