//! System programs that a task needs, installed if possible.

use std::process::{Command, Stdio};

use crate::workspace::run;

/// Ensures that valgrind is installed. Returns an error with the reason if it is not.
pub(crate) fn valgrind() -> Result<(), String> {
    have("valgrind", "--version", "valgrind")
}

/// Ensures that `program`, which responds to `arg`, is installed. If it is missing and the user may
/// install packages, installs `package`.
pub(crate) fn have(program: &str, arg: &str, package: &str) -> Result<(), String> {
    if answers(program, arg) {
        return Ok(());
    }
    if !(is_root() && answers("apt-get", "--version")) {
        return Err(format!(
            "{program} is not installed: install {package} with the system's package manager"
        ));
    }
    println!("{program} is not installed: installing {package} with apt-get");
    let apt =
        |args: &[&str]| run(Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive"));
    let install = ["install", "--yes", "--no-install-recommends", package];
    apt(&install)
        // The package list may be outdated.
        .or_else(|_| apt(&["update"]).and_then(|()| apt(&install)))
        .map_err(|error| format!("{package} cannot be installed: {error}"))
}

/// Returns `true` if `program` exists and runs.
pub(crate) fn answers(program: &str, arg: &str) -> bool {
    let mut command = Command::new(program);
    let status = command.arg(arg).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
