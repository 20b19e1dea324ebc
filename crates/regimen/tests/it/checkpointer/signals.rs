//! Signals, sent to real processes: this test binary again, which trains if its environment says so.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use regimen::callback::{Event, Every};
use regimen::checkpoint::{Checkpointer, Checkpoints, Which};
use regimen::random::Random;
use regimen::run::Train;
use regimen::signal::Signals;
use regimen::{Run, State};

use super::common::Walk;

const DIR: &str = "REGIMEN_TEST_SIGNALS_DIR";
/// The time of each step, in milliseconds; 2 by default.
const STEP_MS: &str = "REGIMEN_TEST_SIGNALS_STEP_MS";
/// The number of SIGINTs that the first step sends to its process, 20 ms apart.
const RAISE: &str = "REGIMEN_TEST_SIGNALS_RAISE";
/// Whether to live on after the guard is dropped.
const LIVE_ON: &str = "REGIMEN_TEST_SIGNALS_LIVE_ON";

/// The child process, not a separate test.
#[test]
fn train_in_a_child_process() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let step = std::env::var(STEP_MS).map_or(2, |step| step.parse().unwrap());
    let mut raise: u64 = std::env::var(RAISE).map_or(0, |times| times.parse().unwrap());
    let mut unit = Walk::new();
    let mut run = Run::new(&mut unit)
        .on(Event::TrainStepEnd, move |state: &mut State, _: &mut Walk| {
            say(&format!("step {}", state.train_progress().steps));
            for _ in 0..std::mem::take(&mut raise) {
                signal_hook::low_level::raise(signal_hook::consts::SIGINT).unwrap();
                // So that the system does not deliver two as one.
                std::thread::sleep(Duration::from_millis(20));
            }
            std::thread::sleep(Duration::from_millis(step));
        })
        .saver(Checkpointer::new(dir).every(Every::steps(10)).keep_last(2));
    run.restore_latest().unwrap();
    let signals = Signals::pause(&run.pause_handle()).unwrap();
    let report = run.train(&[1; 100], Train::until_stopped()).unwrap();
    say(&format!("{}, {} steps", report.ended, report.train.steps));
    if std::env::var(LIVE_ON).is_ok() {
        drop(signals);
        say("dropped");
        std::thread::sleep(Duration::from_secs(60));
    }
    std::process::exit(0);
}

fn say(line: &str) {
    // Straight to the pipe, because the prints of tests are captured.
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n@{line}").and_then(|()| out.flush()).unwrap();
}

struct Training {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Training {
    fn start(dir: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "checkpointer::signals::train_in_a_child_process", "--nocapture"])
            .env(DIR, dir);
        let mut child = command
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Training { child, lines }
    }

    /// The next line of the child.
    fn says(&mut self) -> Option<String> {
        self.lines.by_ref().map(Result::unwrap).find_map(|line| line.strip_prefix('@').map(str::to_owned))
    }

    /// Its first line that is not about a step.
    fn says_at_the_end(&mut self) -> Option<String> {
        std::iter::from_fn(|| self.says()).find(|line| !line.starts_with("step "))
    }

    fn send(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }
}

/// The step of the newest whole checkpoint.
fn newest(dir: &Path) -> u64 {
    let found = Checkpoints::in_dir(dir).load(Which::Latest).unwrap();
    found.map_or(0, |found| found.checkpoint.manifest().step)
}

#[test]
fn a_signal_at_any_moment_is_a_pause_with_a_newer_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(4);
    for moment in 0..20 {
        let signal = ["TERM", "INT", "USR1"][moment % 3];
        let before = newest(dir.path());
        let mut training = Training::start(dir.path(), &[]);
        assert_eq!(training.says().unwrap(), format!("step {}", before + 1));
        std::thread::sleep(Duration::from_micros(random.below(40_000)));
        training.send(signal);
        let said = training.says_at_the_end().unwrap();
        assert!(training.child.wait().unwrap().success());
        let after = newest(dir.path());
        assert!(before < after, "moment {moment}: {before} and then {after}");
        assert_eq!(said, format!("paused: SIG{signal}, {after} steps"));
    }
}

#[test]
fn an_interrupt_that_is_delivered_twice_is_one_and_the_run_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    let mut training = Training::start(dir.path(), &[(RAISE, "3")]);
    let said = training.says_at_the_end();
    let status = training.child.wait().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!((said.as_deref(), newest(dir.path())), (Some("paused: SIGINT, 1 steps"), 1));
}

#[test]
fn a_second_interrupt_ends_the_process_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut training = Training::start(dir.path(), &[(STEP_MS, "60000")]);
    assert_eq!(training.says().unwrap(), "step 1");
    // Two that come within half a second are one, so it is sent until the process is gone.
    while training.child.try_wait().unwrap().is_none() {
        training.send("INT");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(training.child.wait().unwrap().code(), Some(130));
    assert_eq!(newest(dir.path()), 0);
}

#[test]
fn signals_do_again_what_they_did_when_the_guard_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let mut training = Training::start(dir.path(), &[(LIVE_ON, "1")]);
    training.says().unwrap();
    training.send("TERM");
    assert!(training.says_at_the_end().unwrap().starts_with("paused: SIGTERM"));
    assert_eq!(training.says().unwrap(), "dropped");
    training.send("TERM");
    assert_eq!(training.child.wait().unwrap().signal(), Some(15));
}
