//! The callback that writes the profile of a run.

use std::path::PathBuf;

use crate::callback::{Events, Ranks};
use crate::profile::Profile;
use crate::run::Report;
use crate::{BoxError, Callback, Error, State};

/// Writes `profile.json` and `trace.json` at the end of each call that trains, and after an error.
#[derive(Debug)]
pub(super) struct ProfileFiles {
    pub(super) dir: PathBuf,
    pub(super) profile: Profile,
}

impl ProfileFiles {
    fn write(&self) -> Result<(), BoxError> {
        self.profile.write_json(self.dir.join("profile.json"))?;
        self.profile.write_trace(self.dir.join("trace.json"))
    }
}

impl<U: ?Sized> Callback<U> for ProfileFiles {
    fn events(&self) -> Events {
        Events::NONE
    }

    fn ranks(&self) -> Ranks {
        Ranks::First
    }

    fn sum_up(&mut self, report: &mut Report) {
        if let Err(cause) = self.write() {
            report.notices.push(cause.to_string());
        }
    }

    fn on_error(&mut self, _state: &State, _unit: &mut U, _error: &Error) {
        // The error of the run is the one that matters.
        let _ = self.write();
    }
}
