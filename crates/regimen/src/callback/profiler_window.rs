//! A profiler that runs in a few training steps.

use std::fmt;
use std::ops::Range;

use super::{Event, Events};
use crate::{BoxError, Callback, Error, State};

/// Starts a profiler before some training steps and stops it after them.
///
/// It runs from the fetch of the first batch of a window to the end of its last step, and in all that
/// happens between, such as evaluations. It is also stopped when the call ends, is paused or fails in the
/// window; a call that goes on in the window starts it again.
///
/// Among several [ranks](crate::Run::peers) each runs a profiler: give each a file of its own, or wrap this in a
/// [`FirstRank`](super::FirstRank).
///
/// ```
/// # use regimen::{BoxError, Run};
/// # struct Profile;
/// # impl Profile {
/// #     fn begin() -> Result<Self, BoxError> { Ok(Profile) }
/// #     fn write(self, _: &str) -> Result<(), BoxError> { Ok(()) }
/// # }
/// use regimen::callback::ProfilerWindow;
///
/// # fn example<U>(run: Run<'_, U>) -> Run<'_, U> {
/// // Without the first 20 steps, which warm up.
/// let profiler = ProfilerWindow::new(20..25, || Profile::begin(), |profile| profile.write("profile.json"));
/// run.callback(profiler.and(10_000..10_005))
/// # }
/// ```
pub struct ProfilerWindow<P, B, E> {
    windows: Vec<Range<u64>>,
    begin: B,
    end: E,
    running: Option<P>,
}

impl<P, B, E> ProfilerWindow<P, B, E>
where
    B: FnMut() -> Result<P, BoxError>,
    E: FnMut(P) -> Result<(), BoxError>,
{
    /// Calls `begin` before the steps of `window`, and `end` after them with its result. Steps are counted
    /// from 0 over the whole run, restarts included: `20..25` are the five steps after the first 20.
    pub fn new(window: Range<u64>, begin: B, end: E) -> Self {
        ProfilerWindow { windows: vec![window], begin, end, running: None }
    }

    /// Adds a window. The profiler runs on from one to the next if no step is between them.
    pub fn and(mut self, window: Range<u64>) -> Self {
        self.windows.push(window);
        self
    }

    fn stop(&mut self) -> Result<(), BoxError> {
        self.running.take().map_or(Ok(()), &mut self.end)
    }
}

impl<U, P, B, E> Callback<U> for ProfilerWindow<P, B, E>
where
    U: ?Sized,
    P: Send,
    B: FnMut() -> Result<P, BoxError> + Send,
    E: FnMut(P) -> Result<(), BoxError> + Send,
{
    fn events(&self) -> Events {
        Events::of(&[Event::TrainFetchStart, Event::TrainStepEnd, Event::TrainEnd])
    }

    fn on_event(&mut self, event: Event, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        let next = state.train_progress().steps;
        let is_within = self.windows.iter().any(|window| window.contains(&next));
        match event {
            Event::TrainFetchStart if is_within && self.running.is_none() => {
                self.running = Some((self.begin)()?);
            }
            Event::TrainStepEnd if !is_within => self.stop()?,
            Event::TrainEnd => self.stop()?,
            _ => {}
        }
        Ok(())
    }

    fn on_error(&mut self, _state: &State, _unit: &mut U, _error: &Error) {
        // The error of the run is the one that matters.
        let _ = self.stop();
    }
}

impl<P, B, E> fmt::Debug for ProfilerWindow<P, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProfilerWindow").field("windows", &self.windows).finish_non_exhaustive()
    }
}
