//! Chromium and its driver, for the check of the report page.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::BoxError;
use crate::tools::have;
use crate::workspace::{Workspace, run};

/// An installed Chromium.
#[derive(Debug)]
pub(crate) struct Chromium {
    pub(crate) program: PathBuf,
    pub(crate) driver: PathBuf,
    /// The folders of its libraries, for `LD_LIBRARY_PATH`. Empty if it is installed in the system.
    pub(crate) libraries: OsString,
}

/// Packages of Debian and its derivatives. The font is for a system without one.
const PACKAGES: [&str; 3] = ["chromium", "chromium-driver", "fonts-dejavu-core"];

/// Written last, so that an incomplete folder does not have it.
const STAMP: &str = "packages.txt";

/// Chromium of the system. What it lacks is that of Debian's packages, which are downloaded and unpacked into the build
/// folder: no right to install is needed.
pub(crate) fn chromium(workspace: &Workspace) -> Result<Chromium, BoxError> {
    let system =
        System { program: of_system(workspace, "chromium")?, driver: of_system(workspace, "chromedriver")? };
    if let System { program: Some(program), driver: Some(driver) } = system {
        return Ok(Chromium { program, driver, libraries: OsString::new() });
    }
    let folder = workspace.target.join("chromium");
    if !folder.join(STAMP).exists() {
        let needed = unpack(workspace, &folder)?;
        system.with_unpacked(&folder)?;
        fs::write(folder.join(STAMP), needed)?;
    }
    let (program, driver) = system.with_unpacked(&folder)?;
    let mut folders = BTreeSet::new();
    libraries(&folder.join("root/usr/lib"), &mut folders)?;
    Ok(Chromium { program, driver, libraries: std::env::join_paths(folders)? })
}

/// The programs that are installed in the system.
#[derive(Debug, Default)]
struct System {
    program: Option<PathBuf>,
    driver: Option<PathBuf>,
}

impl System {
    /// The program and the driver: those of the system, else those in `folder`. It is an error if one of them is in neither.
    fn with_unpacked(&self, folder: &Path) -> Result<(PathBuf, PathBuf), BoxError> {
        let or_unpacked = |system: &Option<PathBuf>, name: &str| -> Result<PathBuf, BoxError> {
            let path = system.clone().unwrap_or_else(|| folder.join("root/usr").join(name));
            match path.is_file() {
                true => Ok(path),
                false => Err(format!("the packages of Chromium have no {}", path.display()).into()),
            }
        };
        Ok((
            or_unpacked(&self.program, "lib/chromium/chromium")?,
            or_unpacked(&self.driver, "bin/chromedriver")?,
        ))
    }
}

/// The path of a program of the system, if it works.
fn of_system(workspace: &Workspace, name: &str) -> Result<Option<PathBuf>, BoxError> {
    if have(name, "--version", "").is_err() {
        return Ok(None);
    }
    let output = workspace.program("sh").args(["-c", &format!("command -v {name}")]).output()?;
    Ok(Some(String::from_utf8(output.stdout)?.trim_end().into()))
}

/// Downloads the packages, and those that they need and the system has not, and unpacks them. Returns their names.
fn unpack(workspace: &Workspace, folder: &Path) -> Result<String, BoxError> {
    have("apt-get", "--version", "chromium and chromium-driver")?;
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    println!("downloading Chromium to {}", folder.display());
    let mut apt = workspace.program("apt-get");
    apt.args(["install", "--simulate", "--no-install-recommends"]).args(PACKAGES);
    let simulated = apt.output()?;
    if !simulated.status.success() {
        return Err(format!("apt-get: {}", String::from_utf8_lossy(&simulated.stderr).trim_end()).into());
    }
    let simulated = String::from_utf8_lossy(&simulated.stdout).into_owned();
    let needed: Vec<&str> = needed(&simulated).collect();
    run(workspace.program("apt-get").args(["download", "--quiet"]).args(&needed).current_dir(folder))?;
    for entry in fs::read_dir(folder)? {
        let package = entry?.path();
        if package.extension().is_some_and(|ending| ending == "deb") {
            run(workspace.program("dpkg").arg("--extract").arg(&package).arg(folder.join("root")))?;
            fs::remove_file(package)?;
        }
    }
    Ok(needed.join("\n"))
}

/// The packages that a simulation would install.
fn needed(simulated: &str) -> impl Iterator<Item = &str> {
    simulated.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next())
}

/// The folders with shared libraries in `folder`.
fn libraries(folder: &Path, found: &mut BTreeSet<PathBuf>) -> Result<(), BoxError> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            libraries(&entry.path(), found)?;
        } else if entry.file_name().to_string_lossy().contains(".so") {
            found.insert(folder.to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{System, needed};

    #[test]
    fn what_the_system_lacks_must_be_in_the_packages() {
        let dir = std::env::temp_dir().join(format!("regimen-chromium-{}", std::process::id()));
        let (program, bin) = (dir.join("chromium"), dir.join("root/usr/bin"));
        fs::create_dir_all(&bin).unwrap();
        fs::write(&program, "").unwrap();
        let system = System { program: Some(program.clone()), driver: None };
        let error = system.with_unpacked(&dir).unwrap_err().to_string();
        let driver = bin.join("chromedriver");
        assert_eq!(error, format!("the packages of Chromium have no {}", driver.display()));
        fs::write(&driver, "").unwrap();
        assert_eq!(system.with_unpacked(&dir).unwrap(), (program, driver));
        assert!(System::default().with_unpacked(&dir).is_err());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn packages_that_would_be_installed_are_named() {
        let simulated = "Reading package lists...\nInst libogg0 (1.3.5-3 Debian:12/stable [amd64])\n\
                         Inst chromium (148.0 Debian)\nConf libogg0 (1.3.5-3 Debian)\n";
        assert_eq!(needed(simulated).collect::<Vec<_>>(), ["libogg0", "chromium"]);
    }
}
