//! Running an example, and comparing its output with numbers masked.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The example, which cargo built next to this test.
pub(crate) fn program(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let mut program =
        Command::new(profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX)));
    program.stdin(Stdio::null());
    program
}

/// An empty folder.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs a program in an empty folder, and compares both of its outputs with `expected`, which is the standard output, a line `--`,
/// and the standard error.
#[track_caller]
pub(crate) fn check(name: &str, args: &[&str], expected: &str) {
    let output = program(name).current_dir(folder(name)).args(args).output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{stderr}");
    for line in stdout.lines().chain(stderr.lines()) {
        assert!(line.chars().count() <= 80, "wider than 80 columns: {line}");
    }
    assert_eq!(masked(&stdout) + "--\n" + &masked(&stderr), expected, "\n{stdout}--\n{stderr}");
}

/// Masks numbers with a fraction, times and speeds by `~`, and the lines of a chart. Leaves out the lines within an epoch,
/// which a slow machine has.
fn masked(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.contains("epoch") || !line.contains(": step "));
    let masked = |line: &str| {
        if line.contains(['\u{2502}', '\u{2524}']) {
            return "\u{2502}\n".to_owned();
        }
        let words: Vec<&str> = line.split(' ').collect();
        let word = |i: usize| masked_word(words[i], words.get(i + 1).copied().unwrap_or_default());
        let line = (0..words.len()).map(word).collect::<Vec<_>>().join(" ") + "\n";
        // Of a slow machine.
        line.replace("~ s/step", "~/s").replace("~ m ~ s", "~ s")
    };
    lines.map(masked).collect()
}

fn masked_word(word: &str, next: &str) -> String {
    let number = word.trim_end_matches(',');
    let behind = &word[number.len()..];
    let is_whole = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_fraction = number.contains('.') && number.parse::<f64>().is_ok();
    let is_time = number.contains(':') && number.split(':').all(is_whole);
    let is_time = is_time || ["m", "s", "ms"].contains(&next) && is_whole(number);
    match number.strip_suffix("/s") {
        Some(_) => format!("~/s{behind}"),
        None if is_fraction || is_time => format!("~{behind}"),
        None => word.to_owned(),
    }
}
