//! Logs on a disk that gets full: the policy of each, and that nothing that was written is lost.
#![cfg(all(unix, feature = "derive"))]
#![allow(clippy::print_stdout, reason = "the parent reads it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use regimen::callback::Every;
use regimen::folder::RunFolder;
use regimen::log::{MetricLog, MetricSink, OnFailure};
use regimen::metric::Key;
use regimen::run::{Report, Train};
use regimen::saved::AppState;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Error, Run, State};
use regimen_test::event_files::{read_events, scalars};

/// The environment variable of a process whose files have a limit: the log, its policy, and its folder.
const VARIABLE: &str = "REGIMEN_FULL_DISK";

/// The longest file, in bytes. Every log of [`STEPS`] is longer.
const LIMIT: u64 = 32 << 10;

const STEPS: u64 = 2000;

#[derive(AppState)]
struct Counts(u64);

impl TrainUnit for Counts {
    type Batch = u64;

    fn train_step(&mut self, state: &mut State, batch: u64) -> Result<(), BoxError> {
        self.0 += batch;
        state.log(Key::last("count"), self.0 as f64, 1.0);
        Ok(())
    }
}

fn trained(log: MetricLog<impl MetricSink + 'static>, policy: &str) -> Result<Report, Error> {
    let policy = if policy == "notice" { OnFailure::Notice } else { OnFailure::Error };
    let log = log.every(Every::steps(1)).on_failure(policy);
    Run::new(&mut Counts(0)).callback(log).train(&[1; 10], Train::steps(STEPS))
}

/// A run with 2000 notices of some length in a folder with nothing else that grows.
fn noted(dir: &Path) -> Result<Report, Error> {
    let mut unit = Counts(0);
    let run = Run::new(&mut unit).on(
        regimen::callback::Event::TrainStepEnd,
        |state: &mut State, _: &mut Counts| {
            state.notify(format!("notice {}", state.train_progress().steps));
        },
    );
    RunFolder::new(dir).without_metrics().open(run)?.train(&[1; 10], Train::steps(STEPS))
}

fn run(log: &str, policy: &str, dir: &Path) -> Result<Report, Error> {
    match log {
        "metrics.csv" => trained(MetricLog::csv(dir.join(log)), policy),
        "metrics.jsonl" => trained(MetricLog::jsonl(dir.join(log)), policy),
        "metrics.wide.csv" => trained(MetricLog::wide_csv(dir.join(log)), policy),
        "events" => trained(MetricLog::tensorboard(dir.join(log)), policy),
        "wandb" => trained(MetricLog::wandb(dir), policy),
        _ => noted(dir),
    }
}

/// In a process with a limit, makes its run, and prints its end.
fn serve() {
    let Ok(order) = env::var(VARIABLE) else { return };
    let [log, policy, dir] = order.splitn(3, ' ').collect::<Vec<_>>()[..] else { return };
    match run(log, policy, Path::new(dir)) {
        Ok(report) => {
            let told = report.notices.iter().filter(|notice| !notice.starts_with("notice "));
            println!("\nsteps {}", report.train.steps);
            told.for_each(|notice| println!("{notice}"));
        }
        Err(error) => println!("\n{error:#}"),
    }
    std::process::exit(0);
}

/// The output of a run in `dir` whose files have a limit.
fn limited(log: &str, policy: &str, dir: &Path) -> Vec<String> {
    // A shell sets the limit, in blocks of 512 bytes. The signal for it is ignored, so that a write is an error.
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", LIMIT / 512);
    let mut child = Command::new("sh");
    child.args(["-c", &script]).arg(env::current_exe().unwrap());
    child.args([
        "full_disk::a_log_on_a_full_disk_has_whole_records_and_its_policy",
        "--exact",
        "--nocapture",
    ]);
    let output = child.env(VARIABLE, format!("{log} {policy} {}", dir.display())).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().skip_while(|line| !line.is_empty()).skip(1);
    lines.skip_while(|line| line.is_empty() || line.starts_with("running")).map(str::to_owned).collect()
}

/// The text of the one file of `log`.
fn text(dir: &Path, log: &str) -> String {
    fs::read_to_string(dir.join(log)).unwrap()
}

#[test]
fn a_log_on_a_full_disk_has_whole_records_and_its_policy() {
    serve();
    for log in ["metrics.csv", "metrics.jsonl", "metrics.wide.csv", "events", "wandb"] {
        let folder = |name: &str| -> (tempfile::TempDir, PathBuf) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            (dir, path)
        };
        let ((_goes, goes_on), (_ends, ends), (_whole, whole)) = (folder("a"), folder("b"), folder("c"));
        let told = limited(log, "notice", &goes_on);
        let [steps, notice] = &told[..] else { panic!("{log}: {told:?}") };
        assert_eq!(*steps, format!("steps {STEPS}"), "{log}");
        let full = |text: &str, dir: &Path| {
            let names = text.contains(&dir.display().to_string());
            assert!(names && text.contains("File too large (os error 27)"), "{log}: {text}");
        };
        full(notice, &goes_on);
        assert!(notice.ends_with("; until then, metrics are missing in it"), "{log}: {notice}");
        let told = limited(log, "error", &ends);
        let [error] = &told[..] else { panic!("{log}: {told:?}") };
        full(error, &ends);
        run(log, "error", &whole).unwrap();
        for dir in [&goes_on, &ends] {
            match log {
                "events" => {
                    let [found, all] = [dir, &whole].map(|dir| read_events(dir.join(log)).unwrap());
                    let [found, all] = [scalars(&found), scalars(&all)];
                    let [found, all] = [&found["count"], &all["count"]];
                    assert!(found.len() > 100 && found.len() < all.len(), "{} of {}", found.len(), all.len());
                    assert_eq!(found[..], all[..found.len()]);
                }
                "wandb" => {}
                _ => {
                    let [found, all] = [dir, &whole].map(|dir| text(dir, log));
                    assert!(
                        found.len() > 1000 && found.len() < all.len(),
                        "{} of {}",
                        found.len(),
                        all.len()
                    );
                    assert!(found.ends_with('\n') && all.starts_with(&found), "{log}");
                }
            }
        }
    }
}

#[test]
fn the_history_of_a_run_folder_on_a_full_disk_has_whole_lines_and_the_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let told = limited("log.txt", "notice", dir.path());
    let expected =
        format!("cannot write {}: File too large (os error 27)", dir.path().join("log.txt").display());
    assert_eq!(told, [format!("steps {STEPS}"), expected]);
    let log = text(dir.path(), "log.txt");
    let lines: Vec<&str> = log.lines().collect();
    assert!(lines.len() > 100 && log.ends_with('\n'));
    for (line, step) in lines.iter().zip(1..) {
        assert_eq!(line["2026-11-29T08:10:00Z ".len()..], format!("step {step}: notice {step}"));
    }
}
