//! The Pythons that regimen is compared with: virtual environments with what their requirements say.

use std::fs;
use std::path::{Path, PathBuf};

use crate::BoxError;
use crate::workspace::{Workspace, run};

/// The Python of the peers, in `.peers` at the root. To make it takes minutes: PyTorch is among its
/// requirements.
pub(crate) fn python(workspace: &Workspace) -> Result<PathBuf, BoxError> {
    environment(workspace, &workspace.root.join(".peers"), "bench/peers/requirements.txt")
}

/// The Python that reads what the tests write.
pub(crate) fn reader(workspace: &Workspace) -> Result<PathBuf, BoxError> {
    let requirements = "crates/regimen/tests/reference/requirements.txt";
    environment(workspace, &workspace.target.join("python"), requirements)
}

/// The Python of an environment in `folder` with all of the file `requirements` in it. It is made
/// anew when that file has changed.
fn environment(workspace: &Workspace, folder: &Path, requirements: &str) -> Result<PathBuf, BoxError> {
    let python = folder.join("bin/python");
    let wanted = fs::read_to_string(workspace.root.join(requirements))?;
    // Written last: an environment that was left half made does not have it.
    let stamp = folder.join("requirements.txt");
    if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(python);
    }
    println!("making a Python environment in {}", folder.display());
    run(workspace.program("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
    run(workspace.program(&python).args(["-m", "pip", "install", "--quiet", "-r", requirements]))?;
    fs::write(stamp, wanted)?;
    Ok(python)
}
