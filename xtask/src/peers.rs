//! The Python that the peers run in: a virtual environment of its own, in `.peers` at the root.

use std::fs;
use std::path::PathBuf;

use crate::BoxError;
use crate::workspace::{Workspace, run};

/// The Python of an environment with all of `bench/peers/requirements.txt` in it. It is made anew
/// when that file has changed, which takes minutes: PyTorch is among the requirements.
pub(crate) fn python(workspace: &Workspace) -> Result<PathBuf, BoxError> {
    let folder = workspace.root.join(".peers");
    let python = folder.join("bin/python");
    let wanted = fs::read_to_string(workspace.root.join("bench/peers/requirements.txt"))?;
    // Written last: an environment that was left half made does not have it.
    let stamp = folder.join("requirements.txt");
    if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(python);
    }
    println!("making a Python environment for the peers in {}", folder.display());
    run(workspace.program("python3").args(["-m", "venv", "--clear", ".peers"]))?;
    run(workspace.program(&python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "-r",
        "bench/peers/requirements.txt",
    ]))?;
    fs::write(stamp, wanted)?;
    Ok(python)
}
