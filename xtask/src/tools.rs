//! System programs that a task needs. They are never installed, since that needs root's rights.

use std::process::{Command, Stdio};

/// Returns an error with the `package` to install if `program`, which responds to `arg`, cannot run.
pub(crate) fn have(program: &str, arg: &str, package: &str) -> Result<(), String> {
    if answers(program, arg) {
        return Ok(());
    }
    Err(format!("{program} is not installed: install {package} with the system's package manager"))
}

/// Returns `true` if `program` exists and runs.
fn answers(program: &str, arg: &str) -> bool {
    let mut command = Command::new(program);
    let status = command.arg(arg).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::have;

    #[test]
    fn a_program_that_is_missing_is_named_with_its_package() {
        assert_eq!(have("cargo", "--version", "rustup"), Ok(()));
        let error = "no-such-program is not installed: install no-package with the system's package manager";
        assert_eq!(have("no-such-program", "-V", "no-package"), Err(error.into()));
    }
}
