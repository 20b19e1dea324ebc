//! The two workspaces: where they lie, where they are built, and how programs are run in them.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use crate::BoxError;
use crate::libtorch::Libtorch;

/// The workspace this program was compiled in, held for as long as the value lives: two tasks at
/// once would build over one another. [`torch`](Workspace::torch) is the other one.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    /// The root of the clone.
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    /// Where programs are run, and what is added to their environment.
    folder: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    libtorch: Rc<OnceCell<Result<Libtorch, String>>>,
    _lock: Rc<File>,
}

/// The workspace of `regimen-torch`, which has a lock file of its own: its torch-sys and the one that
/// Burn names cannot be in one.
const TORCH: &str = "crates/regimen-torch";

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
        let workspace = Workspace {
            folder: root.clone(),
            root,
            target,
            environment: Vec::new(),
            libtorch: Rc::default(),
            _lock: Rc::new(lock),
        };
        workspace.take_over("clone")?;
        Ok(workspace)
    }

    /// What builds `regimen-torch`: found or installed when it is asked for first, since a failure
    /// takes its time too.
    pub(crate) fn libtorch(&self) -> Result<&Libtorch, String> {
        let got = self.libtorch.get_or_init(|| Libtorch::get().map_err(|error| error.to_string()));
        got.as_ref().map_err(String::clone)
    }

    /// The workspace of `regimen-torch`, built in the same place. Its programs are run with libtorch.
    pub(crate) fn torch(&self) -> Result<Self, BoxError> {
        let environment = self.libtorch()?.environment()?;
        let torch = Workspace { environment, ..self.torch_without_libtorch() };
        // Not before: who builds nothing there need not have what it depends on. The crates of the
        // other workspace among those were forgotten with it, by their names.
        torch.take_over("clone-torch")?;
        Ok(torch)
    }

    /// The same for what compiles nothing.
    pub(crate) fn torch_without_libtorch(&self) -> Self {
        Workspace { folder: self.root.join(TORCH), ..self.clone() }
    }

    /// `cargo ARGS` in the workspace.
    pub(crate) fn cargo(&self, args: &[&str]) -> Command {
        let mut command = self.program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(args);
        command
    }

    /// `program` at the root of the workspace, told where things are built.
    pub(crate) fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).env("CARGO_TARGET_DIR", &self.target);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The packages of the workspace, as cargo describes them.
    pub(crate) fn metadata(&self) -> Result<serde_json::Value, BoxError> {
        let output = self.cargo(&["metadata", "--no-deps", "--format-version", "1"]).output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
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

    /// Forgets what another clone built of this workspace's own crates. Cargo tells old from new by
    /// modification times only: a source that this clone checked out before the other one built
    /// would count as built. The dependencies, which take the time, are kept: cargo goes by the
    /// names of targets, so no test or example may have the name of a dependency.
    ///
    /// `stamp` is the file that holds which clone was the last.
    fn take_over(&self, stamp: &str) -> Result<(), BoxError> {
        let stamp = self.target.join(stamp);
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
    let target = set("CARGO_TARGET_DIR").or_else(|| set("REGIMEN_TARGET"));
    let target = target.or_else(|| Some(cache_folder()?.join("target")));
    Ok(std::path::absolute(target.unwrap_or_else(|| root.join("target")))?)
}

/// The project's part of the user's cache folder: what all clones share.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    Some(cache?.join("regimen"))
}

/// A path in the environment; an empty one is none.
pub(crate) fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
