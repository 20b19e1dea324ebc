//! `regimen download`: a copy of a checkpoint on this machine.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::ExitCode;
use std::{error, fmt};

use regimen::BoxError;
use regimen::checkpoint::{Checkpoint, Store};
use regimen::text::Count;
use serde::Serialize;

use crate::output;
use crate::select::{self, Source};

#[derive(Serialize)]
struct Download {
    from: String,
    to: String,
    bytes: u64,
}

/// Copies the checkpoint at `from` into the folder `folder`, under its own name.
///
/// It gets its name when every byte of the copy was checked.
pub(crate) fn download(from: &Path, folder: &Path, json: bool) -> Result<ExitCode, BoxError> {
    let source = Source::of(from)?;
    let checkpoint = source.one()?;
    let name = select::name(checkpoint.path());
    let (to, temporary) = (folder.join(&name), folder.join(format!(".download-{name}")));
    if to.try_exists()? {
        return Err(format!("`{}` exists", to.display()).into());
    }
    fs::create_dir_all(folder).map_err(at(folder))?;
    // Left by a copy that was cut off.
    match fs::remove_dir_all(&temporary) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        removed => removed.map_err(at(&temporary))?,
    }
    fs::create_dir(&temporary).map_err(at(&temporary))?;
    let bytes = copy(&*source.store, checkpoint.path(), &temporary)?;
    Checkpoint::open(&temporary)?.verify()?;
    fs::rename(&temporary, &to).map_err(at(&to))?;
    let path = |path: &Path| path.display().to_string();
    output::write(&Download { from: path(checkpoint.path()), to: path(&to), bytes }, json)?;
    Ok(ExitCode::SUCCESS)
}

/// Copies the files of the directory `from` of a store to the folder `to`. Returns the number of bytes.
fn copy(store: &dyn Store, from: &Path, to: &Path) -> Result<u64, BoxError> {
    let mut bytes = 0;
    for entry in store.list(from).map_err(at(from))?.into_iter().filter(|entry| !entry.is_dir) {
        let (from, to) = (from.join(&entry.name), to.join(&entry.name));
        let mut opened = store.open(&from).map_err(at(&from))?;
        let mut file = File::create_new(&to).map_err(at(&to))?;
        bytes += io::copy(&mut opened.bytes, &mut file).map_err(at(&from))?;
        file.sync_all().map_err(at(&to))?;
    }
    Ok(bytes)
}

/// Names the file that an error is about.
fn at<E: error::Error>(path: &Path) -> impl Fn(E) -> String {
    let path = path.display().to_string();
    move |cause| format!("cannot copy `{path}`: {cause}")
}

impl fmt::Display for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Download { from, to, bytes } = self;
        writeln!(f, "`{to}` has {} of `{from}`", Count(*bytes, "byte"))
    }
}
