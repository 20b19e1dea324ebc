//! The version of libtorch in a folder.

use std::path::Path;
use std::{fmt, fs};

/// The version of a libtorch. A suffix of the patch, such as `+cpu`, is ignored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) patch: u32,
}

/// Headers that define the version, in newer releases first.
const HEADERS: [&str; 2] =
    ["include/torch/headeronly/version.h", "include/torch/csrc/api/include/torch/version.h"];

impl Version {
    /// Reads the version of the libtorch in `folder`: from the archive's `build-version`, or from
    /// the headers, which Python wheels have too.
    pub(crate) fn of(folder: &Path) -> Result<Self, String> {
        if let Ok(text) = fs::read_to_string(folder.join("build-version")) {
            return Version::of_archive(&text)
                .ok_or_else(|| format!("`build-version` in {} says {text:?}", folder.display()));
        }
        let headers = HEADERS.iter().filter_map(|header| fs::read_to_string(folder.join(header)).ok());
        let mut versions = headers.filter_map(|text| Version::of_header(&text));
        versions.next().ok_or_else(|| {
            format!("{} has neither `build-version` nor a version in `{}`", folder.display(), HEADERS[0])
        })
    }

    fn of_archive(text: &str) -> Option<Self> {
        let release = text.trim().split('+').next()?;
        let mut numbers = release.split('.').map(|number| number.parse().ok());
        let [major, minor, patch] = [numbers.next()??, numbers.next()??, numbers.next()??];
        Some(Version { major, minor, patch })
    }

    fn of_header(text: &str) -> Option<Self> {
        let number = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.strip_prefix("#define TORCH_VERSION_"));
            lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        };
        Some(Version { major: number("MAJOR")?, minor: number("MINOR")?, patch: number("PATCH")? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn a_version_is_read_from_an_archive_and_from_a_header() {
        let is = |version: Option<Version>| version.map(|version| version.to_string());
        let header = "#pragma once\n#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 11\n#define \
                      TORCH_VERSION_PATCH 1\n#define TORCH_VERSION_ABI_TAG 0\n";
        assert_eq!(is(Version::of_header(header)).as_deref(), Some("2.11.1"));
        assert_eq!(is(Version::of_header("#define TORCH_VERSION_MAJOR 2\n")), None);
        assert_eq!(is(Version::of_archive("2.11.0+cpu\n")).as_deref(), Some("2.11.0"));
        assert_eq!(is(Version::of_archive("2.11")), None);
    }
}
