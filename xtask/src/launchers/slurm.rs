//! SLURM on one machine: a controller and a node, without accounts and without root's files.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use super::{PATIENCE, POLL, Restarted, Running};
use crate::BoxError;
use crate::workspace::run;

/// Both daemons, which end when it is dropped.
pub(super) struct Slurm {
    configuration: PathBuf,
    log: PathBuf,
    _daemons: [Running; 2],
}

impl Slurm {
    /// Starts the daemons in `folder`. The inner error is the reason why this machine has no SLURM for MPI.
    pub(super) fn start(folder: &Path) -> Result<Result<Self, String>, BoxError> {
        let host = text(Command::new("hostname").arg("-s"))?;
        let user = text(Command::new("id").arg("-un"))?;
        let cores = thread::available_parallelism()?;
        // Both stay open until both are known.
        let ports = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let [controller, node] = [ports[0].local_addr()?.port(), ports[1].local_addr()?.port()];
        drop(ports);
        let path = folder.display();
        fs::create_dir_all(folder.join("state"))?;
        fs::create_dir_all(folder.join("spool"))?;
        let configuration = folder.join("slurm.conf");
        // A job that is put back into the queue waits until its credential has expired. 5 s are the least.
        fs::write(
            &configuration,
            format!(
                "ClusterName=regimen
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={path}/state
SlurmdSpoolDir={path}/spool
SlurmctldPidFile={path}/slurmctld.pid
SlurmdPidFile={path}/slurmd.pid
SlurmctldLogFile={path}/slurmctld.log
SlurmdLogFile={path}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
"
            ),
        )?;
        let start = |daemon: &str, args: &[&str]| {
            let mut command = Command::new(daemon);
            command.args(args).arg("-f").arg(&configuration).stdout(Stdio::null()).stderr(Stdio::null());
            Running::start(&mut command)
        };
        let daemons = [start("slurmctld", &["-D"])?, start("slurmd", &["-D", "-N", &host])?];
        let slurm = Slurm { configuration, log: folder.join("log"), _daemons: daemons };
        let deadline = Instant::now() + PATIENCE;
        while !text(slurm.command("sinfo").args(["--noheader", "-o", "%T"]))
            .is_ok_and(|state| state == "idle")
        {
            if Instant::now() > deadline {
                return Ok(Err(format!("the daemons of SLURM do not come up: see the logs in {path}")));
            }
            thread::sleep(POLL);
        }
        if fs::read_to_string(folder.join("slurmd.log"))?.contains("can not load PMIx library") {
            return Ok(Err(
                "SLURM finds no libpmix.so: install libpmix-dev with the system's package manager".into(),
            ));
        }
        Ok(Ok(slurm))
    }

    /// Submits `script`, and returns the job.
    pub(super) fn submit(&self, restarted: &Restarted, script: &Path) -> Result<String, BoxError> {
        let mut command = self.command("sbatch");
        command.arg("--parsable").arg("--overcommit").arg("--output").arg(&self.log).arg(script);
        text(restarted.environment(&mut command))
    }

    /// Sends the signal of the script's `--signal`, which SLURM sends some time before the end of the job.
    pub(super) fn warn(&self, job: &str) -> Result<(), BoxError> {
        run(self.command("scancel").args(["--batch", "--signal", "USR1", job]))
    }

    /// Whether the job has not ended. One that is put back into the queue has not.
    pub(super) fn is_running(&self, job: &str) -> bool {
        self.state(job)
            .is_ok_and(|state| !["COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL"].contains(&&*state))
    }

    pub(super) fn wait(&self, job: &str) -> Result<(), BoxError> {
        let deadline = Instant::now() + PATIENCE;
        while self.is_running(job) {
            if Instant::now() > deadline {
                return Err("the job hangs".into());
            }
            thread::sleep(POLL);
        }
        match self.state(job)?.as_str() {
            "COMPLETED" => Ok(()),
            state => Err(format!("the job is {state}").into()),
        }
    }

    fn state(&self, job: &str) -> Result<String, BoxError> {
        let shown = text(self.command("scontrol").args(["--oneliner", "show", "job", job]))?;
        let state = shown.split(' ').find_map(|field| field.strip_prefix("JobState="));
        Ok(state.ok_or_else(|| format!("no state in: {shown}"))?.to_owned())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", &self.configuration);
        command
    }
}

/// The output of `command`, which must succeed.
fn text(command: &mut Command) -> Result<String, BoxError> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
