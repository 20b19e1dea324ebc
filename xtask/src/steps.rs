//! The steps of `cargo xtask ci`, in order. A new step is a line in [`STEPS`].
//!
//! Most steps select the whole workspace with its tests and examples. Only then does cargo resolve the
//! same features each time, and compile the dependencies once. The steps about the features of
//! `regimen` select that crate alone, which has few dependencies.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::learner;
use crate::ci::{End, Step};
use crate::s3::S3;
use crate::workspace::{Workspace, run, run_lines};
use crate::{BoxError, chromium, features, launchers, outside, peers, torture};

pub(crate) const STEPS: &[Step] = &[
    Step { name: "format", run: format, is_gate: false },
    Step { name: "build", run: build, is_gate: true },
    Step { name: "lint", run: lint, is_gate: false },
    Step { name: "tests", run: tests, is_gate: false },
    Step { name: "doctests", run: doctests, is_gate: false },
    Step { name: "docs", run: docs, is_gate: false },
    Step { name: "all features", run: features::all, is_gate: false },
    Step { name: "no features", run: features::none, is_gate: false },
    Step { name: "each feature", run: features::each, is_gate: false },
    Step { name: "examples", run: examples, is_gate: false },
    Step { name: "new project", run: outside::new_burn, is_gate: false },
    Step { name: "README program", run: outside::readme_burn, is_gate: false },
    Step { name: "python", run: python, is_gate: false },
    Step { name: "log readers", run: log_readers, is_gate: false },
    Step { name: "measures", run: measures, is_gate: false },
    Step { name: "object store", run: object_store, is_gate: false },
    Step { name: "report page", run: report_page, is_gate: false },
    Step { name: "mpi", run: mpi, is_gate: false },
    Step { name: "restarts", run: launchers::shell, is_gate: false },
    Step { name: "torchrun", run: launchers::torchrun, is_gate: false },
    Step { name: "slurm", run: launchers::slurm, is_gate: false },
    Step { name: "two hosts", run: launchers::namespaces, is_gate: false },
    Step { name: "nccl", run: nccl, is_gate: false },
    Step { name: "torture", run: torture::step, is_gate: false },
    Step { name: "fuzz", run: torture::fuzz, is_gate: false },
    // The last ones, so that their gate shuts no other: `regimen-torch` is a separate workspace.
    Step { name: "libtorch", run: libtorch, is_gate: false },
    Step { name: "torch build", run: |workspace| torch(workspace, build), is_gate: true },
    Step { name: "torch lint", run: |workspace| torch(workspace, lint), is_gate: false },
    Step { name: "torch tests", run: |workspace| torch(workspace, tests_and_doctests), is_gate: false },
    Step { name: "torch peers", run: |workspace| torch(workspace, torch_peers), is_gate: false },
    Step { name: "torch docs", run: |workspace| torch(workspace, docs), is_gate: false },
    Step { name: "torch examples", run: |workspace| torch(workspace, torch_examples), is_gate: false },
    Step { name: "torch mpi", run: |workspace| torch(workspace, torch_mpi), is_gate: false },
    Step { name: "torch new project", run: |workspace| torch(workspace, outside::new_torch), is_gate: false },
    Step {
        name: "torch README program",
        run: |workspace| torch(workspace, outside::readme_torch),
        is_gate: false,
    },
];

/// Arguments that make each example short. An example without an entry fails the step.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("bucket", &[]),
    ("callback", &[]),
    ("chars", &["--steps", "5", "--batch-size", "4", "--context", "16", "--width", "16", "--layers", "1"]),
    ("cross-validation", &[]),
    ("dashboard", &[]),
    ("dashboard-pictures", &[]),
    ("digits", &["--epochs", "1"]),
    ("every-log", &[]),
    ("finders", &[]),
    ("fine-tune", &[]),
    ("first", &[]),
    ("fitloop-basic", &[]),
    ("fitloop-full", &[]),
    ("from-pytorch", &[]),
    ("gan", &[]),
    ("line", &[]),
    ("logger", &[]),
    ("normalise", &[]),
    ("reinforce", &[]),
    ("restarted", &[]),
    ("resume-best", &[]),
    ("runner-minimal", &[]),
    ("runner-real", &[]),
    ("sum-times", &["1"]),
    ("summary", &[]),
    ("tnt_auto_unit", &[]),
    ("tnt_callback", &[]),
    ("tnt_unit", &[]),
    ("tour", &[]),
    ("two-losses", &[]),
];

const TORCH_EXAMPLES: &[(&str, &[&str])] = &[
    ("digits-torch", &["--epochs", "1"]),
    ("first-torch", &[]),
    ("fitloop-basic-torch", &[]),
    ("fitloop-full-torch", &[]),
    ("runner-minimal-torch", &[]),
    ("runner-real-torch", &[]),
    ("torchscript", &["--epochs", "1", "--out", "."]),
];

/// Examples that run on 1, 2, 3 and 4 ranks, and their arguments.
const MPI_EXAMPLES: &[(&str, &[&str])] = &[("digits", &["--epochs", "1"]), ("sum-times", &["3"])];

fn format(workspace: &Workspace) -> Result<End, BoxError> {
    for workspace in [workspace, &workspace.torch_without_libtorch()] {
        run(&mut workspace.cargo(&["fmt", "--all", "--check"]))?;
    }
    // Not with the others: `--all` would format what this depends on again.
    run(workspace.cargo(&["fmt", "--check"]).current_dir(workspace.root.join(learner::FOLDER)))?;
    Ok(End::Ran("rustfmt".into()))
}

fn build(workspace: &Workspace) -> Result<End, BoxError> {
    run(&mut workspace.cargo(&["test", "--workspace", "--no-run"]))?;
    Ok(End::Ran("libraries, programs, tests, examples".into()))
}

fn lint(workspace: &Workspace) -> Result<End, BoxError> {
    run(&mut workspace.cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    Ok(End::Ran("clippy, warnings denied".into()))
}

fn tests(workspace: &Workspace) -> Result<End, BoxError> {
    count_tests(&mut workspace.cargo(&[
        "test",
        "--workspace",
        "--lib",
        "--bins",
        "--tests",
        "--no-fail-fast",
    ]))
}

fn doctests(workspace: &Workspace) -> Result<End, BoxError> {
    count_tests(&mut workspace.cargo(&["test", "--workspace", "--doc", "--no-fail-fast"]))
}

fn tests_and_doctests(workspace: &Workspace) -> Result<End, BoxError> {
    count_tests(&mut workspace.cargo(&[
        "test",
        "--workspace",
        "--no-fail-fast",
        "--",
        "--skip",
        WITH_PYTORCH,
    ]))
}

/// Prefix in the names of tests that need a real PyTorch, and check nothing without it.
const WITH_PYTORCH: &str = "python_";

fn torch_peers(workspace: &Workspace) -> Result<End, BoxError> {
    match peers::made(workspace) {
        Some(python) => with_pytorch(workspace, &python),
        None => Ok(End::NotRun("PyTorch is missing: `cargo xtask bench engines --peers` installs it".into())),
    }
}

/// The tests of `regimen-torch` that compare with the PyTorch of `python`.
pub(crate) fn with_pytorch(torch: &Workspace, python: &Path) -> Result<End, BoxError> {
    let mut cargo = torch.cargo(&["test", "--workspace", "--tests", "--", WITH_PYTORCH]);
    count_tests(cargo.env("REGIMEN_PEERS_PYTHON", python))
}

fn docs(workspace: &Workspace) -> Result<End, BoxError> {
    let mut cargo = workspace.cargo(&["doc", "--workspace", "--no-deps", "--lib", "--examples"]);
    run(cargo.env("RUSTDOCFLAGS", "--deny warnings"))?;
    Ok(End::Ran("every public item, no broken link".into()))
}

fn examples(workspace: &Workspace) -> Result<End, BoxError> {
    run_examples(workspace, EXAMPLES)
}

fn torch_examples(workspace: &Workspace) -> Result<End, BoxError> {
    run_examples(workspace, TORCH_EXAMPLES)
}

fn run_examples(workspace: &Workspace, examples: &[(&str, &[&str])]) -> Result<End, BoxError> {
    run(&mut workspace.cargo(&["build", "--workspace", "--examples"]))?;
    let names = example_names(workspace)?;
    let unknown = names.iter().find(|name| !examples.iter().any(|(known, _)| known == name));
    if let Some(name) = unknown {
        return Err(format!("example `{name}` has no entry in {}", file!()).into());
    }
    for (name, args) in examples {
        let begun = Instant::now();
        // Examples write to the current folder, which must not be the clone.
        run(workspace.example(name).args(*args).current_dir(workspace.scratch(name)?))?;
        println!("-- {name} {}: {:.1} s", args.join(" "), begun.elapsed().as_secs_f64());
    }
    Ok(End::Ran(format!("{} programs", examples.len())))
}

/// The tests in which Python reads written files. Without Python they pass and check nothing, so
/// they are counted separately.
fn python(workspace: &Workspace) -> Result<End, BoxError> {
    match peers::reader(workspace) {
        Ok(python) => {
            let mut cargo = workspace.cargo(&["test", "--workspace", "--tests", "--", "python_reads"]);
            count_tests(cargo.env("REGIMEN_PYTHON", python))
        }
        Err(why) => Ok(End::NotRun(why.to_string())),
    }
}

/// The tests in which TensorBoard, MLflow, W&B and the client of Prometheus read written logs, and the same of
/// what the example `every-log` writes.
fn log_readers(workspace: &Workspace) -> Result<End, BoxError> {
    let python = match peers::logs(workspace) {
        Ok(python) => python,
        Err(why) => return Ok(End::NotRun(why.to_string())),
    };
    // The whole workspace, as in the step before: cargo then resolves the same features.
    run(&mut workspace.cargo(&["build", "--workspace", "--examples"]))?;
    let folder = workspace.scratch("log-readers")?;
    run(workspace.example("every-log").current_dir(&folder))?;
    let agree = workspace.root.join("crates/regimen/tests/log/agree.py");
    run(workspace.program(&python).arg(agree).arg("runs").current_dir(&folder))?;
    let mut cargo = workspace.cargo(&["test", "--workspace", "--test", "it", "--", "::real_"]);
    count_tests(cargo.env("REGIMEN_LOGS_PYTHON", python))
}

/// The tests that compare measures with the packages of Python that define them.
fn measures(workspace: &Workspace) -> Result<End, BoxError> {
    match peers::measures(workspace) {
        Ok(python) => {
            let mut cargo =
                workspace.cargo(&["test", "--workspace", "--test", "measures", "--", "::reference_"]);
            count_tests(cargo.env("REGIMEN_METRICS_PYTHON", python))
        }
        Err(why) => Ok(End::NotRun(why.to_string())),
    }
}

/// The tests of checkpoints in an object store, on a server of S3.
fn object_store(workspace: &Workspace) -> Result<End, BoxError> {
    let python = match peers::s3(workspace) {
        Ok(python) => python,
        Err(why) => return Ok(End::NotRun(why.to_string())),
    };
    run(&mut workspace.cargo(&["build", "--workspace", "--examples"]))?;
    let server = S3::start(workspace, &python)?;
    let goes_on = killed_over_s3(workspace, &server)?;
    let mut cargo =
        workspace.cargo(&["test", "--workspace", "--test", "it", "--test", "cli", "--", "server::server_"]);
    match count_tests(cargo.envs(server.variables()).env("REGIMEN_S3", "1"))? {
        End::Ran(tests) => Ok(End::Ran(format!("{tests}; {goes_on}"))),
        other => Ok(other),
    }
}

/// Kills the example `bucket` again and again, each time in another folder, and compares its log with that of a run that
/// nobody killed.
fn killed_over_s3(workspace: &Workspace, server: &S3) -> Result<String, BoxError> {
    const KILLS: usize = 3;
    let folder = workspace.scratch("bucket")?;
    let start = |url: &str, name: &str, pace: &str| {
        let mut command = workspace.example("bucket");
        command.args([url, name, pace]).current_dir(&folder).envs(server.variables());
        command
    };
    run(&mut start("s3://regimen/whole", "whole", "0"))?;
    for kill in 0..KILLS {
        let mut killed = start("s3://regimen/killed", &kill.to_string(), "20").spawn()?;
        // Each comes further than the one before, to a save.
        let lines = 40 * (kill + 1) + 10;
        let log = folder.join(kill.to_string()).join("metrics.jsonl");
        while fs::read_to_string(&log).unwrap_or_default().lines().count() < lines {
            if let Some(status) = killed.try_wait()? {
                return Err(format!("the example `bucket` ended with {status} before its kill").into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        killed.kill()?;
        if killed.wait()?.success() {
            return Err("the example `bucket` ended before its kill".into());
        }
        // What it had sent arrives, such as a renewal of its lock.
        thread::sleep(Duration::from_secs(1));
    }
    let mut goes_on = false;
    run_lines(start("s3://regimen/killed", "last", "0").stdout(Stdio::piped()), |line| {
        goes_on |= line.starts_with("begins at step ") && line != "begins at step 0";
    })?;
    // One that begins again writes the same log.
    if !goes_on {
        return Err("bucket: the last start did not go on from a checkpoint".into());
    }
    let log = |name: &str| fs::read(folder.join(name).join("metrics.jsonl"));
    match log("whole")? == log("last")? {
        true => Ok(format!("bucket, killed {KILLS} times, ends with the log of a run nobody killed")),
        false => {
            Err("bucket: the log of a run that was killed differs from that of one nobody killed".into())
        }
    }
}

/// The report page in Chromium: runs, zoom, axes, themes, the table and the print, without an error on its console.
fn report_page(workspace: &Workspace) -> Result<End, BoxError> {
    open_report_page(workspace, None)
}

/// The same, with the pictures of the guide written to a folder.
pub(crate) fn open_report_page(workspace: &Workspace, pictures: Option<&Path>) -> Result<End, BoxError> {
    let got = || -> Result<_, BoxError> { Ok((peers::selenium(workspace)?, chromium::chromium(workspace)?)) };
    let (python, chromium) = match got() {
        Ok(got) => got,
        Err(why) => return Ok(End::NotRun(why.to_string())),
    };
    // Not `--bins` alone, for which cargo resolves other features.
    build(workspace)?;
    let mut check = workspace.program(python);
    check.arg(workspace.root.join("crates/regimen-report/tests/browser/check.py"));
    check.args([&chromium.program, &chromium.driver, &workspace.target.join("debug/regimen")]);
    check.arg(workspace.scratch("report-page")?).args(pictures).stdout(Stdio::piped());
    if !chromium.libraries.is_empty() {
        check.env("LD_LIBRARY_PATH", chromium.libraries);
    }
    let mut last = String::new();
    run_lines(check.env("PYTHONDONTWRITEBYTECODE", "1"), |line| {
        println!("{line}");
        last = line.to_owned();
    })?;
    Ok(End::Ran(last))
}

/// The tests and the examples with several ranks, under each MPI, and ranks that are killed under Open MPI.
fn mpi(workspace: &Workspace) -> Result<End, BoxError> {
    let mpis = match peers::mpis(workspace) {
        Ok(mpis) => mpis,
        Err(why) => return Ok(End::NotRun(why.to_string())),
    };
    run(&mut workspace.cargo(&["build", "--workspace", "--examples"]))?;
    let mut ran = Vec::new();
    for mpi in &mpis {
        let mut cargo = workspace.cargo(&["test", "--package", "regimen-dist", "--lib", "--tests"]);
        cargo.args(["--", "ranks::"]).env("REGIMEN_TEST_MPIRUN", &mpi.launcher);
        let tests = count_tests(cargo.env("REGIMEN_MPI", &mpi.library))?;
        let programs = run_on_ranks(workspace, mpi)?;
        let same = same_on_two_ranks(workspace, mpi, "digits")?;
        if let End::Ran(tests) = tests {
            ran.push(format!("{}: {tests}, {programs} programs, {same}", mpi.name));
        }
    }
    let [open_mpi, _] = &mpis;
    ran.push(torture::ranks(workspace, open_mpi)?);
    Ok(End::Ran(ran.join("; ")))
}

/// Runs the examples, and returns the number of runs.
fn run_on_ranks(workspace: &Workspace, mpi: &peers::Mpi) -> Result<usize, BoxError> {
    const RANKS: [&str; 4] = ["1", "2", "3", "4"];
    for (name, args) in MPI_EXAMPLES {
        for ranks in RANKS {
            let begun = Instant::now();
            run(on_ranks(workspace, mpi, ranks, name).args(*args).current_dir(workspace.scratch(name)?))?;
            let took = begun.elapsed().as_secs_f64();
            println!("-- {name} {} on {ranks} ranks, {}: {took:.1} s", args.join(" "), mpi.name);
        }
    }
    Ok(MPI_EXAMPLES.len() * RANKS.len())
}

/// The example `name` on so many ranks.
fn on_ranks(workspace: &Workspace, mpi: &peers::Mpi, ranks: &str, name: &str) -> Command {
    let mut command = workspace.program(&mpi.launcher);
    command.args(mpi.args).args(["-n", ranks]).arg(workspace.example(name).get_program());
    command.envs(mpi.variables.iter().copied()).env("REGIMEN_MPI", &mpi.library);
    command
}

/// Trains the example `name` on one rank and on two, and compares the metrics of its epochs, which are those of all
/// ranks. Dropout is left out, as it differs between ranks.
///
/// The 34 steps of two epochs lower the loss, and their rounding is below 1e-7. In a longer run a rounding may turn a
/// ReLU or a maximum over, from where the difference jumps: up to 4e-6 in 68 steps.
fn same_on_two_ranks(workspace: &Workspace, mpi: &peers::Mpi, name: &str) -> Result<String, BoxError> {
    const TOLERANCE: f64 = 1e-6;
    let metrics = |ranks: &str| -> Result<BTreeMap<String, f64>, BoxError> {
        let folder = workspace.scratch(&format!("{name}-on-{ranks}"))?;
        let args = ["--epochs", "2", "--dropout", "0", "--out", "."];
        run(on_ranks(workspace, mpi, ranks, name).args(args).current_dir(&folder))?;
        let mut metrics = BTreeMap::new();
        for line in fs::read_to_string(folder.join("metrics.jsonl"))?.lines() {
            let record: serde_json::Value = serde_json::from_str(line)?;
            // A step has the loss of the share of rank 0.
            if let (Some(name), Some(value), Some(epoch)) =
                (record["name"].as_str(), record["value"].as_f64(), record["epoch"].as_u64())
            {
                metrics.insert(format!("{name} of epoch {epoch}"), value);
            }
        }
        Ok(metrics)
    };
    let (alone, together) = (metrics("1")?, metrics("2")?);
    if alone.is_empty() || !alone.keys().eq(together.keys()) {
        return Err(format!("{name}: the metrics are {alone:?} on 1 rank, {together:?} on 2").into());
    }
    let mut largest = 0.0_f64;
    for ((metric, expected), found) in alone.iter().zip(together.values()) {
        let difference = (found - expected).abs() / expected.abs().max(f64::MIN_POSITIVE);
        if difference > TOLERANCE || found.is_nan() {
            return Err(format!("{name}: `{metric}` is {expected} on 1 rank, {found} on 2").into());
        }
        largest = largest.max(difference);
    }
    Ok(format!("{name} on 2 ranks as on 1 within {largest:.1e}"))
}

/// The example of `regimen-torch` under each MPI.
fn torch_mpi(workspace: &Workspace) -> Result<End, BoxError> {
    let mpis = match peers::mpis(workspace) {
        Ok(mpis) => mpis,
        Err(why) => return Ok(End::NotRun(why.to_string())),
    };
    run(&mut workspace.cargo(&["build", "--workspace", "--examples"]))?;
    let same = |mpi: &peers::Mpi| {
        Ok(format!("{}: {}", mpi.name, same_on_two_ranks(workspace, mpi, "digits-torch")?))
    };
    let ran = mpis.iter().map(same).collect::<Result<Vec<_>, BoxError>>()?;
    Ok(End::Ran(ran.join("; ")))
}

/// The tests on a GPU, and those on several.
fn nccl(workspace: &Workspace) -> Result<End, BoxError> {
    let listed = workspace.program("nvidia-smi").arg("--list-gpus").output();
    let listed = listed.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    let gpus = String::from_utf8_lossy(&listed.unwrap_or_default()).lines().count();
    if gpus == 0 {
        return Ok(End::NotRun("there is no GPU that `nvidia-smi` lists".into()));
    }
    let library = match peers::nccl(workspace) {
        Ok(library) => library,
        Err(why) => return Ok(End::NotRun(why.to_string())),
    };
    let mut cargo = workspace.cargo(&["test", "--package", "regimen-dist", "--features", "nccl"]);
    cargo.args(["--test", "it", "--", "gpu::"]).env("REGIMEN_TEST_GPU", "1").env("REGIMEN_NCCL", library);
    if gpus > 1 {
        return count_tests(&mut cargo);
    }
    match count_tests(cargo.args(["--skip", "gpu::several"]))? {
        End::Ran(tests) => Ok(End::Ran(format!("{tests}; not run: those on several GPUs"))),
        other => Ok(other),
    }
}

fn libtorch(workspace: &Workspace) -> Result<End, BoxError> {
    Ok(match workspace.libtorch() {
        Ok(libtorch) => End::Ran(libtorch.to_string()),
        Err(why) => End::NotRun(why),
    })
}

/// Runs `step` in the workspace of `regimen-torch`.
fn torch(workspace: &Workspace, step: fn(&Workspace) -> Result<End, BoxError>) -> Result<End, BoxError> {
    match workspace.libtorch() {
        Ok(_) => step(&workspace.torch()?),
        Err(_) => Ok(End::NotRun("there is no libtorch".into())),
    }
}

/// Runs `cargo test ...`, shows its output, and counts the tests. Returns an error if none ran.
pub(crate) fn count_tests(command: &mut Command) -> Result<End, BoxError> {
    let (mut passed, mut ignored) = (0, 0);
    run_lines(command.stdout(Stdio::piped()), |line| {
        println!("{line}");
        passed += count(line, "passed");
        ignored += count(line, "ignored");
    })?;
    match (passed, ignored) {
        (0, _) => Err("no test ran".into()),
        (_, 0) => Ok(End::Ran(format!("{passed} passed"))),
        _ => Ok(End::Ran(format!("{passed} passed, {ignored} ignored"))),
    }
}

/// The number before `what` in the summary line of a test program: `test result: ok. 3 passed; ...`.
fn count(line: &str, what: &str) -> u64 {
    let Some(result) = line.strip_prefix("test result: ") else { return 0 };
    let mut words = result.split([' ', ';']).collect::<Vec<_>>().into_iter().rev();
    words.find(|word| *word == what);
    words.find_map(|word| word.parse().ok()).unwrap_or(0)
}

fn example_names(workspace: &Workspace) -> Result<Vec<String>, BoxError> {
    let metadata = workspace.metadata()?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets = packages.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let examples = targets.filter(|target| target["kind"][0] == "example");
    Ok(examples.filter_map(|target| Some(target["name"].as_str()?.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn tests_are_counted_from_the_line_that_ends_a_program() {
        let line =
            "test result: ok. 13 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!((count(line, "passed"), count(line, "ignored")), (13, 2));
        assert_eq!(count("13 passed", "passed"), 0);
        assert_eq!(count("test result: FAILED. 1 passed; 2 failed", "passed"), 1);
    }
}
