//! `cargo xtask libtorch`: finds the libtorch that `regimen-torch` is built on, or installs it.
//!
//! In this order: the folder that `LIBTORCH` names, the torch of the active Python environment, the
//! install of an earlier call, and a new install in the user's cache folder.

mod install;
mod version;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fmt, fs};

use crate::BoxError;
use crate::workspace::{cache_folder, set};
use version::Version;

/// The libtorch that tch 0.24 is made for. A later patch of it serves as well.
const WANTED: Version = Version { major: 2, minor: 11, patch: 0 };

/// A folder with libtorch in it, checked.
#[derive(Debug)]
pub(crate) struct Libtorch {
    folder: PathBuf,
    version: Version,
}

/// Prints what a shell must be told, and nothing else, to standard output:
/// `eval "$(cargo xtask libtorch)"`.
pub(crate) fn libtorch() -> Result<(), BoxError> {
    let libtorch = Libtorch::get()?;
    eprintln!("{libtorch}");
    print!("{}", libtorch.exports()?);
    Ok(())
}

impl Libtorch {
    /// Finds libtorch or installs it, and tells on standard error what is passed over and downloaded.
    pub(crate) fn get() -> Result<Self, BoxError> {
        if let Some(folder) = set("LIBTORCH") {
            return named(&folder);
        }
        if let Some(folder) = python_folder() {
            match Libtorch::open(&folder) {
                Ok(libtorch) => return Ok(libtorch),
                Err(why) => eprintln!("the active Python is passed over: {why}"),
            }
        }
        let folder = install_folder()?;
        // An empty folder is one that was made for this.
        if fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_none()) || !folder.exists() {
            install::into(&folder)?;
        }
        Libtorch::open(&folder).map_err(|why| {
            format!("{why}; remove that folder, or set REGIMEN_LIBTORCH to another, and call this again")
                .into()
        })
    }

    /// What cargo and the programs it builds need in their environment.
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

    /// The same for a shell.
    fn exports(&self) -> Result<String, BoxError> {
        let folder = self.folder.to_str().filter(|path| !path.contains([':', '\'']));
        let folder = folder.ok_or_else(|| {
            format!(
                "the path {} cannot be written for a shell: have libtorch in a plainer one",
                self.folder.display()
            )
        })?;
        let mut text = format!("export LIBTORCH='{folder}'\n");
        // A path that ends in a colon would mean the current folder too.
        text +=
            &format!("export LD_LIBRARY_PATH='{folder}/lib'\"${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\"\n");
        if self.version != WANTED {
            text += "export LIBTORCH_BYPASS_VERSION_CHECK=1\n";
        }
        Ok(text)
    }

    /// The libtorch in `folder`, if it is there and of the right version.
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

/// The libtorch that the user has named. Another one is not looked for: it would be a surprise.
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

/// Where the torch of the active Python environment is, if there is one.
fn python_folder() -> Option<PathBuf> {
    // Found and not imported: an import takes seconds, and the headers tell the version.
    const FIND: &str =
        "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])";
    let python = set("VIRTUAL_ENV").or_else(|| set("CONDA_PREFIX"))?.join("bin/python");
    let output = Command::new(python).args(["-c", FIND]).stderr(Stdio::null()).output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| folder.trim_end().into())
}

/// Where libtorch is installed: not where things are built, for `cargo clean` would remove it there.
fn install_folder() -> Result<PathBuf, BoxError> {
    let folder = set("REGIMEN_LIBTORCH").or_else(|| Some(cache_folder()?.join(format!("libtorch-{WANTED}"))));
    let folder =
        folder.ok_or("there is no cache folder for libtorch: set HOME, or REGIMEN_LIBTORCH to a folder")?;
    Ok(std::path::absolute(folder)?)
}

#[cfg(test)]
mod tests {
    use super::{Libtorch, Version, WANTED};

    fn check(folder: &str, version: Version, told: &str) {
        let exports = Libtorch { folder: folder.into(), version }.exports();
        assert_eq!(exports.unwrap_or_else(|error| error.to_string()), told);
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
        let told = "the path /opt/a:b cannot be written for a shell: have libtorch in a plainer one";
        check("/opt/a:b", WANTED, told);
    }
}
