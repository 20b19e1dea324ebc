//! A run directory has one writer.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use regimen::checkpoint::{LockFile, Snapshot, Writer};

/// The directory to which the child process of a test writes.
const DIR: &str = "REGIMEN_TEST_LOCKED_DIR";

/// The first of two processes, not a separate test: it holds the lock until it is killed.
#[test]
fn hold_the_lock_where_told_to() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let _writer = Writer::open(dir, "run-1").unwrap();
    println!("\nlocked");
    std::thread::sleep(std::time::Duration::from_secs(600));
}

fn first_process(dir: &std::path::Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "checkpoint::lock::hold_the_lock_where_told_to", "--nocapture"]).env(DIR, dir);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "locked"));
    child
}

#[test]
fn a_second_process_is_refused_and_told_which_the_first_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = first_process(dir.path());
    let refusal = Writer::open(dir.path(), "run-1").unwrap_err().to_string();
    // A process that is killed leaves the lock to the next.
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(refusal.contains(&format!("process {} on ", first.id())), "{refusal}");
    assert!(refusal.contains("a run directory has one writer at a time"), "{refusal}");
    Writer::open(dir.path(), "run-1").unwrap();
}

#[test]
fn the_same_process_is_refused_too_until_the_first_writer_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let first = Writer::open(dir.path(), "run-1").unwrap();
    let refusal = LockFile::acquire(dir.path()).unwrap_err().to_string();
    assert!(refusal.contains(&format!("process {} on ", std::process::id())), "{refusal}");
    drop(first);
    LockFile::acquire(dir.path()).unwrap();
}

#[cfg(unix)]
#[test]
fn a_lock_file_that_was_removed_is_made_again_by_the_next_save() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Writer::open(dir.path(), "run-1").unwrap();
    std::fs::remove_file(dir.path().join("LOCK")).unwrap();
    first.save(&Snapshot::default()).unwrap();
    let refusal = LockFile::acquire(dir.path()).unwrap_err().to_string();
    assert!(refusal.contains(&format!("process {} on ", std::process::id())), "{refusal}");
}

#[cfg(unix)]
#[test]
fn a_save_is_refused_if_the_lock_file_was_removed_and_another_process_holds_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Writer::open(dir.path(), "run-1").unwrap();
    std::fs::remove_file(dir.path().join("LOCK")).unwrap();
    let mut second = first_process(dir.path());
    let refusal = first.save(&Snapshot::default()).unwrap_err().to_string();
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(refusal.contains(&format!("process {} on ", second.id())), "{refusal}");
    assert!(refusal.ends_with("a run directory has one writer at a time"), "{refusal}");
    // The directory is free again.
    first.save(&Snapshot::default()).unwrap();
}

#[cfg(unix)]
#[test]
fn a_run_directory_that_was_removed_is_written_to_once_it_is_there_again() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("run");
    let mut writer = Writer::open(&dir, "run-1").unwrap();
    writer.save(&Snapshot::default()).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let error = writer.save(&Snapshot::default()).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "cannot write to `{}`: the run directory was removed or renamed while the run was under way; \
             create it again, or move it back, and the next save is written to it",
            dir.display()
        )
    );
    std::fs::create_dir(&dir).unwrap();
    let saved = writer.save(&Snapshot { step: 1, ..Snapshot::default() }).unwrap();
    saved.verify().unwrap();
    LockFile::acquire(&dir).unwrap_err();
}
