//! strace: lists the system calls of a training run, and makes one of them fail.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Command, Stdio};

use regimen::BoxError;

use crate::train::Training;

/// System calls by name between the beginning and the end of training. They are numbered per thread
/// from its start, as strace numbers them.
pub(crate) type Calls = BTreeMap<String, RangeInclusive<u64>>;

/// Returns `true` if strace is installed.
pub(crate) fn is_here() -> bool {
    let mut strace = Command::new("strace");
    let status = strace.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Wraps `training` in strace, which logs the calls `traced` to `log` and applies `inject`.
pub(crate) fn traced(
    training: &Training,
    log: &Path,
    traced: &str,
    inject: Option<&str>,
) -> Result<Command, BoxError> {
    let mut strace = Command::new("strace");
    strace
        .args(["--follow-forks", "--quiet=all", "--output"])
        .arg(log)
        .arg("-e")
        .arg(format!("trace={traced}"));
    if let Some(inject) = inject {
        strace.arg("-e").arg(format!("inject={traced}:{inject}"));
    }
    strace.arg(std::env::current_exe()?).args(training.args());
    Ok(strace)
}

/// Parses the calls in an strace log between the lines `begin` and `end`.
pub(crate) fn calls(log: &str) -> Calls {
    let mut calls = Calls::new();
    let mut made: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut is_training = false;
    for line in log.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some((name, _)) = call.trim_start().split_once('(') else { continue };
        // A resumed call was counted when it began, and `+++` is no call.
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        let made = made.entry((thread, name)).or_default();
        *made += 1;
        let number = *made;
        if is_training {
            let range = calls.entry(name.to_owned()).or_insert(number..=number);
            *range = number.min(*range.start())..=number.max(*range.end());
        }
        is_training = match () {
            () if line.contains("\"begin\\n\"") => true,
            () if line.contains("\"end ") => false,
            () => is_training,
        };
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_thread_between_begin_and_end() {
        let log = "\
7 read(3, \"ELF\", 8) = 8
7 write(1, \"begin\\n\", 6) = 6
7 read(3, \"a\", 8) = 1
7 read(3,  <unfinished ...>
8 mkdir(\"run\", 0777) = 0
7 <... read resumed>\"b\", 8) = 1
8 write(5, \"c\", 1) = 1
7 write(1, \"end 4\\n\", 6) = 6
7 read(3, \"d\", 8) = 1
7 +++ exited with 0 +++
";
        let expected = [("mkdir", 1..=1), ("read", 2..=3), ("write", 1..=2)];
        assert_eq!(calls(log), expected.map(|(name, range)| (name.to_owned(), range)).into());
    }
}
