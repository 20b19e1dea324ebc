//! The dashboard in a real terminal: keys, sizes, and the terminal after every end.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test fails by panicking")]

mod pty;

use std::env;
use std::path::Path;
use std::process::{Command, exit};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{sleep, spawn};
use std::time::Duration;

use regimen::callback::Every;
use regimen::metric::Key;
use regimen::run::Train;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};
use regimen_dashboard::{Dashboard, Watch};

use self::pty::{Pty, take_terminal};

/// A unit whose steps take 5 ms, and whose 40th may fail.
struct Slow(String);

impl TrainUnit for Slow {
    type Batch = u64;

    fn train_step(&mut self, state: &mut State, step: u64) -> Result<(), BoxError> {
        sleep(Duration::from_millis(5));
        state.log(Key::mean("train/loss"), 1.0 / (step + 1) as f64, 1.0);
        match &*self.0 {
            "error" if step == 40 => Err("told to fail".into()),
            "panic" if step == 40 => panic!("told to panic"),
            "thread" if step == 40 => {
                spawn(|| panic!("a thread is told to panic")).join().unwrap_err();
                Ok(())
            }
            "notice" if step == 40 => {
                state.notify("a word");
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The program in the terminal, if this process is one.
#[test]
fn child() {
    let Ok(role) = env::var("DASHBOARD_ROLE") else { return };
    take_terminal();
    println!("it begins");
    if let Some(run) = role.strip_prefix("watch ") {
        match Watch::new(run).run() {
            Ok(()) => println!("it ends"),
            Err(error) => println!("error: {error}"),
        }
        exit(0);
    }
    if let Some(file) = role.strip_prefix("closed ") {
        return without_terminal(Path::new(file));
    }
    let steps = if role == "slow" { 100_000 } else { 300 };
    let mut unit = Slow(role);
    let data: Vec<u64> = (0..steps).collect();
    let mut run = Run::new(&mut unit).callback(Dashboard::new().title("slow").every(Every::steps(1)));
    match run.train(&data, Train::epochs(1)) {
        Ok(_) => println!("it ends"),
        Err(error) => println!("error: {error:#}"),
    }
    exit(0);
}

/// A run that ignores SIGHUP, as one of `nohup`. It makes `file` when it has ended.
fn without_terminal(file: &Path) {
    let _ignored =
        signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::new(AtomicBool::new(false))).unwrap();
    let mut unit = Slow(String::new());
    let data: Vec<u64> = (0..400).collect();
    let mut run = Run::new(&mut unit).callback(Dashboard::new().every(Every::steps(1)));
    run.train(&data, Train::epochs(1)).unwrap();
    drop(run);
    std::fs::write(file, "").unwrap();
    sleep(Duration::from_secs(600));
}

fn start(role: &str) -> Pty {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]);
    command.env("DASHBOARD_ROLE", role).env("LC_ALL", "C.UTF-8").env("TERM", "xterm-256color");
    command.env_remove("NO_COLOR").env_remove("RUST_BACKTRACE");
    Pty::start((80, 24), command)
}

/// Waits until the dashboard shows a text.
#[track_caller]
fn see(pty: &Pty, text: &str) -> String {
    pty.wait_until(|screen| screen.alternate_screen() && screen.contents().contains(text)).contents()
}

/// Asserts that a program ends well, and leaves these lines in the terminal, one behind the other.
#[track_caller]
fn check_end(pty: Pty, code: i32, lines: &[&str]) {
    let (status, screen) = pty.end();
    let contents = screen.contents();
    assert_eq!(status.code(), Some(code), "{contents}");
    let mut rest = &*contents;
    for line in lines {
        let Some(at) = rest.find(line) else { panic!("`{line}` is not on\n{contents}") };
        rest = &rest[at + line.len()..];
    }
}

#[test]
fn the_report_of_a_run_is_in_the_terminal_and_the_dashboard_is_not() {
    let pty = start("notice");
    see(&pty, "a word");
    let report = "training complete after 1 epoch, 300 steps";
    check_end(pty, 0, &["it begins", "notice: a word", report, "it ends", "that was all"]);
}

#[test]
fn the_terminal_is_restored_after_an_error_and_after_a_panic() {
    let pty = start("error");
    see(&pty, "train/loss");
    check_end(
        pty,
        0,
        &["it begins\n", "error: unit failed in train_step in train at epoch 0 step 40: told to fail"],
    );
    let pty = start("panic");
    see(&pty, "train/loss");
    check_end(pty, 0, &["it begins\n", "panicked at", "told to panic", "error: unit panicked in train_step"]);
}

#[test]
fn a_run_goes_on_with_a_bar_after_the_panic_of_another_thread() {
    let pty = start("thread");
    see(&pty, "train/loss");
    let told = [
        "it begins\n",
        "a thread is told to panic",
        "train epoch 1/1: 300 steps",
        "training complete",
        "it ends",
    ];
    check_end(pty, 0, &told);
}

#[test]
fn a_run_goes_on_with_a_bar_after_its_user_has_left() {
    let mut pty = start("notice");
    see(&pty, "train/loss");
    pty.press("q");
    check_end(pty, 0, &["it begins\n", "train epoch 1/1: 300 steps", "training complete", "it ends"]);
}

#[test]
fn a_pause_is_asked_for() {
    let mut pty = start("slow");
    see(&pty, "train/loss");
    pty.press("p");
    see(&pty, "Pause the training at its next step?");
    pty.press("n");
    pty.wait_until(|screen| !screen.contents().contains("Pause the training"));
    pty.press("p");
    see(&pty, "Pause the training at its next step?");
    pty.press("y");
    check_end(pty, 0, &["training paused: the key p in the dashboard after 0 epochs", "it ends"]);
    let mut pty = start("slow");
    see(&pty, "train/loss");
    pty.press("\u{3}");
    check_end(pty, 0, &["training paused: Ctrl-C after 0 epochs", "it ends"]);
}

#[test]
fn a_terminal_may_change_its_size() {
    let mut pty = start("slow");
    see(&pty, "train/loss");
    pty.resize(40, 10);
    see(&pty, "this terminal has 40 x 10");
    pty.resize(200, 50);
    let wide = see(&pty, "rates and load");
    assert!(wide.lines().next().unwrap().trim_end().chars().count() > 190, "{wide}");
    pty.press("\u{3}");
    check_end(pty, 0, &["training paused: Ctrl-C"]);
}

#[test]
fn a_run_goes_on_after_its_terminal_was_closed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ended");
    let mut pty = start(&format!("closed {}", file.display()));
    see(&pty, "train/loss");
    pty.close();
    while !file.exists() {
        assert!(pty.is_running(), "the program has ended before its run");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_run_is_watched_and_paused_from_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let mut pty = start(&format!("watch {}", run.display()));
    see(&pty, "waiting for the folder");
    pty.press("p");
    make_run(&run);
    see(&pty, "eval/accuracy");
    pty.press("py");
    see(&pty, "pausing at the next step");
    assert!(run.join("PAUSE").exists());
    pty.press("q");
    check_end(pty, 0, &["it begins\n", "it ends"]);
}

/// A run of another machine, which wrote its newest record a moment ago.
fn make_run(run: &Path) {
    std::fs::create_dir(run).unwrap();
    let start = r#"{"time":"2026-11-30T08:00:00Z","host":"far away","process":7,"step":0}"#;
    let record = r#"{"step":9,"phase":"eval","name":"eval/accuracy","value":0.5,"epoch":1}"#;
    std::fs::write(run.join("environment.jsonl"), format!("{start}\n")).unwrap();
    std::fs::write(run.join("metrics.jsonl"), format!("{record}\n")).unwrap();
}
