//! Python virtual environments: frameworks and packages that regimen is compared with, readers of its files, a server of
//! S3, MPI and NCCL.

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::BoxError;
use crate::workspace::{Workspace, run};

/// The Python of the peers, in `.peers` at the root. Creating it takes minutes, as it includes PyTorch.
pub(crate) fn python(workspace: &Workspace) -> Result<PathBuf, BoxError> {
    environment(workspace, &workspace.root.join(".peers"), PEERS)
}

const PEERS: &str = "bench/peers/requirements.txt";

/// The same, if it already exists.
pub(crate) fn made(workspace: &Workspace) -> Option<PathBuf> {
    let folder = workspace.root.join(".peers");
    let wanted = fs::read_to_string(workspace.root.join(PEERS)).ok()?;
    is_made(&folder, &wanted).then(|| folder.join("bin/python"))
}

/// The Python that reads files written by the tests.
pub(crate) fn reader(workspace: &Workspace) -> Result<PathBuf, BoxError> {
    let requirements = "crates/regimen/tests/reference/requirements.txt";
    environment(workspace, &workspace.target.join("python"), requirements)
}

/// The Python with TensorBoard, MLflow and W&B, which read the logs that tests write.
pub(crate) fn logs(workspace: &Workspace) -> Result<PathBuf, BoxError> {
    let requirements = "crates/regimen/tests/log/requirements.txt";
    environment(workspace, &workspace.target.join("python-logs"), requirements)
}

/// The Python with the packages that measures are compared with.
pub(crate) fn measures(workspace: &Workspace) -> Result<PathBuf, BoxError> {
    let requirements = "crates/regimen/tests/measures/requirements.txt";
    environment(workspace, &workspace.target.join("python-measures"), requirements)
}

/// The Python with a server of S3.
pub(crate) fn s3(workspace: &Workspace) -> Result<PathBuf, BoxError> {
    environment(workspace, &workspace.target.join("python-s3"), "crates/regimen-object-store/tests/moto.txt")
}

/// The Python that drives Chromium.
pub(crate) fn selenium(workspace: &Workspace) -> Result<PathBuf, BoxError> {
    let requirements = "crates/regimen-report/tests/browser/requirements.txt";
    environment(workspace, &workspace.target.join("python-selenium"), requirements)
}

/// An installed MPI, and its parts.
#[derive(Debug)]
pub(crate) struct Mpi {
    pub(crate) name: &'static str,
    pub(crate) launcher: PathBuf,
    pub(crate) library: PathBuf,
    /// Arguments of the launcher, and variables, for more ranks than cores and for any user.
    pub(crate) args: &'static [&'static str],
    pub(crate) variables: &'static [(&'static str, &'static str)],
}

/// Open MPI and MPICH, whose packages for Python have the library and the launcher.
pub(crate) fn mpis(workspace: &Workspace) -> Result<[Mpi; 2], BoxError> {
    let installed = |package: &str| -> Result<PathBuf, BoxError> {
        let folder = workspace.target.join(format!("python-{package}"));
        environment(workspace, &folder, &format!("crates/regimen-dist/tests/{package}.txt"))?;
        Ok(folder)
    };
    let (open_mpi, mpich) = (installed("openmpi")?, installed("mpich")?);
    Ok([
        Mpi {
            name: "Open MPI",
            launcher: open_mpi.join("bin/mpirun"),
            library: open_mpi.join("lib/libmpi.so.40"),
            args: &["--oversubscribe", "--allow-run-as-root"],
            variables: &[],
        },
        Mpi {
            name: "MPICH",
            launcher: mpich.join("bin/mpiexec"),
            library: mpich.join("lib/libmpi.so.12"),
            args: &[],
            // In its shared memory a rank that waits never yields its core.
            variables: &[("MPIR_CVAR_NOLOCAL", "1")],
        },
    ])
}

/// The library of NCCL: the one in `REGIMEN_NCCL`, or that of its package for Python.
pub(crate) fn nccl(workspace: &Workspace) -> Result<PathBuf, BoxError> {
    if let Some(library) = env::var_os("REGIMEN_NCCL") {
        return Ok(library.into());
    }
    let folder = workspace.target.join("python-nccl");
    let python = environment(workspace, &folder, "crates/regimen-dist/tests/nccl.txt")?;
    let place =
        "import os, nvidia.nccl; print(os.path.join(*nvidia.nccl.__path__, 'lib/libnccl.so.2'), end='')";
    let output = workspace.program(&python).args(["-c", place]).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned().into())
}

/// The Python of the environment in `folder`, with the packages in the file `requirements`. It is
/// created again if that file has changed.
fn environment(workspace: &Workspace, folder: &Path, requirements: &str) -> Result<PathBuf, BoxError> {
    let python = folder.join("bin/python");
    let wanted = fs::read_to_string(workspace.root.join(requirements))?;
    if is_made(folder, &wanted) {
        return Ok(python);
    }
    println!("creating a Python environment in {}", folder.display());
    run(workspace.program("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
    run(workspace.program(&python).args(["-m", "pip", "install", "--quiet", "-r", requirements]))?;
    fs::write(folder.join(STAMP), wanted)?;
    Ok(python)
}

/// Written last, so that an incomplete environment does not have it.
const STAMP: &str = "requirements.txt";

fn is_made(folder: &Path, wanted: &str) -> bool {
    fs::read_to_string(folder.join(STAMP)).is_ok_and(|made| made == wanted)
}
