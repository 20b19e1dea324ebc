//! The callback that writes the profile of a run.

use std::path::PathBuf;

use crate::callback::{Event, Events, Ranks};
use crate::profile::Profile;
use crate::run::Report;
use crate::{BoxError, Callback, Error, State};

/// Writes `profile.json` and `trace.json` at the end of each call that trains, and after an error.
#[derive(Debug)]
pub(super) struct ProfileFiles {
    dir: PathBuf,
    profile: Profile,
    /// Whether training has started, so that the folder is known to be that of the run.
    has_begun: bool,
}

impl ProfileFiles {
    pub(super) fn new(dir: PathBuf, profile: Profile) -> Self {
        ProfileFiles { dir, profile, has_begun: false }
    }

    fn write(&self) -> Result<(), BoxError> {
        self.profile.write_json(self.dir.join("profile.json"))?;
        self.profile.write_trace(self.dir.join("trace.json"))
    }
}

impl<U: ?Sized> Callback<U> for ProfileFiles {
    fn events(&self) -> Events {
        Events::of(&[Event::TrainStart])
    }

    fn ranks(&self) -> Ranks {
        Ranks::First
    }

    fn on_event(&mut self, _event: Event, _state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        self.has_begun = true;
        Ok(())
    }

    fn sum_up(&mut self, report: &mut Report) {
        if let Err(cause) = self.write() {
            report.notices.push(cause.to_string());
        }
    }

    fn on_error(&mut self, _state: &State, _unit: &mut U, _error: &Error) {
        if self.has_begun {
            // The error of the run is the one that matters.
            let _ = self.write();
        }
    }
}
