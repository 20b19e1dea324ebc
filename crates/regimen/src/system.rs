//! The system under the process: its environment, the machine's name, random bits.

use std::env;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;

use crate::time::since_1970;

/// The value of an environment variable. `None` if it is empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Random bits, others at each call: from the standard library's only source, which it draws from the system.
pub(crate) fn random_bits() -> u64 {
    RandomState::new().hash_one(since_1970())
}

/// A name that no other run has: 128 random bits.
pub(crate) fn random_name() -> String {
    format!("{:016x}{:016x}", random_bits(), random_bits())
}

/// The name of this machine, or `an unnamed host`.
pub(crate) fn host_name() -> String {
    let read = |file: &PathBuf| std::fs::read_to_string(file).ok();
    let name = ["/proc/sys/kernel/hostname", "/etc/hostname"].map(PathBuf::from).iter().find_map(read);
    let name = name.or_else(|| env::var("COMPUTERNAME").ok());
    name.map_or_else(|| "an unnamed host".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_random_number_is_another() {
        let numbers: BTreeSet<_> = (0..100).map(|_| random_bits()).collect();
        assert_eq!(numbers.len(), 100);
    }
}
