//! The two workspaces: their folders, their build folder, and commands in them.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use crate::BoxError;
use crate::libtorch::Libtorch;

/// The workspace of this program, locked while the value lives: two tasks would overwrite each
/// other's builds. [`torch`](Workspace::torch) is the other workspace.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    /// The root of the clone.
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    /// The working folder of programs, and additions to their environment.
    folder: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    libtorch: Rc<OnceCell<Result<Libtorch, String>>>,
    _lock: Rc<File>,
}

/// The workspace of `regimen-torch`. It has a separate lock file, as its torch-sys and that of Burn
/// conflict.
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

    /// The libtorch for `regimen-torch`, found or installed on the first call. A failure is kept
    /// too, as it also takes time.
    pub(crate) fn libtorch(&self) -> Result<&Libtorch, String> {
        let got = self.libtorch.get_or_init(|| Libtorch::get().map_err(|error| error.to_string()));
        got.as_ref().map_err(String::clone)
    }

    /// The workspace of `regimen-torch`, in the same build folder. Its programs run with libtorch.
    pub(crate) fn torch(&self) -> Result<Self, BoxError> {
        let environment = self.libtorch()?.environment()?;
        let torch = Workspace { environment, ..self.torch_without_libtorch() };
        // Only now, as other tasks do not need its dependencies. Crates of the main workspace were
        // already removed under their names.
        torch.take_over("clone-torch")?;
        Ok(torch)
    }

    /// The same for commands that compile nothing.
    pub(crate) fn torch_without_libtorch(&self) -> Self {
        Workspace { folder: self.root.join(TORCH), ..self.clone() }
    }

    /// `cargo ARGS` in the workspace.
    pub(crate) fn cargo(&self, args: &[&str]) -> Command {
        let mut command = self.program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(args);
        command
    }

    /// `program` at the root of the workspace, with the build folder in its environment.
    pub(crate) fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).env("CARGO_TARGET_DIR", &self.target);
        // Each selection of features would keep a gigabyte for a second build, which never comes.
        command.env("CARGO_INCREMENTAL", std::env::var_os("CARGO_INCREMENTAL").unwrap_or_else(|| "0".into()));
        // What cargo tells this program of its own package. Build scripts of dependencies that read it would run
        // again, and all after them would be compiled again, under each cargo that is started in another way.
        let own = |name: &OsString| {
            let name = name.to_string_lossy();
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        };
        std::env::vars_os().map(|(name, _)| name).filter(own).for_each(|name| _ = command.env_remove(name));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The example `name`, which is built.
    pub(crate) fn example(&self, name: &str) -> Command {
        let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        self.program(self.target.join("debug/examples").join(file))
    }

    /// The packages of the workspace, from `cargo metadata`.
    pub(crate) fn metadata(&self) -> Result<serde_json::Value, BoxError> {
        let output = self.cargo(&["metadata", "--no-deps", "--format-version", "1"]).output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// An empty folder for the output of a program.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf, BoxError> {
        let scratch = self.target.join("scratch").join(name);
        if scratch.exists() {
            fs::remove_dir_all(&scratch)?;
        }
        fs::create_dir_all(&scratch)?;
        Ok(scratch)
    }

    /// Removes builds of this workspace's crates from another clone. Cargo compares modification times
    /// only, so a source checked out before the other clone's build would count as built. Dependencies
    /// are kept, as they take most of the time. Targets are removed by name, so no test or example may
    /// have the name of a dependency.
    ///
    /// The file `stamp` holds the path of the last clone.
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

/// Runs `command` to its end. Returns an error unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<(), BoxError> {
    run_lines(command.stdout(Stdio::inherit()), |_| ())
}

/// Like [`run`], but passes every line of the command's output to `each`, if that is piped.
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

/// The build folder. It is outside the clone, so that a new clone reuses compiled dependencies.
fn target_dir(root: &Path) -> Result<PathBuf, BoxError> {
    let target = set("CARGO_TARGET_DIR").or_else(|| set("REGIMEN_TARGET"));
    let target = target.or_else(|| Some(cache_folder()?.join("target")));
    Ok(std::path::absolute(target.unwrap_or_else(|| root.join("target")))?)
}

/// The project's folder in the user's cache folder, shared by all clones.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    Some(cache?.join("regimen"))
}

/// A path from the environment; `None` if empty.
pub(crate) fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
