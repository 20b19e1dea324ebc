//! The name of this machine.

use std::path::PathBuf;

/// The name of this machine, or `an unnamed host`.
pub(crate) fn host_name() -> String {
    let read = |file: &PathBuf| std::fs::read_to_string(file).ok();
    let name = ["/proc/sys/kernel/hostname", "/etc/hostname"].map(PathBuf::from).iter().find_map(read);
    let name = name.or_else(|| std::env::var("COMPUTERNAME").ok());
    name.map_or_else(|| "an unnamed host".to_owned(), |name| name.trim().to_owned())
}
