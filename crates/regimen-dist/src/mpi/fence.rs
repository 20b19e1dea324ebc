//! Fencing: a rank that the others have given up is ended.
//!
//! A process that was stopped is lost to the others like one that is dead. If it were continued later, it would go on
//! with its part of the run: train alone, hold the lock of the checkpoints, write to the logs.

use std::time::Duration;
use std::{fs, thread};

/// A process, by names that no other has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// The boot of its machine, and the namespace of its number there.
    machine: String,
    number: i32,
    /// Its start, by the clock of the machine. A later process may have its number.
    began: String,
}

impl Process {
    /// This process. `None` if the system does not tell.
    pub(super) fn this() -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        let number = i32::try_from(std::process::id()).ok()?;
        let machine = format!("{} {}", boot.trim(), namespace.display());
        Some(Process { machine, number, began: running(number)? })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Process { machine, number, began } = self;
        format!("{machine}\n{number}\n{began}").into_bytes()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.split('\n').map(str::to_owned);
        let (machine, number, began) = (lines.next()?, lines.next()?.parse().ok()?, lines.next()?);
        Some(Process { machine, number, began })
    }

    /// Ends it, if it is on the machine of this process, which is `here`, and still there. Returns when it has ended and
    /// its locks are free, or after 5 s.
    pub(super) fn end(&self, here: &Process) {
        let lives = || running(self.number).as_ref() == Some(&self.began);
        if self.machine != here.machine || !lives() {
            return;
        }
        #[cfg(target_os = "linux")]
        if let Some(process) = rustix::process::Pid::from_raw(self.number) {
            // It may have ended by now.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
        for _ in 0..1000 {
            if !lives() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The start of the process `number` if it has not ended, in ticks since the boot: the 22nd field of its status.
fn running(number: i32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    // The second field is the name of the program, which may hold anything.
    let (_, fields) = status.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let has_ended = ["Z", "X"].contains(fields.first()?);
    fields.get(19).filter(|_| !has_ended).map(|&began| began.to_owned())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_ends_if_it_is_the_one() {
        let here = Process::this().unwrap();
        assert_eq!(Process::from_bytes(&here.to_bytes()), Some(here.clone()));
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let number = child.id() as i32;
        let there = Process { number, began: running(number).unwrap(), ..here.clone() };
        let others = [
            Process { machine: "another".into(), ..there.clone() },
            Process { began: "1".into(), ..there.clone() },
        ];
        others.iter().for_each(|other| other.end(&here));
        thread::sleep(Duration::from_millis(100));
        assert!(child.try_wait().unwrap().is_none());
        there.end(&here);
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn bytes_of_no_process_are_none() {
        for bytes in [&b""[..], b"machine", b"machine\nsoon\n1", b"\xff\n1\n1"] {
            assert_eq!(Process::from_bytes(bytes), None);
        }
    }
}
