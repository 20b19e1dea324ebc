//! The files of the project, as read by the rules.

use std::fs;
use std::path::Path;

/// A text file of the project.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path from the root, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// The lines that users can reach, with their numbers: without comments and test-only code.
    pub(crate) fn code(&self) -> Vec<(usize, &str)> {
        let mut lines = Vec::new();
        let mut all = self.text.lines().enumerate().peekable();
        while let Some((i, line)) = all.next() {
            if line.starts_with("#![cfg(test)]") {
                // The whole file is for tests.
                break;
            }
            if line.trim_start().starts_with("#[cfg(test)]") {
                // An item without a body ends with its line; a module of tests ends the file.
                match all.next() {
                    Some((_, item)) if item.trim_end().ends_with(';') => continue,
                    _ => break,
                }
            }
            if !line.trim_start().starts_with("//") {
                lines.push((i + 1, line));
            }
        }
        lines
    }
}

pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap()
}

/// Every file under `folder` whose name ends in one of `endings`, sorted by path. Build outputs,
/// ignored folders and links to other files are skipped.
pub(crate) fn files(folder: &str, endings: &[&str]) -> Vec<Source> {
    let mut files = Vec::new();
    walk(&root().join(folder), &mut |path, text| {
        if endings.iter().any(|ending| path.ends_with(ending)) {
            files.push(Source { path, text });
        }
    });
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The Rust sources of the library crates and their programs.
pub(crate) fn crate_sources() -> Vec<Source> {
    let mut sources = files("crates", &[".rs"]);
    sources.retain(|source| source.path.split('/').nth(2) == Some("src"));
    assert_ne!(sources.len(), 0, "no source was found: every rule would hold");
    sources
}

fn walk(folder: &Path, each: &mut impl FnMut(String, String)) {
    const PASSED_OVER: [&str; 4] = [".git", ".peers", "runs", "target"];
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            if !PASSED_OVER.iter().any(|name| entry.file_name() == *name) {
                walk(&path, each);
            }
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root()).unwrap().to_str().unwrap();
            each(path.replace('\\', "/"), text);
        }
    }
}

#[test]
fn code_is_what_is_left_without_comments_and_tests() {
    let text =
        "/// doc\nfn a() {}\n#[cfg(test)]\nmod doubles;\nfn b() {}\n#[cfg(test)]\nmod tests {\nfn c() {}\n}";
    let source = Source { path: String::new(), text: text.to_owned() };
    assert_eq!(source.code(), [(2, "fn a() {}"), (5, "fn b() {}")]);
    let source = Source { path: String::new(), text: "//! doc\n#![cfg(test)]\nfn a() {}".to_owned() };
    assert_eq!(source.code(), []);
}
