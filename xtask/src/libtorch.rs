//! `cargo xtask libtorch`: finds the libtorch that `regimen-torch` is built on, or installs it.
//!
//! The search order is: the folder in `LIBTORCH`, the torch of the active Python environment, the
//! installation of an earlier call, and a new installation in the user's cache folder.

mod install;
mod version;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fmt, fs};

use crate::BoxError;
use crate::workspace::{cache_folder, set};
use version::Version;

/// The libtorch version of tch 0.24. Later patch releases are compatible.
const WANTED: Version = Version { major: 2, minor: 11, patch: 0 };

/// A verified folder with libtorch.
#[derive(Debug)]
pub(crate) struct Libtorch {
    folder: PathBuf,
    version: Version,
}

/// Prints shell commands that set the environment, and nothing else, to standard output:
/// `eval "$(cargo xtask libtorch)"`.
pub(crate) fn libtorch() -> Result<(), BoxError> {
    let libtorch = Libtorch::get()?;
    eprintln!("{libtorch}");
    print!("{}", libtorch.exports()?);
    Ok(())
}

impl Libtorch {
    /// Finds libtorch or installs it. Reports skipped candidates and downloads on standard error.
    pub(crate) fn get() -> Result<Self, BoxError> {
        if let Some(folder) = set("LIBTORCH") {
            return named(&folder);
        }
        if let Some(folder) = python_folder() {
            match Libtorch::open(&folder) {
                Ok(libtorch) => return Ok(libtorch),
                Err(why) => eprintln!("the active Python is skipped: {why}"),
            }
        }
        let folder = install_folder()?;
        // An empty folder was created for the installation.
        if fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_none()) || !folder.exists() {
            install::into(&folder)?;
        }
        Libtorch::open(&folder).map_err(|why| {
            format!("{why}; remove that folder, or set REGIMEN_LIBTORCH to another, and call this again")
                .into()
        })
    }

    /// Environment variables for cargo and the programs it builds.
    pub(crate) fn environment(&self) -> Result<Vec<(&'static str, OsString)>, BoxError> {
        let mut paths = vec![self.folder.join("lib")];
        paths.extend(set("LD_LIBRARY_PATH").iter().flat_map(std::env::split_paths));
        let mut all = vec![
            ("LIBTORCH", self.folder.clone().into_os_string()),
            ("LD_LIBRARY_PATH", std::env::join_paths(paths)?),
        ];
        if self.version != WANTED {
            all.push(("LIBTORCH_BYPASS_VERSION_CHECK", "1".into()));
        }
        Ok(all)
    }

    /// The same as shell commands.
    fn exports(&self) -> Result<String, BoxError> {
        let folder = self.folder.to_str().filter(|path| !path.contains([':', '\'']));
        let folder = folder.ok_or_else(|| {
            format!(
                "the path {} cannot be quoted for a shell: move libtorch to a plainer path",
                self.folder.display()
            )
        })?;
        let mut text = format!("export LIBTORCH='{folder}'\n");
        // A trailing colon would add the current folder to the path.
        text +=
            &format!("export LD_LIBRARY_PATH='{folder}/lib'\"${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\"\n");
        if self.version != WANTED {
            text += "export LIBTORCH_BYPASS_VERSION_CHECK=1\n";
        }
        Ok(text)
    }

    /// Opens the libtorch in `folder` if it exists with the right version.
    fn open(folder: &Path) -> Result<Self, String> {
        let library = folder.join("lib/libtorch_cpu.so");
        if !library.exists() {
            return Err(format!("there is no {}", library.display()));
        }
        let version = Version::of(folder)?;
        if (version.major, version.minor) != (WANTED.major, WANTED.minor) {
            let folder = folder.display();
            return Err(format!("{folder} holds libtorch {version}, and {WANTED} is needed"));
        }
        Ok(Libtorch { folder: folder.to_owned(), version })
    }
}

impl fmt::Display for Libtorch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "libtorch {} in {}", self.version, self.folder.display())
    }
}

/// The libtorch in `LIBTORCH`. If it is unusable, that is an error: a silent substitute would surprise.
fn named(folder: &Path) -> Result<Libtorch, BoxError> {
    let open =
        std::path::absolute(folder).map_err(|error| error.to_string()).and_then(|it| Libtorch::open(&it));
    open.map_err(|why| {
        format!(
            "LIBTORCH is {}: {why}; unset LIBTORCH to have libtorch {WANTED} installed, or set it to where \
             you have unpacked the archive of libtorch {WANTED} from pytorch.org",
            folder.display()
        )
        .into()
    })
}

/// The torch folder of the active Python environment, if there is one.
fn python_folder() -> Option<PathBuf> {
    // Located without an import, which takes seconds. The headers state the version.
    const FIND: &str =
        "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])";
    let python = set("VIRTUAL_ENV").or_else(|| set("CONDA_PREFIX"))?.join("bin/python");
    let output = Command::new(python).args(["-c", FIND]).stderr(Stdio::null()).output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| folder.trim_end().into())
}

/// The installation folder. It is outside the build folder, which `cargo clean` removes.
fn install_folder() -> Result<PathBuf, BoxError> {
    let folder = set("REGIMEN_LIBTORCH").or_else(|| Some(cache_folder()?.join(format!("libtorch-{WANTED}"))));
    let folder = folder.ok_or("no cache folder for libtorch: set HOME, or REGIMEN_LIBTORCH to a folder")?;
    Ok(std::path::absolute(folder)?)
}

#[cfg(test)]
mod tests {
    use super::{Libtorch, Version, WANTED};

    fn check(folder: &str, version: Version, expected: &str) {
        let exports = Libtorch { folder: folder.into(), version }.exports();
        assert_eq!(exports.unwrap_or_else(|error| error.to_string()), expected);
    }

    #[test]
    fn a_shell_is_told_where_libtorch_is_and_that_a_later_patch_will_do() {
        let paths = "export LIBTORCH='/opt/lib torch'\n\
                     export LD_LIBRARY_PATH='/opt/lib torch/lib'\"${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\"\n";
        check("/opt/lib torch", WANTED, paths);
        let later = Version { patch: 1, ..WANTED };
        check("/opt/lib torch", later, &format!("{paths}export LIBTORCH_BYPASS_VERSION_CHECK=1\n"));
    }

    #[test]
    fn a_path_that_a_shell_would_misread_is_refused() {
        let expected = "the path /opt/a:b cannot be quoted for a shell: move libtorch to a plainer path";
        check("/opt/a:b", WANTED, expected);
    }
}
