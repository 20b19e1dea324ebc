//! Single safetensors files: weights that come from elsewhere, or go there.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use regimen_core::{BoxError, StateDict};

use super::{read, write};

/// Reads all arrays of the file at `path`: of weights that Python's `safetensors` has saved, say.
pub fn load_file(path: impl AsRef<Path>) -> Result<StateDict, BoxError> {
    let path = path.as_ref();
    let failed = |cause: BoxError| format!("cannot read `{}`: {cause}", path.display());
    let file = File::open(path).map_err(|cause| failed(cause.into()))?;
    let length = file.metadata().map_err(|cause| failed(cause.into()))?.len();
    Ok(read(&mut BufReader::new(file), length).map_err(failed)?)
}

/// Writes `dict` to a new file at `path`, and syncs it. A file that is there is an error; after one
/// there is no half-written file.
pub fn save_file(dict: &StateDict, path: impl AsRef<Path>) -> Result<(), BoxError> {
    let path = path.as_ref();
    let failed = |cause: BoxError| format!("cannot write `{}`: {cause}", path.display());
    let file = File::create_new(path).map_err(|cause| failed(cause.into()))?;
    let written = || {
        let mut out = BufWriter::new(&file);
        write(dict, &mut out)?;
        out.flush()?;
        Ok(file.sync_all()?)
    };
    written().map_err(|cause| {
        // Where even this fails the message is that of the cause.
        let _ = fs::remove_file(path);
        failed(cause).into()
    })
}
