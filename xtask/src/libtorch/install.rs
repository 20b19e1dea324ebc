//! Installation of libtorch from its Python wheels, without the parts for GPUs.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;

use crate::BoxError;
use crate::workspace::run_lines;

/// Torch, and the two CUDA libraries that its CPU library links to, in the versions that this wheel
/// requires.
const WHEELS: [&str; 3] = ["torch==2.11.0", "nvidia-cuda-runtime==13.0.96", "nvidia-cuda-cupti==13.0.85"];

/// Name prefixes of the kept libraries. The others, half a gigabyte, are for GPUs only.
const KEPT: [&str; 5] = ["libtorch_cpu.so", "libc10.so", "libgomp", "libcudart.so", "libcupti.so"];

/// Linker script that replaces `libtorch.so`. The original contains no code and requires the GPU libraries.
const LIBTORCH_SO: &str = "/* Stands for a library that needs more than the CPU. */\nINPUT(-ltorch_cpu)\n";

/// Installs libtorch in `folder`, completely or not at all.
pub(crate) fn into(folder: &Path) -> Result<(), BoxError> {
    const ARCHIVE: &str =
        "set LIBTORCH to where you have unpacked the archive of libtorch 2.11.0 from pytorch.org";
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(format!("libtorch is installed on x86-64 Linux only: {ARCHIVE}").into());
    }
    locked(folder).map_err(|why| {
        let folder = folder.display();
        format!(
            "libtorch cannot be installed in {folder}: {why}; see that there are 2 GB free, and that \
             `python3 -m pip` is of Python 3.10 to 3.14 and reaches its index, or {ARCHIVE}"
        )
        .into()
    })
}

/// Installs under a lock, so that no other process does at the same time.
fn locked(folder: &Path) -> Result<(), BoxError> {
    let part = folder.with_added_extension("part");
    fs::create_dir_all(folder.parent().unwrap_or(folder))?;
    let lock = File::create(folder.with_added_extension("lock"))?;
    lock.lock()?;
    if folder.join("lib").exists() {
        return Ok(());
    }
    if part.exists() {
        fs::remove_dir_all(&part)?;
    }
    fs::create_dir(&part)?;
    let done = download(&part.join("wheels")).and_then(|()| {
        keep(&part.join("wheels"), &part.join("libtorch"))?;
        // The last step: an interrupted installation never has this name.
        Ok(fs::rename(part.join("libtorch"), folder)?)
    });
    // Also after a failure: the files are large and useless.
    let removed = fs::remove_dir_all(&part);
    done.and(removed.map_err(BoxError::from))
}

fn download(wheels: &Path) -> Result<(), BoxError> {
    eprintln!("downloading {}: 545 MB, of which 500 MB are kept unpacked", WHEELS.join(", "));
    let temporary = wheels.with_file_name("tmp");
    fs::create_dir(&temporary)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--no-user", "--no-deps", "--no-compile", "--only-binary", ":all:"]);
    pip.arg("--target").arg(wheels).args(WHEELS);
    // The system's temporary folder may be too small. The output of pip must not reach the shell
    // that evaluates ours.
    run_lines(pip.env("TMPDIR", &temporary).stdout(io::stderr()), |_| ())
}

/// Moves the needed files of the unpacked `wheels` to `folder`.
fn keep(wheels: &Path, folder: &Path) -> Result<(), BoxError> {
    let lib = folder.join("lib");
    fs::create_dir_all(&lib)?;
    fs::rename(wheels.join("torch/include"), folder.join("include"))?;
    let mut sources = vec![wheels.join("torch/lib")];
    for entry in fs::read_dir(wheels.join("nvidia"))? {
        sources.push(entry?.path().join("lib"));
    }
    let mut kept = [0; KEPT.len()];
    for source in sources.iter().filter(|source| source.is_dir()) {
        for entry in fs::read_dir(source)? {
            let file = entry?;
            let name = file.file_name();
            let begins = |kept: &str| name.to_string_lossy().starts_with(kept);
            if let Some(which) = KEPT.iter().position(|kept| begins(kept)) {
                fs::rename(file.path(), lib.join(&name))?;
                kept[which] += 1;
            }
        }
    }
    if let Some(missing) = kept.iter().position(|count| *count == 0) {
        return Err(format!("the wheels have no {} in {sources:?}", KEPT[missing]).into());
    }
    Ok(fs::write(lib.join("libtorch.so"), LIBTORCH_SO)?)
}
