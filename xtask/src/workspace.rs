//! The workspace: where it lies, where it is built, and how programs are run in it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::BoxError;

/// The workspace this program was compiled in, held for as long as the value lives: two tasks at
/// once would build over one another.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    _lock: File,
}

impl Workspace {
    pub(crate) fn open() -> Result<Self, BoxError> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().unwrap_or(manifest).to_owned();
        let target = target_dir(&root)?;
        fs::create_dir_all(&target)?;
        let lock = File::create(target.join("xtask.lock"))?;
        if lock.try_lock().is_err() {
            println!("waiting for another xtask that builds in {}", target.display());
            lock.lock()?;
        }
        let workspace = Workspace { root, target, _lock: lock };
        workspace.take_over()?;
        Ok(workspace)
    }

    /// `cargo ARGS` in the workspace.
    pub(crate) fn cargo(&self, args: &[&str]) -> Command {
        let mut command = self.program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(args);
        command
    }

    /// `program` at the root of the workspace, told where things are built.
    pub(crate) fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// An empty folder for what a program writes.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf, BoxError> {
        let scratch = self.target.join("scratch").join(name);
        if scratch.exists() {
            fs::remove_dir_all(&scratch)?;
        }
        fs::create_dir_all(&scratch)?;
        Ok(scratch)
    }

    /// Forgets what another clone built of this project's own crates. Cargo tells old from new by
    /// modification times only: a source that this clone checked out before the other one built
    /// would count as built. The dependencies, which take the time, are kept: cargo goes by the
    /// names of targets, so no test or example may have the name of a dependency.
    fn take_over(&self) -> Result<(), BoxError> {
        let stamp = self.target.join("clone");
        let here = self.root.to_string_lossy().into_owned();
        if fs::read_to_string(&stamp).is_ok_and(|last| last == here) {
            return Ok(());
        }
        run(&mut self.cargo(&["clean", "--quiet", "--workspace"]))?;
        run(&mut self.cargo(&["clean", "--quiet", "--workspace", "--release"]))?;
        Ok(fs::write(stamp, here)?)
    }
}

/// Runs `command` to its end; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<(), BoxError> {
    run_lines(command.stdout(Stdio::inherit()), |_| ())
}

/// As [`run`], and shows `each` every line the command prints to its output, if that is piped.
pub(crate) fn run_lines(command: &mut Command, mut each: impl FnMut(&str)) -> Result<(), BoxError> {
    let name =
        Path::new(command.get_program()).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
    let line = format!("{name} {}", args.join(" "));
    let mut child = command.spawn().map_err(|error| format!("`{line}` does not start: {error}"))?;
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).lines().try_for_each(|line| line.map(|line| each(&line)))?;
    }
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("`{line}` ended with {status}").into()) }
}

/// Where to build: outside the clone, so that the next clone finds the dependencies compiled.
fn target_dir(root: &Path) -> Result<PathBuf, BoxError> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    let target = set("CARGO_TARGET_DIR").or_else(|| set("REGIMEN_TARGET"));
    let target = target.or_else(|| Some(cache()?.join("regimen/target")));
    Ok(std::path::absolute(target.unwrap_or_else(|| root.join("target")))?)
}
