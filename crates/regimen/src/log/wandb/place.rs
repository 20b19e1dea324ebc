//! The place in an offline run from which it goes on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::BoxError;
use crate::log::open_file::Mark;
use crate::saved::{Array, StateDict};
use crate::time;

/// A run's folder, the length of its file, and the counts there.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The name of the folder, `offline-run-20261129_083913-1a2b3c4d`, which ends with the run's id.
    pub(super) folder: String,
    /// The length of the file, and its checksum.
    pub(super) mark: Mark,
    /// Records.
    pub(super) records: u64,
    /// Records of the history.
    pub(super) history: u64,
    /// The CRC-32 of the configuration that was written last; 0 if there is none.
    pub(super) config: u32,
    /// The duration of the run in seconds, without the time between a pause and a restart.
    pub(super) runtime: f64,
}

impl Place {
    /// The beginning of a run with this id.
    pub(super) fn new(id: &str, now: Duration) -> Result<Self, BoxError> {
        let folder = format!("{PREFIX}{}-{id}", date_and_time(now.as_secs()));
        let place = Place { folder, mark: Mark::default(), records: 0, history: 0, config: 0, runtime: 0.0 };
        place.id()?;
        Ok(place)
    }

    /// The run's id. An error if it is no part of a file name.
    pub(super) fn id(&self) -> Result<&str, BoxError> {
        let id = self.folder.strip_prefix(PREFIX).and_then(|rest| rest.get("20261129_083913-".len()..));
        let allowed = |c: char| c.is_alphanumeric() || c == '-' || c == '_' || c == '.';
        id.filter(|id| !id.is_empty() && self.folder.chars().all(allowed)).ok_or_else(|| {
            format!(
                "`{}` is no folder of a W&B run; an id has letters, digits, `-`, `_` and `.`",
                self.folder
            )
            .into()
        })
    }

    /// The folder in `dir`.
    pub(super) fn folder(&self, dir: &Path) -> PathBuf {
        dir.join("wandb").join(&self.folder)
    }

    /// The run's file in `dir`.
    pub(super) fn file(&self, dir: &Path) -> Result<PathBuf, BoxError> {
        Ok(self.folder(dir).join(format!("run-{}.wandb", self.id()?)))
    }

    pub(super) fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = self.mark.state_dict()?;
        dict.insert("folder", Array::from_text(&self.folder))?;
        dict.insert("records", self.records)?;
        dict.insert("history", self.history)?;
        dict.insert("config", self.config)?;
        dict.insert("runtime", self.runtime)?;
        Ok(dict)
    }

    /// The saved place. `None` if the log had written nothing.
    pub(super) fn read(dict: &StateDict) -> Result<Option<Self>, BoxError> {
        if dict.is_empty() {
            return Ok(None);
        }
        let place = Place {
            folder: dict.array("folder")?.to_text()?,
            mark: Mark::read(dict)?,
            records: dict.count("records")?,
            history: dict.count("history")?,
            config: dict.get("config")?,
            runtime: dict.get("runtime")?,
        };
        place.id()?;
        Ok(Some(place))
    }
}

const PREFIX: &str = "offline-run-";

/// `20261129_083913`: seconds since 1970 as date and time of day in UTC.
fn date_and_time(seconds: u64) -> String {
    let [year, month, day, hours, minutes, seconds] = time::date_and_time(Duration::from_secs(seconds));
    format!("{year:04}{month:02}{day:02}_{hours:02}{minutes:02}{seconds:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `date -u -d @SECONDS +%Y%m%d_%H%M%S`.
    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "19700101_000000"),
            (951_782_399, "20000228_235959"),
            (951_782_400, "20000229_000000"),
            (951_868_800, "20000301_000000"),
            (1_795_941_553, "20261129_083913"),
            (4_107_542_399, "21000228_235959"),
            (4_107_542_400, "21000301_000000"),
        ] {
            assert_eq!(date_and_time(seconds), date);
        }
    }

    #[test]
    fn a_folder_stays_in_its_directory() {
        for (id, is_taken) in
            [("1a2b3c4d", true), ("", false), ("../x", false), ("a/b", false), ("a b", false)]
        {
            assert_eq!(Place::new(id, Duration::ZERO).is_ok(), is_taken, "{id}");
        }
    }
}
