//! Short names of runs.

use std::path::{Component, Path, PathBuf};

/// A name per folder, all different: its last part, and as many parts before as tell two of them apart.
///
/// ```
/// assert_eq!(regimen_report::names(&["runs/a".into(), "old/a".into(), "runs/b".into()]), ["runs/a", "old/a", "b"]);
/// ```
pub fn names(folders: &[PathBuf]) -> Vec<String> {
    let all: Vec<Vec<String>> = folders.iter().map(|folder| parts(folder)).collect();
    let tail = |parts: &[String], count: usize| parts[parts.len().saturating_sub(count)..].join("/");
    let name = |(n, own): (usize, &Vec<String>)| {
        let differs = |count: &usize| {
            let others = all.iter().enumerate().filter(|(other, _)| *other != n);
            others.into_iter().all(|(_, other)| tail(other, *count) != tail(own, *count))
        };
        tail(own, (1..=own.len()).find(differs).unwrap_or(own.len()))
    };
    all.iter().enumerate().map(name).collect()
}

fn parts(folder: &Path) -> Vec<String> {
    // `.` and `a/..` have a name only as whole paths.
    let plain = folder.components().all(|part| !matches!(part, Component::CurDir | Component::ParentDir));
    let whole =
        if plain { folder.to_owned() } else { folder.canonicalize().unwrap_or_else(|_| folder.to_owned()) };
    let parts = whole.components().filter(|part| !matches!(part, Component::RootDir));
    parts.map(|part| part.as_os_str().to_string_lossy().into_owned()).collect()
}
