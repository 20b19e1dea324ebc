//! Launchers that start a run again: each runs the example `restarted` by its script in `docs/distributed.md`, on two
//! ranks, of which one is killed, and then the other. The run must end with the bytes of an undisturbed one.

mod namespaces;
mod slurm;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs, iter};

use self::namespaces::Namespaces;
use self::slurm::Slurm;
use crate::ci::End;
use crate::workspace::{Workspace, run};
use crate::{BoxError, peers, tools};

/// A loop in a shell.
pub(crate) fn shell(workspace: &Workspace) -> Result<End, BoxError> {
    in_shell(workspace, "restart-shell", "while mpirun")
}

/// torchrun, as it is on the path.
pub(crate) fn torchrun(workspace: &Workspace) -> Result<End, BoxError> {
    if let Err(why) = tools::have("torchrun", "--help", "python3-torch") {
        return Ok(End::NotRun(why));
    }
    in_shell(workspace, "restart-torchrun", "torchrun ")
}

/// SLURM on this machine, with daemons of its own. The run also has the warning before the end of its job.
pub(crate) fn slurm(workspace: &Workspace) -> Result<End, BoxError> {
    for program in ["slurmctld", "slurmd"] {
        if let Err(why) = tools::have(program, "-V", "slurm-wlm") {
            return Ok(End::NotRun(why));
        }
    }
    let restarted = Restarted::build(workspace)?;
    let folder = workspace.scratch("restart-slurm")?;
    let slurm = match Slurm::start(&folder)? {
        Ok(slurm) => slurm,
        Err(why) => return Ok(End::NotRun(why)),
    };
    let out = folder.join("run");
    let script = folder.join("job");
    fs::write(&script, restarted.script("#SBATCH", &out)?)?;
    let job = slurm.submit(&restarted, &script)?;
    let disturbed = iter::once(Disturbance::Warning).chain(KILLS);
    restarted.disturb(&out, disturbed, |_| slurm.warn(&job), || slurm.is_running(&job))?;
    slurm.wait(&job).map_err(|error| restarted.with_log(&folder.join("log"), error))?;
    restarted.compare(&out, 4)
}

/// Two namespaces as two hosts, which a link of 1 Gbit/s connects, with a rank in each.
pub(crate) fn namespaces(workspace: &Workspace) -> Result<End, BoxError> {
    let restarted = Restarted::build(workspace)?;
    let folder = workspace.scratch("restart-namespaces")?;
    let namespaces = match Namespaces::make(&folder) {
        Ok(namespaces) => namespaces,
        Err(why) => return Ok(End::NotRun(why.to_string())),
    };
    let alone = folder.join("undisturbed");
    run(restarted.environment(&mut namespaces.mpirun(&restarted.program, &alone)))?;
    restarted.compare(&alone, 1)?;
    let out = folder.join("run");
    for disturbance in KILLS.map(Some).into_iter().chain([None]) {
        let mut child =
            Running::start(restarted.environment(&mut namespaces.mpirun(&restarted.program, &out)))?;
        restarted.disturb(&out, disturbance, |_| Ok(()), || child.is_running())?;
        let succeeded = child.wait()?;
        if succeeded != disturbance.is_none() {
            return Err("a killed run ended with success, or one that was not killed failed".into());
        }
    }
    restarted.compare(&out, 3)
}

/// Runs the script that has the line `begins`, and kills a rank, and then the other.
fn in_shell(workspace: &Workspace, name: &str, begins: &str) -> Result<End, BoxError> {
    let restarted = Restarted::build(workspace)?;
    let folder = workspace.scratch(name)?;
    let (script, out) = (folder.join("script"), folder.join("run"));
    fs::write(&script, restarted.script(begins, &out)?)?;
    let mut child = Running::start(restarted.environment(Command::new("sh").arg(&script)))?;
    restarted.disturb(&out, KILLS, |_| Ok(()), || child.is_running())?;
    if !child.wait()? {
        return Err(format!("`sh {}` failed", script.display()).into());
    }
    restarted.compare(&out, 3)
}

/// A way to interrupt a run.
#[derive(Clone, Copy, Debug)]
enum Disturbance {
    /// SIGKILL to a rank, once a checkpoint of this step is there.
    Kill { rank: u64, step: u64 },
    /// The warning of the launcher, which pauses the run. It comes once there is a checkpoint.
    Warning,
}

const KILLS: [Disturbance; 2] =
    [Disturbance::Kill { rank: 1, step: 15 }, Disturbance::Kill { rank: 0, step: 30 }];

/// The example `restarted`, its launcher, and its end if nothing disturbs it.
struct Restarted {
    program: PathBuf,
    mpi: peers::Mpi,
    /// The page with the scripts.
    page: String,
    expected: Files,
}

/// The bytes of the metrics and the newest checkpoint.
type Files = BTreeMap<String, Vec<u8>>;

impl Restarted {
    /// Builds it, and runs it undisturbed.
    fn build(workspace: &Workspace) -> Result<Self, BoxError> {
        run(&mut workspace.cargo(&["build", "--workspace", "--examples"]))?;
        let [mpi, _] = peers::mpis(workspace)?;
        let page = fs::read_to_string(workspace.root.join("docs/distributed.md"))?;
        let program = workspace.example("restarted").get_program().into();
        let mut restarted = Restarted { program, mpi, page, expected: Files::new() };
        let out = workspace.scratch("restart-undisturbed")?;
        let mut command = Command::new(&restarted.mpi.launcher);
        command.args(["-n", "2"]).arg(&restarted.program).arg(&out);
        run(restarted.environment(&mut command))?;
        restarted.expected = files(&out)?;
        Ok(restarted)
    }

    /// The script of the page that has a line that begins so, with the example in the place of `PROGRAM`.
    fn script(&self, begins: &str, out: &Path) -> Result<String, BoxError> {
        let mut blocks =
            self.page.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n"));
        let script = blocks.find(|block| block.lines().any(|line| line.starts_with(begins)));
        let script = script.ok_or_else(|| format!("docs/distributed.md has no script with `{begins}`"))?;
        let program = format!("{} {} {STEP_MS}", self.program.display(), out.display());
        Ok(script.replace("PROGRAM", &program))
    }

    /// Adds the launcher of MPI to the path, and the variables for more ranks than cores and for any user.
    fn environment<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let folder = self.mpi.launcher.parent().map(Path::to_owned).unwrap_or_default();
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(iter::once(folder).chain(env::split_paths(&path))).unwrap_or(path);
        command.env("PATH", path).env("REGIMEN_MPI", &self.mpi.library).env("REGIMEN_PATIENCE", "60").envs([
            ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
            ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
            ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
            // torchrun of PyTorch 1 on Python 3.11 knows no stream but one. This one is shown, and is also in a file.
            ("PET_REDIRECTS", "1"),
            ("PET_TEE", "1"),
        ])
    }

    /// Disturbs the run in `out`, in this order, each time after a new start.
    fn disturb(
        &self,
        out: &Path,
        disturbances: impl IntoIterator<Item = Disturbance>,
        mut warn: impl FnMut(Disturbance) -> Result<(), BoxError>,
        mut is_running: impl FnMut() -> bool,
    ) -> Result<(), BoxError> {
        let mut starts = starts_in(out);
        for disturbance in disturbances {
            let (rank, step) = match disturbance {
                Disturbance::Kill { rank, step } => (rank, step),
                Disturbance::Warning => (0, 1),
            };
            let deadline = Instant::now() + PATIENCE;
            while starts_in(out) == starts || newest(out).is_none_or(|(newest, _)| newest < step) {
                if !is_running() || Instant::now() > deadline {
                    return Err(format!("the run has ended or hangs before {disturbance:?}").into());
                }
                thread::sleep(POLL);
            }
            starts = starts_in(out);
            println!("-- {disturbance:?} in start {starts}");
            if let Disturbance::Warning = disturbance {
                warn(disturbance)?;
                continue;
            }
            let process = fs::read_to_string(out.join(format!("process-{rank}")))?;
            run(Command::new("kill").args(["-s", "KILL", &process]))?;
        }
        Ok(())
    }

    /// Checks that the run in `out` was started so often, and has the bytes of the undisturbed one.
    fn compare(&self, out: &Path, starts: usize) -> Result<End, BoxError> {
        let made = starts_in(out);
        if made != starts {
            return Err(format!("the run had {made} starts in place of {starts}").into());
        }
        let files = files(out)?;
        if files.keys().ne(self.expected.keys()) {
            let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(format!(
                "the files are {}, and {} undisturbed",
                names(&files),
                names(&self.expected)
            )
            .into());
        }
        match files.iter().find(|(name, bytes)| self.expected.get(*name) != Some(bytes)) {
            Some((name, _)) => {
                Err(format!("`{name}` has other bytes than undisturbed: {}", out.display()).into())
            }
            None => Ok(End::Ran(format!("{starts} starts, the bytes of one in {} files", files.len()))),
        }
    }

    fn with_log(&self, log: &Path, error: BoxError) -> BoxError {
        format!("{error}: {}", fs::read_to_string(log).unwrap_or_default()).into()
    }
}

/// Milliseconds per step of a run that is disturbed.
const STEP_MS: u64 = 25;
/// The longest wait for a start, or for an end.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// How often the run in `out` was started: it notes each start.
fn starts_in(out: &Path) -> usize {
    fs::read_to_string(out.join("environment.jsonl")).map_or(0, |text| text.lines().count())
}

/// The newest checkpoint, with its step.
fn newest(out: &Path) -> Option<(u64, PathBuf)> {
    let folders = fs::read_dir(out).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let step = |path: &Path| path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok();
    folders.filter_map(|path| Some((step(&path)?, path))).max()
}

fn files(out: &Path) -> Result<Files, BoxError> {
    let (step, checkpoint) = newest(out).ok_or_else(|| format!("no checkpoint in {}", out.display()))?;
    let mut files = Files::from([("metrics.jsonl".to_owned(), fs::read(out.join("metrics.jsonl"))?)]);
    for entry in fs::read_dir(checkpoint)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            files.insert(format!("{name} of step {step}"), fs::read(&path)?);
        }
    }
    Ok(files)
}

/// A process that is killed if it is dropped before its end.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Result<Self, BoxError> {
        Ok(Running(command.stdin(Stdio::null()).spawn()?))
    }

    fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Waits for its end, and returns whether it succeeded.
    fn wait(&mut self) -> Result<bool, BoxError> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status.success());
            }
            thread::sleep(POLL);
        }
        Err("the run hangs".into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, or is not wanted any more.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
