//! The parts of the pages for users of other libraries: rows, names and programs.

use std::fs;

use crate::project::root;

/// The cells of each row of the tables.
pub(crate) fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    // The names of the columns, one of which is `regimen`.
    rows.filter(|row| !row.contains(&"regimen"))
}

/// The texts between backquotes.
pub(crate) fn codes(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

pub(crate) fn blocks<'p>(page: &'p str, fence: &str) -> Vec<&'p str> {
    let blocks = page.split(fence).skip(1).filter_map(|rest| rest.split("```").next()?.strip_prefix('\n'));
    blocks.collect()
}

/// Lines of a program without imports, comments and blank lines.
pub(crate) fn length(program: &str) -> usize {
    const PASSED_OVER: [&str; 5] = ["use ", "import ", "from ", "//", "#"];
    let lines = program.lines().map(str::trim_start).filter(|line| !line.is_empty());
    lines.filter(|line| !PASSED_OVER.iter().any(|start| line.starts_with(start))).count()
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}
