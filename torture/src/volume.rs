//! A file system that can lose power: ext4 in a file, on a loop device.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use regimen::BoxError;

/// Large enough for the checkpoints of a run and the journal.
const BYTES: u64 = 64 << 20;

/// A file system in a file, mounted until the value is dropped.
#[derive(Debug)]
pub(crate) struct Volume {
    image: PathBuf,
    root: PathBuf,
}

impl Volume {
    /// Creates one in the folder `dir`. Requires root, a loop device and `mkfs.ext4`.
    pub(crate) fn new(dir: &Path) -> Result<Self, BoxError> {
        let (image, root) = (dir.join("image"), dir.join("root"));
        fs::create_dir_all(&root)?;
        File::create(&image)?.set_len(BYTES)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        mount(&image, &root)?;
        Ok(Volume { image, root })
    }

    /// The mount point.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Drops all data that is not on disk yet. All later calls to the file system return errors.
    pub(crate) fn cut(&self) -> Result<(), BoxError> {
        shut_down(&self.root)
    }

    /// Mounts it again, which replays the journal.
    pub(crate) fn remount(&self) -> Result<(), BoxError> {
        run(Command::new("umount").arg(&self.root))?;
        mount(&self.image, &self.root)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // umount itself reports a failure.
        let _ = Command::new("umount").arg(&self.root).status();
    }
}

fn mount(image: &Path, root: &Path) -> Result<(), BoxError> {
    run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(root))
}

fn run(command: &mut Command) -> Result<(), BoxError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("`{name}` does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("`{name}` ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())
        .into())
}

#[cfg(target_os = "linux")]
fn shut_down(root: &Path) -> Result<(), BoxError> {
    use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
    const EXT4_IOC_SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);
    /// The journal is not flushed either.
    const NO_LOG_FLUSH: u32 = 2;
    let root = File::open(root)?;
    // SAFETY: the kernel reads one `u32` of flags for this number, and keeps no pointer to it.
    unsafe { ioctl(&root, Setter::<EXT4_IOC_SHUTDOWN, u32>::new(NO_LOG_FLUSH))? };
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn shut_down(_: &Path) -> Result<(), BoxError> {
    Err("only Linux can cut a file system off".into())
}
