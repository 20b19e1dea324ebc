//! The event files of a folder.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::process;

use super::event::{event, file_version, session_start};
use crate::BoxError;
use crate::log::Flush;
use crate::log::existing_file::free_name;
use crate::log::open_file::{Mark, OpenFile, failed};
use crate::system::host_name;
use crate::time::since_1970;

/// An event file that was created in this process.
#[derive(Debug)]
pub(super) struct EventFile {
    /// Without its folder.
    pub(super) name: String,
    file: OpenFile,
    /// Of the last event, in seconds since 1970.
    time: f64,
    /// The bytes of one write; kept for their memory.
    bytes: Vec<u8>,
}

impl EventFile {
    /// Creates the next file in `folder`, which is created if needed. `start` is the first step of a session
    /// of training: points of earlier files from there on are void.
    ///
    /// TensorBoard reads files in the order of their names. So a name has a later second than each name
    /// there, even if the clock was set back.
    pub(super) fn create(folder: &Path, start: Option<u64>) -> Result<Self, BoxError> {
        let made = fs::create_dir_all(folder);
        made.map_err(|cause| failed(folder, "create", cause))?;
        let found = event_files(folder).map_err(|cause| failed(folder, "list", cause))?;
        let last = found.iter().filter_map(|name| seconds(name)).max();
        let time = since_1970().as_secs_f64();
        let seconds = last.map_or(0, |last| u64::from(last) + 1).max(time as u64);
        let name = |n: u64| format!("events.out.tfevents.{seconds:010}.{}.{}.{n}", host(), process::id());
        let create = |name: String| {
            let path = folder.join(&name);
            match File::options().read(true).write(true).append(cfg!(unix)).create_new(true).open(&path) {
                Err(cause) if cause.kind() == ErrorKind::AlreadyExists => None,
                Err(cause) => Some(Err(failed(&path, "create", cause))),
                Ok(file) => Some(OpenFile::of(&path, file).map(|file| (name, file))),
            }
        };
        let created = (0..u64::MAX).map(name).find_map(create);
        let (name, file) = created.unwrap_or_else(|| Err("no name of an event file is free".into()))?;
        let mut created = EventFile { name, file, time, bytes: Vec::new() };
        let begun = created.append(|bytes, time| {
            event(bytes, time, 0, file_version);
            if let Some(step) = start {
                event(bytes, time, step, session_start);
            }
        });
        if begun.is_err() {
            // Else each try on a full disk would leave an empty file.
            let _ = fs::remove_file(folder.join(&created.name));
        }
        begun.map(|()| created)
    }

    /// Appends the event that `fill` appends to: it is given the bytes and the time.
    pub(super) fn write(&mut self, step: u64, fill: impl FnOnce(&mut Vec<u8>, f64)) -> Result<(), BoxError> {
        self.append(|bytes, time| event(bytes, time, step, |bytes| fill(bytes, time)))
    }

    fn append(&mut self, fill: impl FnOnce(&mut Vec<u8>, f64)) -> Result<(), BoxError> {
        self.time = since_1970().as_secs_f64().max(self.time);
        self.bytes.clear();
        fill(&mut self.bytes, self.time);
        self.file.append(&self.bytes)
    }

    pub(super) fn mark(&self) -> Mark {
        self.file.mark()
    }

    pub(super) fn sync(&mut self) -> Result<(), BoxError> {
        self.file.sync()
    }

    pub(super) fn sync_later(&mut self) -> Result<Option<Flush>, BoxError> {
        self.file.sync_later()
    }
}

/// Moves the event files in the `folders` of `dir` to a new folder beside `dir`: the first of `dir.1`,
/// `dir.2` ... that is free.
pub(super) fn set_aside(dir: &Path, folders: &[&str]) -> io::Result<()> {
    let mut found = Vec::new();
    for folder in folders {
        let names = event_files(&dir.join(folder))?;
        found.extend(names.into_iter().map(|name| Path::new(folder).join(name)));
    }
    if found.is_empty() {
        return Ok(());
    }
    let dir = fs::canonicalize(dir)?;
    let Some(aside) = free_name(&dir) else { return Ok(()) };
    for file in found {
        if let Some(folder) = aside.join(&file).parent() {
            fs::create_dir_all(folder)?;
        }
        fs::rename(dir.join(&file), aside.join(&file))?;
    }
    Ok(())
}

/// The names of the event files in `folder`.
fn event_files(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string().ok().filter(|name| name.contains("tfevents")));
    }
    Ok(names)
}

/// The seconds in the name of an event file.
fn seconds(name: &str) -> Option<u32> {
    let (_, rest) = name.split_once("tfevents.")?;
    rest.split('.').next()?.parse().ok()
}

/// The name of this machine, without characters that a file name may not have.
fn host() -> String {
    let mut name = host_name();
    name.retain(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_from_names_of_any_writer() {
        for (name, expected) in [
            ("events.out.tfevents.1700000000.host.7.0", Some(1_700_000_000)),
            ("tfevents.12", Some(12)),
            ("a.tfevents", None),
            ("events.out.tfevents.99999999999.host", None),
        ] {
            assert_eq!(seconds(name), expected, "{name}");
        }
    }

    #[test]
    fn the_time_of_events_never_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = EventFile::create(folder.path(), None).unwrap();
        file.time = 4e9;
        file.write(1, |_, time| assert_eq!(time, 4e9)).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_that_names_the_file() {
        let path = Path::new("/dev/full");
        let name = String::new();
        let mut file = EventFile { name, file: OpenFile::open(path).unwrap(), time: 0.0, bytes: Vec::new() };
        assert_eq!(
            file.write(1, |_, _| {}).unwrap_err().to_string(),
            "cannot write the log /dev/full: No space left on device (os error 28); check its folder and the \
             space there, or log elsewhere"
        );
    }
}
