//! Programs of the system that a task needs. They are looked for and never installed: that would take
//! the rights of root, and is for whoever has them to decide.

use std::process::{Command, Stdio};

/// An error if `program`, which answers to `arg`, cannot be called. It names the `package` that holds the program.
pub(crate) fn have(program: &str, arg: &str, package: &str) -> Result<(), String> {
    if answers(program, arg) {
        return Ok(());
    }
    Err(format!("{program} is not installed: install {package} with the system's package manager"))
}

/// Whether `program` exists and can be run.
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
