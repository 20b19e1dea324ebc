//! Single safetensors files: weights from other programs, and for them.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use regimen_core::BoxError;
use regimen_core::saved::StateDict;

use super::{decode, encode};

/// Reads all arrays of the file at `path`: of weights that Python's `safetensors` has saved, say.
pub fn load_file(path: impl AsRef<Path>) -> Result<StateDict, BoxError> {
    let path = path.as_ref();
    let failed = |cause: BoxError| format!("cannot read `{}`: {cause}", path.display());
    let file = File::open(path).map_err(|cause| failed(cause.into()))?;
    let length = file.metadata().map_err(|cause| failed(cause.into()))?.len();
    Ok(decode(&mut BufReader::new(file), length).map_err(failed)?)
}

/// Writes `dict` to a new file at `path`, and syncs it. An existing file is an error. After an
/// error no half-written file is left.
pub fn save_file(dict: &StateDict, path: impl AsRef<Path>) -> Result<(), BoxError> {
    let path = path.as_ref();
    let failed = |cause: BoxError| format!("cannot write `{}`: {cause}", path.display());
    let file = File::create_new(path).map_err(|cause| failed(cause.into()))?;
    let written = || {
        let mut out = BufWriter::new(&file);
        encode(dict, &mut out)?;
        out.flush()?;
        Ok(file.sync_all()?)
    };
    written().map_err(|cause| {
        // Where even this fails the message is that of the cause.
        let _ = fs::remove_file(path);
        failed(cause).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back_as_it_was_and_is_not_written_over() {
        let folder = std::env::temp_dir().join(format!("regimen-safetensors-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (file, mut dict) = (folder.join("weights.safetensors"), StateDict::new());
        dict.insert("number", 1.5_f32).unwrap();
        save_file(&dict, &file).unwrap();
        assert_eq!(load_file(&file).unwrap(), dict);

        let error = |result: Result<(), BoxError>| result.unwrap_err().to_string();
        let shown = file.display();
        assert!(error(save_file(&StateDict::new(), &file)).starts_with(&format!("cannot write `{shown}`: ")));
        assert_eq!(load_file(&file).unwrap(), dict);
        fs::write(&file, &fs::read(&file).unwrap()[1..]).unwrap();
        assert!(error(load_file(&file).map(drop)).starts_with(&format!("cannot read `{shown}`: ")));
        fs::remove_dir_all(&folder).unwrap();
        assert!(error(load_file(&file).map(drop)).starts_with(&format!("cannot read `{shown}`: ")));
        assert!(error(save_file(&dict, &file)).starts_with(&format!("cannot write `{shown}`: ")));
    }
}
