//! The summary of a unit's module at the start of training.

use std::fmt;
use std::io::{self, Write};

use console::Term;

use super::{Event, Events, Ranks};
use crate::engine::Engine;
use crate::profile::Profile;
use crate::summary::Summary;
use crate::{AutoUnit, BoxError, Callback, State, Task};

/// Prints the [`Summary`] of an `AutoUnit`'s module when training starts for the first time.
///
/// Parameters that the unit freezes at that time are not trainable. The table is as wide as the terminal of
/// standard error, or 80 columns if that is narrower or none. An output that is closed or full is no error.
/// Among several ranks only the first prints. For another unit, print [`Summary::of`] each of its engines.
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
    measures: bool,
    /// The number of steps measured so far.
    measured: u64,
    /// Samples before the step under way, and those of the step before it.
    samples: [u64; 2],
    profile: Option<Profile>,
    is_printed: bool,
}

/// The step whose costs are shown. Those before it allocate memory and choose kernels.
const STEP: u64 = 3;

impl ModuleSummary {
    /// On standard error.
    pub fn new() -> Self {
        ModuleSummary::to(io::stderr())
    }

    /// To `out`, in one write: the [printer](super::ProgressBar::printer) of a progress bar, say.
    pub fn to(out: impl Write + Send + 'static) -> Self {
        ModuleSummary {
            out: Box::new(out),
            max_depth: usize::MAX,
            measures: false,
            measured: 0,
            samples: [0; 2],
            profile: None,
            is_printed: false,
        }
    }

    /// The number of levels of names; see [`Summary::max_depth`]. Default: all.
    pub fn max_depth(mut self, depth: usize) -> Self {
        self.max_depth = depth;
        self
    }

    /// Also shows the [costs](Summary#costs) of the third training step: outputs, operations and times of
    /// layers. It prints after that step, or, if a call of `train` or `fit` ends earlier, at its end with the
    /// costs of its last step. The steps that are measured take longer, and [change no result](crate::engine::Engine::measure). With
    /// gradient accumulation the costs are those of one micro-batch.
    ///
    /// ```
    /// # use regimen::engine::Engine;
    /// # use regimen::{AutoUnit, Run, Task};
    /// # use regimen::callback::ModuleSummary;
    /// # fn example<E: Engine, T: Task<E>>(run: Run<'_, AutoUnit<E, T>>) -> Run<'_, AutoUnit<E, T>> {
    /// run.callback(ModuleSummary::new().measure())
    /// # }
    /// ```
    pub fn measure(mut self) -> Self {
        self.measures = true;
        self
    }

    /// [Measures](ModuleSummary::measure), and gives the operations per sample to `profile`, if the engine knows them.
    pub fn profile(mut self, profile: &Profile) -> Self {
        self.profile = Some(profile.clone());
        self.measure()
    }

    fn print<E: Engine>(&mut self, engine: &E) -> Result<(), BoxError> {
        let summary = Summary::of(engine)?.max_depth(self.max_depth);
        if let Some(profile) = &self.profile {
            profile.measured(&summary, self.samples[1]);
        }
        let columns = Term::stderr().size_checked().map_or(0, |(_, columns)| usize::from(columns));
        // Nobody needs to know whether that worked.
        let _ = self.out.write_all(format!("{summary:0$}\n", columns.max(80)).as_bytes());
        self.is_printed = true;
        Ok(())
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
        match self.measures {
            true => Event::TrainStepStart | Event::TrainStepEnd | Event::TrainEnd,
            false => Events::of(&[Event::TrainStart]),
        }
    }

    fn ranks(&self) -> Ranks {
        Ranks::First
    }

    fn on_train_start(&mut self, _state: &mut State, unit: &mut AutoUnit<E, T>) -> Result<(), BoxError> {
        if self.is_printed { Ok(()) } else { self.print(unit.engine()) }
    }

    fn on_train_step_start(&mut self, state: &mut State, unit: &mut AutoUnit<E, T>) -> Result<(), BoxError> {
        if !self.is_printed {
            self.samples[0] = state.train_progress().samples;
            unit.engine_mut().measure(true);
        }
        Ok(())
    }

    fn on_train_step_end(&mut self, state: &mut State, unit: &mut AutoUnit<E, T>) -> Result<(), BoxError> {
        if !self.is_printed {
            // Ranks have equal shares.
            let samples = state.train_progress().samples.saturating_sub(self.samples[0]);
            self.samples[1] = samples / state.rank().count.max(1);
        }
        self.measured += 1;
        if self.measured < STEP { Ok(()) } else { self.on_train_end(state, unit) }
    }

    fn on_train_end(&mut self, _state: &mut State, unit: &mut AutoUnit<E, T>) -> Result<(), BoxError> {
        if !self.is_printed {
            self.print(unit.engine())?;
            unit.engine_mut().measure(false);
        }
        Ok(())
    }
}

impl fmt::Debug for ModuleSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ModuleSummary { max_depth, measures, is_printed, .. } = self;
        f.debug_struct("ModuleSummary")
            .field("max_depth", max_depth)
            .field("measures", measures)
            .field("is_printed", is_printed)
            .finish_non_exhaustive()
    }
}
