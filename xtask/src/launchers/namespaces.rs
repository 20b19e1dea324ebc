//! Two network namespaces as two hosts, with a link of 1 Gbit/s between them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::BoxError;
use crate::workspace::run;

/// The namespaces, which are removed when it is dropped.
pub(super) struct Namespaces {
    /// The program in place of ssh.
    agent: PathBuf,
}

const NAMES: [&str; 2] = ["regimen-a", "regimen-b"];

/// Starts a command in the namespace of an address, with a host name of its own.
const AGENT: &str = r#"#!/bin/bash
while [[ "$1" == -* ]]; do shift; done
host=$1; shift
case $host in 10.77.0.1) name=regimen-a ;; 10.77.0.2) name=regimen-b ;; esac
exec ip netns exec $name unshare -u sh -c "hostname $name; $*"
"#;

impl Namespaces {
    /// An error without root, without `ip` and `tc`, or if the kernel has no `tbf`.
    pub(super) fn make(folder: &Path) -> Result<Self, BoxError> {
        let agent = folder.join("agent");
        fs::write(&agent, AGENT)?;
        run(Command::new("chmod").arg("+x").arg(&agent))?;
        // Those that a killed task has left.
        let namespaces = Namespaces { agent };
        namespaces.remove();
        for name in NAMES {
            ip(&["netns", "add", name])?;
            within(name, "ip link set lo up")?;
        }
        let [a, b] = NAMES;
        ip(&["link", "add", "veth-a", "netns", a, "type", "veth", "peer", "name", "veth-b", "netns", b])?;
        for (name, link, address) in [(a, "veth-a", "10.77.0.1/24"), (b, "veth-b", "10.77.0.2/24")] {
            let limit = "root tbf rate 1gbit burst 256kb latency 100ms";
            within(name, &format!("ip addr add {address} dev {link}"))?;
            within(name, &format!("ip link set {link} up"))?;
            within(name, &format!("tc qdisc add dev {link} {limit}"))?;
        }
        Ok(namespaces)
    }

    /// `mpirun` of `program` with a rank in each.
    pub(super) fn mpirun(&self, program: &Path, out: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", NAMES[0], "mpirun", "--prtemca", "plm_ssh_agent"]).arg(&self.agent);
        command.args(["--host", "10.77.0.1:1,10.77.0.2:1", "--prtemca", "prte_if_include", "10.77.0.0/24"]);
        command.args(["--mca", "pml", "ob1", "--mca", "btl", "tcp,self"]);
        command.args(["--mca", "btl_tcp_if_include", "10.77.0.0/24", "-n", "2"]);
        command.arg(program).arg(out).arg(super::STEP_MS.to_string());
        command
    }

    fn remove(&self) {
        for name in NAMES {
            let _ = Command::new("ip").args(["netns", "delete", name]).output();
        }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        self.remove();
    }
}

fn ip(args: &[&str]) -> Result<(), BoxError> {
    let output =
        Command::new("ip").args(args).output().map_err(|error| format!("`ip` does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("no network namespaces here: `ip {}`: {}", args.join(" "), why.trim()).into())
}

fn within(name: &str, command: &str) -> Result<(), BoxError> {
    ip(&[&["netns", "exec", name], &command.split(' ').collect::<Vec<_>>()[..]].concat())
}
