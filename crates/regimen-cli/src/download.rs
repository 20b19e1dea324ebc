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
use crate::select::Source;

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
    // Not shown: it may have credentials in it.
    if folder.to_str().is_some_and(|text| text.contains("://")) {
        return Err("the folder of the copy is a URL; name one on this machine".into());
    }
    let source = Source::of(from)?;
    let checkpoint = source.one()?;
    let name = checkpoint.path().file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.ok_or("the path does not end with the name of the checkpoint; give one that does")?;
    let (to, temporary) = (folder.join(&name), folder.join(format!(".download-{name}")));
    if to.try_exists().map_err(at(&to))? {
        return Err(format!("`{}` exists; remove it, or name another folder", to.display()).into());
    }
    fs::create_dir_all(folder).map_err(at(folder))?;
    fs::create_dir(&temporary).map_err(|cause| match cause.kind() {
        ErrorKind::AlreadyExists => {
            let path = temporary.display();
            format!("`{path}` exists: another copy is under way, or one was cut off; then remove it")
        }
        _ => at(&temporary)(cause),
    })?;
    let copied = copy(&*source.store, &checkpoint, &temporary)
        .and_then(|bytes| Ok(fs::rename(&temporary, &to).map(|()| bytes).map_err(at(&to))?));
    if copied.is_err() {
        // The error of the copy is the one that matters.
        let _ = fs::remove_dir_all(&temporary);
    }
    let bytes = copied?;
    let path = |path: &Path| path.display().to_string();
    output::write(&Download { from: path(checkpoint.path()), to: path(&to), bytes }, json)?;
    Ok(ExitCode::SUCCESS)
}

/// Copies the files that the manifest of a checkpoint names to the folder `to`, and checks the copy. Returns the number of
/// bytes.
///
/// A web server has no listing, and one of a store may have other names in it.
fn copy(store: &dyn Store, checkpoint: &Checkpoint, to: &Path) -> Result<u64, BoxError> {
    let mut bytes = 0;
    for name in checkpoint.manifest().file_names() {
        let (from, to) = (checkpoint.path().join(&name), to.join(&name));
        let mut opened = store.open(&from).map_err(at(&from))?;
        let mut file = File::create_new(&to).map_err(at(&to))?;
        bytes += io::copy(&mut opened.bytes, &mut file).map_err(at(&from))?;
        file.sync_all().map_err(at(&to))?;
    }
    Checkpoint::open(to)?.verify()?;
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
