//! A flight recorder: the last steps, written down if the run ends before its time.

mod flight;
mod ring;

pub use flight::{Flight, FlightStep};
pub(crate) use ring::Recorded;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::{Event, Events, Every, Ranks};
use crate::data::Loader;
use crate::run::{Ended, Report};
use crate::state::Phase;
use crate::time::since_1970;
use crate::{BoxError, Callback, Error, State};

/// Keeps the last training steps in memory, and writes them to a file if the run fails, is paused or hangs.
///
/// The file is a [`Flight`] in JSON. It is written after an error or a panic of a call of `train` or `fit`, at a pause,
/// such as by a signal, and by a [`Watchdog`](super::Watchdog::flight) if the run hangs. The step that failed is its last, and
/// is not complete. An older file is replaced as a whole, and its folder is created. A call that comes to its end leaves the
/// file of an earlier call as it is. A process that is killed writes nothing.
///
/// Each step has its place, the metrics logged in it, its times, and the indices of its samples if
/// [`samples_of`](FlightRecorder::samples_of) gives the loader. The indices are computed when the file is written. A step
/// costs five looks at the clock and, once the memory for `n` steps is there, no allocation but for the position of data
/// that has one. Nothing is read from a device: the losses of all steps are kept where they are, and read when the file is written.
///
/// Metrics that units and callbacks log only if somebody reads them, such as learning rates, have values in the steps
/// at which a log is due. [`every`](FlightRecorder::every) adds others. Among several [ranks](crate::Run::peers) the first
/// writes: losses are of its share of a batch, indices of the whole batch.
///
/// [`RunFolder`](crate::folder::RunFolder) has one. [`Replay`](crate::replay::Replay) makes a recorded step again.
///
/// ```
/// # use regimen::Run;
/// # use regimen::data::Loader;
/// # fn example<'a, U>(run: Run<'a, U>, loader: &Loader<Vec<f32>>) -> Run<'a, U> {
/// use regimen::callback::FlightRecorder;
///
/// run.callback(FlightRecorder::new("runs/mine/flight.json").samples_of(loader))
/// # }
/// ```
pub struct FlightRecorder {
    every: Every,
    ranks: Ranks,
    recorded: Arc<Recorded>,
    /// The newest start of a fetch or of a step.
    since: Instant,
}

impl FlightRecorder {
    /// Keeps 256 steps, to be written to the file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let recorded = Arc::new(Recorded::new(Some(path.into())));
        FlightRecorder { every: Every::NEVER, ranks: Ranks::First, recorded, since: Instant::now() }
    }

    /// Keeps the last `n` steps; 256 by default. Zero is an error of the run.
    pub fn last(self, n: usize) -> Self {
        self.recorded.keep(n);
        self
    }

    /// Asks for the metrics of single steps at this cadence; never by default. With `Every::steps(1)` each step has its
    /// learning rates and the norm of its gradient, if monitors log them. A step waits for a device as those
    /// monitors do.
    pub fn every(mut self, every: Every) -> Self {
        self.every = every;
        self
    }

    /// Writes the indices of the samples of each step, which are those of `loader`: the training data, or the loader
    /// under its adaptors. They are wrong under an adaptor that gives an epoch other batches, such as
    /// [`overfit_batches`](crate::data::DataExt::overfit_batches).
    pub fn samples_of<B: Send + 'static>(self, loader: &Loader<B>) -> Self {
        let loader = loader.clone();
        self.recorded.tell_samples(move |at, batch| loader.batch_indices(at, batch));
        self
    }

    /// The same recorder for one step that is made again, on all ranks. It writes nothing.
    pub(crate) fn of_replay(every: Every) -> Self {
        let recorded = Arc::new(Recorded::new(None));
        recorded.keep(1);
        FlightRecorder { every, ranks: Ranks::All, recorded, since: Instant::now() }
    }

    /// The steps, which a thread may write while the run hangs.
    pub(crate) fn recorded(&self) -> Arc<Recorded> {
        Arc::clone(&self.recorded)
    }
}

impl<U: ?Sized> Callback<U> for FlightRecorder {
    fn events(&self) -> Events {
        use Event::*;
        Events::of(&[TrainStart, TrainFetchStart, TrainFetchEnd, TrainStepStart, TrainStepEnd])
    }

    fn metrics_every(&self) -> Every {
        self.every
    }

    fn writes_down(&self) -> bool {
        true
    }

    fn ranks(&self) -> Ranks {
        self.ranks
    }

    fn on_event(&mut self, event: Event, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        if event == Event::TrainStart {
            return self.recorded.check();
        }
        let now = Instant::now();
        let lasted = now.duration_since(self.since);
        match event {
            Event::TrainFetchStart => self.recorded.begin(state, since_1970()),
            Event::TrainFetchEnd => self.recorded.fetched(lasted),
            Event::TrainStepEnd => self.recorded.complete(state, lasted),
            _ => {}
        }
        self.since = now;
        Ok(())
    }

    fn on_error(&mut self, state: &State, _unit: &mut U, error: &Error) {
        if state.entry_point().phase() == Phase::Train {
            let step = error.not_finite_step().map(|before| before + 1);
            // The error of the run is the one that matters.
            let _ = self.recorded.write(&format!("{error:#}"), step, true);
        }
    }

    fn sum_up(&mut self, report: &mut Report) {
        if let Ended::Paused(reason) = &report.ended
            && let Err(cause) = self.recorded.write(reason, None, true)
        {
            report.notices.push(cause.to_string());
        }
    }
}

impl fmt::Debug for FlightRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlightRecorder").field("path", &self.recorded.path()).finish_non_exhaustive()
    }
}
