//! The search for runs.

use std::fs;
use std::path::{Path, PathBuf};

use regimen::BoxError;
use serde::Serialize;

/// The runs below a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FoundRuns {
    /// Their folders, in the order of their paths.
    pub folders: Vec<PathBuf>,
    /// A sentence per subfolder that could not be searched.
    pub damage: Vec<String>,
}

/// Each run has one of them. A log beside runs, and settings alone, make no run.
pub(crate) const FILES_OF_RUN: [&str; 3] = ["metrics.jsonl", "environment.jsonl", "LOCK"];

/// Whether `folder` has one of the files `metrics.jsonl`, `environment.jsonl` and `LOCK`.
pub fn is_run(folder: &Path) -> bool {
    FILES_OF_RUN.iter().any(|file| folder.join(file).is_file())
}

/// The runs in `folder` and its subfolders. Links are not followed, and a run is not searched for others.
///
/// It is an error if `folder` cannot be read, and if there is no run.
pub fn find_runs(folder: &Path) -> Result<FoundRuns, BoxError> {
    fs::read_dir(folder).map_err(|cause| format!("cannot read `{}`: {cause}", folder.display()))?;
    let mut found = FoundRuns::default();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        if is_run(&folder) {
            found.folders.push(folder);
            continue;
        }
        let mut subfolders = Vec::new();
        let read = fs::read_dir(&folder).and_then(|entries| {
            for entry in entries {
                let entry = entry?;
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    subfolders.push(entry.path());
                }
            }
            Ok(())
        });
        if let Err(cause) = read {
            found.damage.push(format!("cannot read `{}`: {cause}", folder.display()));
        }
        folders.append(&mut subfolders);
    }
    if found.folders.is_empty() {
        let lack = format!("`{}` has no run: no folder with {}", folder.display(), FILES_OF_RUN.join(" or "));
        let all: Vec<String> = [lack].into_iter().chain(found.damage).collect();
        return Err(all.join("\n").into());
    }
    found.folders.sort();
    found.damage.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_beside_runs_makes_no_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for folder in ["b", "a", "a/inner", "notes"] {
            fs::create_dir(path(folder)).unwrap();
        }
        for file in ["log.txt", "hyper_parameters.json", "notes/log.txt"] {
            fs::write(path(file), "").unwrap();
        }
        let error = find_runs(dir.path()).unwrap_err().to_string();
        let shown = dir.path().display();
        assert_eq!(
            error,
            format!("`{shown}` has no run: no folder with metrics.jsonl or environment.jsonl or LOCK")
        );
        for file in ["a/metrics.jsonl", "a/inner/metrics.jsonl", "b/LOCK"] {
            fs::write(path(file), "").unwrap();
        }
        let found = find_runs(dir.path()).unwrap();
        assert_eq!(found, FoundRuns { folders: vec![path("a"), path("b")], damage: vec![] });
    }

    #[cfg(unix)]
    #[test]
    fn a_subfolder_that_cannot_be_read_ends_no_search() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let (run, closed) = (dir.path().join("run"), dir.path().join("closed"));
        for folder in [&run, &closed] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(run.join("metrics.jsonl"), "").unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
        if fs::read_dir(&closed).is_ok() {
            // The administrator may read everything.
            return;
        }
        let found = find_runs(dir.path()).unwrap();
        let damage = vec![format!("cannot read `{}`: Permission denied (os error 13)", closed.display())];
        assert_eq!(found, FoundRuns { folders: vec![run], damage });
    }
}
