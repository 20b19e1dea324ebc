//! Tests whose body runs on several ranks: the test starts its own program under a launcher of MPI.

use std::env;
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// The end of a program with several ranks.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// Standard output and error of all ranks.
    pub(crate) text: String,
}

impl Ended {
    /// Panics if a rank has failed.
    pub(crate) fn well(self) {
        assert!(self.status.success(), "{}\n{}", self.status, self.text);
    }
}

/// Path of the `mpirun` of Open MPI, or the `mpiexec` of MPICH. Without it these tests pass and check nothing, so
/// they are in modules named `ranks`, and `cargo xtask ci mpi` counts them separately.
pub(crate) const LAUNCHER: &str = "REGIMEN_TEST_MPIRUN";

/// Set in the ranks.
pub(crate) const IS_RANK: &str = "REGIMEN_TEST_IS_RANK";

/// Runs `body` in `count` processes with these variables, and returns their end. Returns `None` in the processes
/// after `body`, and if there is no launcher.
///
/// The processes are started with the name of the calling test.
pub(crate) fn on_ranks(count: usize, variables: &[(&str, &str)], body: impl FnOnce()) -> Option<Ended> {
    if env::var_os(IS_RANK).is_some() {
        body();
        return None;
    }
    // One at a time, as ranks that wait keep a core busy.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let launcher = env::var_os(LAUNCHER)?;
    let version = Command::new(&launcher).arg("--version").output().unwrap().stdout;
    let mut command = Command::new(&launcher);
    if String::from_utf8_lossy(&version).contains("Open MPI") {
        command.args(["--oversubscribe", "--allow-run-as-root"]);
    } else {
        // In its shared memory a rank that waits never yields its core: with more ranks than cores a sum takes seconds.
        command.env("MPIR_CVAR_NOLOCAL", "1");
    }
    command.args(["-n", &count.to_string()]).arg(env::current_exe().unwrap());
    command.args(["--exact", thread::current().name().unwrap(), "--nocapture"]);
    // The launcher of MPICH misses the death of a rank now and then, and the others wait.
    command.env("REGIMEN_PATIENCE", "60");
    let output = command.env(IS_RANK, "1").envs(variables.iter().copied()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Some(Ended { status: output.status, text: String::from_utf8_lossy(&text).into_owned() })
}
