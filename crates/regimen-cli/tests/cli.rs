//! Command line tests of the program, for people and for other programs.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use regimen::checkpoint::{Snapshot, Writer};
use regimen::saved::{Array, Dtype, StateDict};
use serde_json::Value;
use tempfile::TempDir;

/// A run directory with checkpoints of the steps 5 and 10, and a post-mortem.
fn run_directory() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("digits");
    let mut writer = Writer::open(&path, "run-1").unwrap();
    let metrics = |loss| BTreeMap::from([("eval/loss".to_owned(), loss)]);
    let snapshot = |step, post_mortem, loss, weight: &[f32]| Snapshot {
        step,
        epoch: step / 5,
        post_mortem,
        metrics: metrics(loss),
        parts: BTreeMap::from([("module".to_owned(), module(weight)), ("run".to_owned(), run(step))]),
    };
    writer.save(&snapshot(5, false, 0.5, &[1.0, 2.0, 3.0])).unwrap();
    writer.save(&snapshot(10, false, f64::INFINITY, &[1.0, 2.5, f32::NAN])).unwrap();
    writer.save(&snapshot(11, true, 0.0, &[1.0, 2.5, f32::NAN])).unwrap();
    (dir, path)
}

fn module(weight: &[f32]) -> StateDict {
    let mut dict = StateDict::new();
    dict.insert("weight", Array::from_slice(weight)).unwrap();
    // 1.0 and 2.0 in bfloat16.
    dict.insert("scale", Array::new(Dtype::BF16, vec![2, 1], vec![0x80, 0x3f, 0, 0x40]).unwrap()).unwrap();
    dict
}

fn run(step: u64) -> StateDict {
    let mut dict = StateDict::new();
    dict.insert("steps", step).unwrap();
    dict.insert(format!("only-{step}"), 1_u8).unwrap();
    dict
}

fn regimen(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    let arguments = arguments.iter().map(|argument| argument.as_ref());
    Command::new(env!("CARGO_BIN_EXE_regimen")).args(arguments).output().unwrap()
}

/// The output of the program on stdout; asserts that it exits with `code`.
#[track_caller]
fn stdout(code: i32, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> String {
    let output = regimen(arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert_eq!(code == 0, error.is_empty(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn json(code: i32, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Value {
    let arguments: Vec<_> = arguments.iter().copied().chain([&"--json" as _]).collect();
    serde_json::from_str(&stdout(code, &arguments)).unwrap()
}

#[track_caller]
fn check_error(code: i32, arguments: &[&dyn AsRef<std::ffi::OsStr>], expected: &str) {
    let output = regimen(arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(error.contains(expected), "{error}");
}

fn flip_a_bit(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn inspect_lists_the_checkpoints_and_what_the_newest_holds() {
    let (_dir, run) = run_directory();
    let text = stdout(0, &[&"inspect", &run]);
    let first: Vec<_> = text.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(first, ["checkpoint", "metrics", "epoch", "step", "bytes"]);
    assert!(text.contains("step-000000005         eval/loss 0.5"), "{text}");
    assert!(text.contains("post-mortem-000000011 of the run run-1"), "{text}");
    assert!(text.contains("module/scale   BF16  [2, 1]      4"), "{text}");

    let value = json(0, &[&"inspect", &run]);
    assert_eq!(value["checkpoints"].as_array().unwrap().len(), 3);
    let newest = &value["checkpoints"][1];
    assert_eq!((newest["step"].as_u64(), newest["resumable"].as_bool()), (Some(10), Some(true)));
    assert_eq!(newest["metrics"]["eval/loss"], "inf");
    let part = &newest["parts"][0];
    let file = std::fs::read(run.join("step-000000010/module.safetensors")).unwrap();
    assert_eq!(part["bytes"].as_u64(), Some(file.len() as u64));
    assert_eq!(part["arrays"][0]["shape"], serde_json::json!([3]));
}

#[test]
fn inspect_takes_a_single_checkpoint_and_names_damaged_ones() {
    let (_dir, run) = run_directory();
    let value = json(0, &[&"inspect", &run.join("step-000000005")]);
    assert_eq!(value["checkpoints"][0]["name"], "step-000000005");
    flip_a_bit(&run.join("step-000000010/MANIFEST"));
    let value = json(0, &[&"inspect", &run]);
    assert_eq!(value["checkpoints"].as_array().unwrap().len(), 2);
    assert_eq!(value["damaged"][0]["name"], "step-000000010");
    assert!(stdout(0, &[&"inspect", &run]).contains("step-000000010 is damaged: cannot read `"));
}

#[test]
fn verify_fails_and_names_the_file_where_a_bit_is_wrong() {
    let (_dir, run) = run_directory();
    assert_eq!(stdout(0, &[&"verify", &run]).matches("whole").count(), 3);
    flip_a_bit(&run.join("step-000000005/run.safetensors"));
    let text = stdout(1, &[&"verify", &run]);
    assert!(
        text.contains("damaged: cannot read `") && text.contains("step-000000005/run.safetensors`"),
        "{text}"
    );
    let value = json(1, &[&"verify", &run]);
    let whole: Vec<_> =
        value["checkpoints"].as_array().unwrap().iter().map(|one| one["whole"].as_bool()).collect();
    assert_eq!(whole, [Some(true), Some(true), Some(false)]);
    check_error(1, &[&"verify", &run], "damaged: 1 of 3 checkpoints");
}

#[test]
fn diff_says_which_arrays_differ_and_by_how_much() {
    let (_dir, run) = run_directory();
    let (five, ten) = (run.join("step-000000005"), run.join("step-000000010"));
    let value = json(0, &[&"diff", &five, &ten]);
    let expected = serde_json::json!([
        {"name": "module/weight", "how": "values", "elements": 2, "of": 3, "largest": "NaN"},
        {"name": "run/only-10", "how": "only_in_b"},
        {"name": "run/only-5", "how": "only_in_a"},
        {"name": "run/steps", "how": "values", "elements": 1, "of": 1, "largest": 5.0},
    ]);
    assert_eq!((&value["different"], value["same"].as_u64()), (&expected, Some(1)));
    let text = stdout(0, &[&"diff", &five, &ten]);
    assert!(text.contains("arrays: 1 the same, 4 different"), "{text}");
    // A run directory selects its newest resumable checkpoint.
    assert_eq!(json(0, &[&"diff", &ten, &run])["equal"], true);
    assert_eq!(regimen(&[&"diff", &"--exit-code", &five, &ten]).status.code(), Some(1));
    assert_eq!(regimen(&[&"diff", &"--exit-code", &ten, &run]).status.code(), Some(0));
}

#[test]
fn export_writes_weights_that_other_readers_read() {
    let (dir, run) = run_directory();
    let (file, both) = (dir.path().join("weights.safetensors"), dir.path().join("both.safetensors"));
    assert_eq!(json(0, &[&"export", &run.join("step-000000005"), &file])["arrays"], 2);
    let bytes = std::fs::read(&file).unwrap();
    let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let expected: Vec<u8> = [1.0_f32, 2.0, 3.0].iter().flat_map(|number| number.to_le_bytes()).collect();
    assert_eq!(read.tensor("weight").unwrap().data(), expected);
    stdout(0, &[&"export", &run, &both, &"--part", &"module", &"--part", &"run"]);
    let bytes = std::fs::read(&both).unwrap();
    let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = read.names();
    names.sort();
    assert_eq!(names, ["module.scale", "module.weight", "run.only-10", "run.steps"]);

    check_error(1, &[&"export", &run, &file], "weights.safetensors`: File exists");
    let new = dir.path().join("new");
    check_error(
        1,
        &[&"export", &run, &new, &"--part", &"moduel"],
        "has no part `moduel`; it has module, run",
    );
    flip_a_bit(&run.join("step-000000010/module.safetensors"));
    check_error(1, &[&"export", &run.join("step-000000010"), &new], "it is damaged");
    assert!(!new.exists());
}

#[test]
fn a_part_in_pieces_is_read_as_one_in_a_single_file() {
    let (dir, run) = run_directory();
    let of = |name: &str, value: f32| {
        let mut dict = StateDict::new();
        dict.insert(name, value).unwrap();
        dict
    };
    let save = |name: &str, parts: &[(&str, StateDict)]| {
        let parts = parts.iter().map(|(name, dict)| ((*name).to_owned(), dict.clone())).collect();
        let snapshot = Snapshot { step: 5, parts, ..Snapshot::default() };
        Writer::open(dir.path().join(name), "run-1").unwrap().save(&snapshot).unwrap().path().to_owned()
    };
    let mut both = of("a", 1.0);
    both.insert("b", 2.0_f32).unwrap();
    let whole = save("whole", &[("optimizer", both)]);
    let pieces = [("optimizer@00001-of-00002", of("a", 1.0)), ("optimizer@00002-of-00002", of("b", 2.0))];
    let pieces = save("pieces", &pieces);

    let found = json(0, &[&"inspect", &pieces]);
    let names: Vec<_> = (0..2).map(|n| found["checkpoints"][0]["parts"][n]["name"].as_str()).collect();
    assert_eq!(names, [Some("optimizer@00001-of-00002"), Some("optimizer@00002-of-00002")]);
    let found = json(0, &[&"diff", &whole, &pieces]);
    assert_eq!((found["equal"].as_bool(), found["same"].as_u64()), (Some(true), Some(2)));
    let file = dir.path().join("optimizer.safetensors");
    assert_eq!(json(0, &[&"export", &pieces, &file, &"--part", &"optimizer"])["arrays"], 2);
    check_error(
        1,
        &[&"export", &pieces, &run, &"--part", &"module"],
        "has no part `module`; it has optimizer",
    );
    stdout(0, &[&"verify", &pieces]);
    flip_a_bit(&pieces.join("optimizer@00002-of-00002.safetensors"));
    assert!(
        stdout(1, &[&"verify", &pieces]).contains("optimizer@00002-of-00002.safetensors`: its checksum is")
    );
}

#[test]
fn mistakes_go_to_stderr_with_their_exit_code() {
    let (dir, _run) = run_directory();
    check_error(1, &[&"inspect", &dir.path().join("nothing")], "No such file or directory");
    check_error(1, &[&"inspect", &dir.path()], "is neither a checkpoint nor a run directory with one");
    check_error(
        1,
        &[&"diff", &dir.path(), &dir.path()],
        "is neither a checkpoint nor a run directory with one",
    );
    check_error(2, &[&"inspect"], "required arguments");
    check_error(2, &[&"look"], "unrecognized subcommand");
    assert_eq!(regimen(&[&"--help"]).status.code(), Some(0));
}

#[test]
fn download_copies_a_whole_checkpoint_and_replaces_none() {
    let (dir, run) = run_directory();
    let folder = dir.path().join("copies/digits");
    let copy = folder.join("step-000000010");
    let files = |dir: &Path| -> BTreeMap<PathBuf, Vec<u8>> {
        let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        paths.map(|path| (path.file_name().unwrap().into(), std::fs::read(path).unwrap())).collect()
    };
    // As a copy that was cut off leaves it, or one that is under way has it.
    let other = folder.join(".download-step-000000010");
    std::fs::create_dir_all(&other).unwrap();
    check_error(1, &[&"download", &run, &folder], "another copy is under way, or one was cut off");
    std::fs::remove_dir(&other).unwrap();
    // A file that is not the checkpoint's.
    std::fs::write(run.join("step-000000010/notes"), "mine").unwrap();
    let value = json(0, &[&"download", &run, &folder]);
    let mut original = files(&run.join("step-000000010"));
    original.remove(Path::new("notes"));
    let bytes = original.values().map(Vec::len).sum::<usize>();
    assert_eq!((value["bytes"].as_u64(), value["to"].as_str()), (Some(bytes as u64), copy.to_str()));
    assert_eq!(files(&copy), original);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    check_error(1, &[&"download", &run, &folder], "step-000000010` exists");

    flip_a_bit(&run.join("step-000000005/run.safetensors"));
    check_error(1, &[&"download", &run.join("step-000000005"), &folder], "it is damaged");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    check_error(1, &[&"download", &run, &copy.join("MANIFEST")], "MANIFEST/step-000000010`: ");
    check_error(1, &[&"download", &run, &"s3://bucket/copies"], "name one on this machine");
}

#[test]
fn a_url_that_is_none_is_refused_without_its_credentials() {
    check_error(1, &[&"inspect", &"ftp://host/runs"], "`ftp://` is not known; use `s3://`,");
    for command in ["inspect", "verify"] {
        let output = regimen(&[&command, &"s3://AKIA:SECRET-KEY@bucket/runs"]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("give credentials by the variables of the store"), "{error}");
        assert!(!error.contains("SECRET-KEY"), "{error}");
    }
    let none = "`memory:///runs/digits` is neither a checkpoint nor a run directory with one";
    check_error(1, &[&"verify", &"memory:///runs/digits"], none);
    check_error(1, &[&"inspect", &"memory://"], "`memory://` is neither a checkpoint");
}

/// Over a server of S3, as in the tests of `regimen-object-store`. Without it they check nothing.
mod server {
    use std::sync::Arc;

    use regimen::checkpoint::Store;
    use regimen_object_store::{LogUpload, ObjectStore};

    use super::*;

    #[test]
    fn server_has_checkpoints_that_are_shown_verified_and_downloaded_by_their_url() {
        if std::env::var_os("REGIMEN_S3").is_none() {
            return;
        }
        let (dir, run) = run_directory();
        let name = format!("cli-{}", std::process::id());
        let store = Arc::new(ObjectStore::open("s3://regimen/runs").unwrap());
        let mut writer = Writer::open_on(store.clone(), &name, "run-1").unwrap();
        for step in [5, 10] {
            let parts = BTreeMap::from([("module".to_owned(), module(&[1.0, step as f32]))]);
            writer.save(&Snapshot { step, parts, ..Snapshot::default() }).unwrap();
        }
        let url = format!("s3://regimen/runs/{name}");
        let five = format!("{url}/step-000000005");
        let value = json(0, &[&"inspect", &url]);
        let names = [0, 1].map(|n| value["checkpoints"][n]["name"].as_str().unwrap().to_owned());
        assert_eq!(names, ["step-000000010", "step-000000005"]);
        assert_eq!(json(0, &[&"inspect", &five])["checkpoints"][0]["step"], 5);
        assert_eq!(stdout(0, &[&"verify", &url]).matches("whole").count(), 2);

        let folder = dir.path().join("copies");
        stdout(0, &[&"download", &url, &folder]);
        assert_eq!(json(0, &[&"diff", &folder.join("step-000000010"), &url])["equal"], true);
        assert_eq!(json(0, &[&"diff", &five, &url])["equal"], false);
        assert_eq!(json(0, &[&"export", &five, &dir.path().join("weights.safetensors")])["arrays"], 2);
        check_error(1, &[&"inspect", &"s3://regimen/none"], "`s3://regimen/none` is neither");

        // An object of another length and of other bytes.
        let data = store.list(Path::new(&name).join(".data").as_path()).unwrap();
        let first = data.iter().find(|entry| entry.name.contains("step-000000005")).unwrap();
        let damaged = dir.path().join("damaged");
        std::fs::create_dir(&damaged).unwrap();
        std::fs::copy(run.join("step-000000005/run.safetensors"), damaged.join("module.safetensors"))
            .unwrap();
        LogUpload::new(&store, &damaged, format!("{name}/.data/{}", first.name)).upload().unwrap();
        check_error(1, &[&"verify", &url], "damaged: 1 of 2 checkpoints in `s3://regimen/runs/cli-");
        check_error(1, &[&"download", &five, &folder], "module.safetensors`: ");
        assert!(!folder.join("step-000000005").exists());
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_failure_and_a_full_disk_is_one() {
    let (_dir, run) = run_directory();
    let mut command = Command::new(env!("CARGO_BIN_EXE_regimen"));
    command.args(["inspect".as_ref(), run.as_os_str()]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    if let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") {
        let output = command.stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stderr).unwrap().contains("cannot write to stdout"));
    }
}

#[test]
fn names_with_control_characters_are_shown_as_escapes_and_given_as_they_are_in_json() {
    let dir = tempfile::tempdir().unwrap();
    let save = |name: &str, array: &str, value: f32| {
        let (mut module, path) = (StateDict::new(), dir.path().join(name));
        module.insert(array, value).unwrap();
        let snapshot = Snapshot {
            metrics: BTreeMap::from([("acc/cat\r\u{1b}[31m".to_owned(), 0.5)]),
            parts: BTreeMap::from([("module".to_owned(), module)]),
            ..Snapshot::default()
        };
        Writer::open(&path, "run-1").unwrap().save(&snapshot).unwrap();
        path
    };
    let (a, b) = (save("a", "two\nlines\u{7}", 1.0), save("b", "two\nlines\u{7}", 2.0));
    let plain = |text: &str| !text.contains(|char: char| char.is_control() && char != '\n');
    let inspected = stdout(0, &[&"inspect", &a]);
    assert!(plain(&inspected), "{inspected:?}");
    for shown in [r"acc/cat\r\u{1b}[31m 0.5", r"module/two\nlines\u{7}  F32"] {
        assert!(inspected.contains(shown), "{inspected}");
    }
    let difference = stdout(0, &[&"diff", &a, &b]);
    assert!(
        plain(&difference) && difference.contains(r"module/two\nlines\u{7}  1 of 1 element "),
        "{difference}"
    );
    let checkpoint = &json(0, &[&"inspect", &a])["checkpoints"][0];
    assert_eq!(checkpoint["metrics"]["acc/cat\r\u{1b}[31m"], 0.5);
    assert_eq!(checkpoint["parts"][0]["arrays"][0]["name"], "two\nlines\u{7}");
    // Control characters in a command line path are escaped as well.
    let gone = regimen(&[&"inspect", &dir.path().join("c\r\u{1b}[2J")]);
    let error = String::from_utf8(gone.stderr).unwrap();
    assert!(plain(&error) && error.contains(r"c\r\u{1b}[2J"), "{error:?}");
}

/// Two runs with a learning rate and a loss, and a folder that is none.
fn runs() -> (TempDir, [PathBuf; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str, rate: f64, losses: &[f64]| {
        let path = dir.path().join("runs").join(name);
        std::fs::create_dir_all(&path).unwrap();
        let line = |(step, loss): (u64, &f64)| {
            format!(
                "{{\"step\":{step},\"phase\":\"eval\",\"name\":\"eval/loss\",\"value\":{loss},\"epoch\":{step}}}\n"
            )
        };
        let log: String = (1..).zip(losses).map(line).collect();
        std::fs::write(path.join("metrics.jsonl"), log).unwrap();
        std::fs::write(path.join("hyper_parameters.json"), format!("{{\"rate\": {rate}, \"layers\": 2}}"))
            .unwrap();
        path
    };
    let found = [run("a", 0.1, &[0.5, 0.25, 0.75]), run("b", 0.2, &[0.5, 0.125])];
    std::fs::create_dir_all(dir.path().join("runs/notes")).unwrap();
    (dir, found)
}

#[test]
fn runs_are_listed_with_their_metrics_and_the_settings_that_differ() {
    let (dir, [_, b]) = runs();
    let folder = dir.path().join("runs");
    let text = stdout(0, &[&"runs", &folder, &"--sort", &"eval/loss"]);
    let expected = "\
run  state    rate  step  epoch  time  eval/loss     min  at
b    unknown  0.2      2                  0.1250  0.1250   2
a    unknown  0.1      3                  0.7500  0.2500   2
";
    assert_eq!(text, expected);
    let value = json(0, &[&"runs", &folder, &"--sort", &"eval/loss", &"--max"]);
    assert_eq!((&value["runs"][0]["name"], &value["differing"]), (&"a".into(), &serde_json::json!(["rate"])));
    assert_eq!(
        value["runs"][0]["metrics"]["eval/loss"],
        serde_json::json!({"last": 0.75, "min": 0.25, "min_step": 2, "max": 0.75, "max_step": 3})
    );
    let text = stdout(0, &[&"runs", &folder, &"--metric", &"eval/loss", &"--max"]);
    let expected = "\
run  state    rate  step  epoch  time  eval/loss     max  at
a    unknown  0.1      3                  0.7500  0.7500   3
b    unknown  0.2      2                  0.1250  0.5000   1
";
    assert_eq!(text, expected);
    assert_eq!(json(0, &[&"runs", &b])["runs"][0]["hyper_parameters"]["layers"], 2);
    check_error(1, &[&"runs", &folder, &"--sort", &"los"], "no run has a metric `los`; there are eval/loss");
    check_error(1, &[&"runs", &folder.join("notes")], "has no run: no folder with metrics.jsonl or");
}

#[test]
fn the_values_of_training_are_listed_and_of_them_those_over_epochs() {
    let dir = tempfile::tempdir().unwrap();
    let line = |step: u64, phase: &str, value: f64, epoch: &str| {
        format!(
            "{{\"step\":{step},\"phase\":\"{phase}\",\"name\":\"loss\",\"value\":{value},\"epoch\":{epoch}}}\n"
        )
    };
    let log = [
        line(1, "train", 4.0, "null"),
        line(2, "train", 3.0, "1"),
        line(2, "eval", 2.0, "null"),
        line(2, "eval", 1.0, "1"),
    ];
    std::fs::write(dir.path().join("metrics.jsonl"), log.concat()).unwrap();
    let runs = json(0, &[&"runs", &dir.path()]);
    assert_eq!(runs["runs"][0]["metrics"]["loss"]["last"], 3.0);
}

#[test]
fn report_writes_a_page_and_plot_a_picture() {
    let (dir, [a, b]) = runs();
    let (page, plot) = (dir.path().join("report.html"), dir.path().join("loss.svg"));
    let text = stdout(0, &[&"report", &a, &b, &"-o", &page]);
    let bytes = std::fs::metadata(&page).unwrap().len();
    assert_eq!(text, format!("`{}` has 2 runs with 5 values, in {bytes} bytes\n", page.display()));
    assert_eq!(json(0, &[&"report", &a, &"-o", &page])["runs"], 1);
    std::fs::write(&page, "a letter").unwrap();
    check_error(1, &[&"report", &a, &"-o", &page], "report.html exists and is no report");
    stdout(0, &[&"report", &a, &"-o", &page, &"--force"]);
    check_error(1, &[&"report", &a, &dir.path(), &"-o", &page], "is no run");

    let text = stdout(0, &[&"plot", &a, &b, &"--metric", &"eval/loss", &"-o", &plot]);
    assert_eq!(text, format!("`{}` shows `eval/loss`\n", plot.display()));
    assert!(std::fs::read_to_string(&plot).unwrap().contains("<svg "));
    stdout(0, &[&"plot", &a, &"-m", &"eval/loss", &"-o", &plot]);
    std::fs::write(&plot, "a drawing").unwrap();
    check_error(1, &[&"plot", &a, &"-m", &"eval/loss", &"-o", &plot], "loss.svg exists and is no plot");
    stdout(0, &[&"plot", &a, &"-m", &"eval/loss", &"-o", &plot, &"--force"]);
    check_error(1, &[&"plot", &a, &"-m", &"loss", &"-o", &plot], "there are eval/loss");
    check_error(2, &[&"plot", &a], "--metric <METRIC>");
}
