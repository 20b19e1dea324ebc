//! Wide CSV logs: columns that come late, resumes, existing files and odd names.

use std::fs;
use std::path::Path;

use regimen::callback::Every;
use regimen::log::{ExistingFile, MetricLog, OnFailure};
use regimen::metric::Key;
use regimen::run::{Evaluate, Report, Train};
use regimen::saved::StateDict;
use regimen::unit::{EvalUnit, TrainUnit};
use regimen::{BoxError, Error, Fit, Run, State};
use tempfile::TempDir;

/// Logs the batch, from the fourth step on a second metric, and in the fifth alone a third.
struct Unit;

impl TrainUnit for Unit {
    type Batch = f64;
    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        let step = state.train_progress().steps + 1;
        state.log(Key::mean("loss"), batch, 1.0);
        if step >= 4 {
            state.log(Key::last("late, \"quoted\"\nname"), -(step as f64), 1.0);
        }
        if step == 5 {
            state.log(Key::last("seldom"), f64::NAN, 1.0);
        }
        Ok(())
    }
}

impl EvalUnit for Unit {
    type Batch = f64;
    fn eval_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(Key::mean("eval/loss"), batch, 1.0);
        state.log(Key::mean("loss"), 2.0 * batch, 1.0);
        Ok(())
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

const DATA: [f64; 3] = [1.0, 2.0, 4.0];

/// Fits with a log in `folder`, restored from `saved`.
fn logged(folder: &Path, saved: Option<&StateDict>, steps: u64) -> Result<StateDict, Error> {
    let mut unit = Unit;
    let log = MetricLog::wide_csv(folder.join("wide.csv")).every(Every::steps(1).or(Every::epochs(1)));
    let mut run = Run::new(&mut unit).callback(log);
    if let Some(saved) = saved {
        run.load_run_state(saved).unwrap();
    }
    run.fit(&DATA, &[0.5], Fit::steps(steps))?;
    Ok(run.run_state().unwrap())
}

const WHOLE: &str = "\
step,phase,epoch,loss,eval/loss,\"late, \"\"quoted\"\"\nname\",seldom
1,train,,1.0,,,
2,train,,2.0,,,
3,train,,4.0,,,
3,train,1,2.3333333333333335,,,
3,eval,1,1.0,0.5,,
4,train,,1.0,,-4.0,
5,train,,2.0,,-5.0,NaN
6,train,,4.0,,-6.0,
6,train,2,2.3333333333333335,,-6.0,NaN
6,eval,2,1.0,0.5,,
7,train,,1.0,,-7.0,
";

#[test]
fn each_moment_is_a_row_and_a_late_name_is_the_last_column() {
    let folder = folder();
    logged(folder.path(), None, 7).unwrap();
    assert_eq!(text(folder.path().join("wide.csv")), WHOLE);
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["wide.csv"]);
    // Every row has every column, for a reader that insists on it.
    let mut rows = csv::Reader::from_reader(WHOLE.as_bytes());
    assert_eq!(rows.headers().unwrap().len(), 7);
    assert_eq!(rows.records().map(|row| row.unwrap().len()).collect::<Vec<_>>(), [7; 11]);
}

#[test]
fn the_file_of_a_resumed_run_is_that_of_one_never_interrupted() {
    for saved_at in 1..7 {
        for killed_at in saved_at..8 {
            for torn in ["", "7,train,lo", "7,train,,\"1"] {
                let folder = folder();
                let path = folder.path().join("wide.csv");
                let saved = logged(folder.path(), None, saved_at).unwrap();
                logged(folder.path(), Some(&saved), killed_at).unwrap();
                fs::write(&path, text(&path) + torn).unwrap();
                logged(folder.path(), Some(&saved), 7).unwrap();
                assert_eq!(text(&path), WHOLE, "saved at {saved_at}, killed at {killed_at} with {torn:?}");
            }
        }
    }
}

#[test]
fn an_evaluation_by_hand_adds_columns_that_a_training_removes() {
    let folder = folder();
    let path = folder.path().join("wide.csv");
    let saved = logged(folder.path(), None, 2).unwrap();
    let mut unit = Unit;
    let mut run =
        Run::new(&mut unit).callback(MetricLog::wide_csv(&path).every(Every::steps(1).or(Every::epochs(1))));
    run.load_run_state(&saved).unwrap();
    run.evaluate(&[0.5], Evaluate::whole()).unwrap();
    assert_eq!(
        text(&path),
        "step,phase,epoch,loss,eval/loss\n1,train,,1.0,\n2,train,,2.0,\n2,eval,1,1.0,0.5\n"
    );
    run.fit(&DATA, &[0.5], Fit::steps(7)).unwrap();
    assert_eq!(text(&path), WHOLE);
}

#[test]
fn a_file_that_is_not_the_one_of_the_checkpoint_is_an_error_and_left_alone() {
    let folder = folder();
    let path = folder.path().join("wide.csv");
    let saved = logged(folder.path(), None, 2).unwrap();
    let length = text(&path).len();
    let check = |content: &str, expected: &str| {
        fs::write(&path, content).unwrap();
        let error = logged(folder.path(), Some(&saved), 7).map_err(|error| format!("{error:#}")).unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert_eq!(text(&path), content);
        assert!(!folder.path().join("wide.csv.new").exists());
    };
    let others = format!("its first {length} bytes are not those that were written");
    check("step\n", &format!("has 5 bytes, but {length} when the checkpoint was made"));
    check(&"x".repeat(100), &others);
    // Wider, and of another run.
    check("step,phase,epoch,loss,eval/loss\n1,train,,7.0,\n2,train,,2.0,\n3,eval,1,1.0,0.5\n", &others);
    // Wider, and with too few rows.
    let short = format!("has 46 bytes, but {length} when the checkpoint was made");
    check("step,phase,epoch,loss,eval/loss\n1,train,,1.0,\n", &short);
}

#[test]
fn an_existing_file_is_kept_continued_or_emptied() {
    let folder = folder();
    let path = folder.path().join("wide.csv");
    let train = |existing: ExistingFile| -> Result<Report, Error> {
        let log = MetricLog::wide_csv(&path).every(Every::steps(1)).existing(existing);
        Run::new(&mut Unit).callback(log).train(&[8.0], Train::steps(1))
    };
    fs::write(&path, "step,phase,epoch,other\n1,train,,3.0\n2,train,,4").unwrap();
    let notices = train(ExistingFile::Append).unwrap().notices;
    assert_eq!(text(&path), "step,phase,epoch,other,loss\n1,train,,3.0,\n1,train,,,8.0\n");
    assert_eq!(notices.len(), 1, "{notices:?}");
    train(ExistingFile::Rename).unwrap();
    assert_eq!(text(&path), "step,phase,epoch,loss\n1,train,,8.0\n");
    assert!(folder.path().join("wide.csv.1").exists());
    train(ExistingFile::Overwrite).unwrap();
    assert_eq!(text(&path), "step,phase,epoch,loss\n1,train,,8.0\n");
    // The beginning of a header is of a run that was killed before its first row.
    fs::write(&path, "step,pha").unwrap();
    train(ExistingFile::Append).unwrap();
    assert_eq!(text(&path), "step,phase,epoch,loss\n1,train,,8.0\n");
    for foreign in ["time,loss\n1,2\n", "step,phase,epoch,loss\r\n"] {
        fs::write(&path, foreign).unwrap();
        let error = train(ExistingFile::Append).map_err(|error| format!("{error:#}")).unwrap_err();
        assert!(error.contains("it does not begin with `step,phase,epoch"), "{error}");
        assert_eq!(text(&path), foreign);
    }
}

#[test]
fn a_file_with_a_row_longer_than_its_header_is_not_appended_to() {
    let folder = folder();
    let path = folder.path().join("wide.csv");
    let content = "step,phase,epoch,loss\n1,train,,4.0\n2,train,,4.0,9.0\n";
    fs::write(&path, content).unwrap();
    let log = MetricLog::wide_csv(&path).existing(ExistingFile::Append);
    let error = Run::new(&mut Unit).callback(log).train(&DATA, Train::steps(1)).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        format!(
            "callback MetricLog(wide.csv) failed at train start in train at epoch 0 step 0: cannot append to {}: row 3 \
             has 5 fields, and the header 4; log to another path",
            path.display()
        )
    );
    assert_eq!(text(&path), content);
}

#[test]
fn a_file_that_was_changed_under_the_run_is_not_copied() {
    let folder = folder();
    let path = folder.path().join("wide.csv");
    let changed = path.clone();
    let mut unit = Unit;
    let log = MetricLog::wide_csv(&path).every(Every::steps(1));
    let mut run = Run::new(&mut unit).callback(log);
    run.train(&DATA, Train::steps(3)).unwrap();
    fs::write(&changed, "mine\n").unwrap();
    let error = run.train(&DATA, Train::steps(7)).map_err(|error| format!("{error:#}")).unwrap_err();
    assert!(error.contains("was changed under the run: it has 5 bytes"), "{error}");
    assert_eq!(text(&path), "mine\n");
}

#[test]
fn columns_that_cannot_be_added_are_told_and_tried_again() {
    let folder = folder();
    let path = folder.path().join("wide.csv");
    // A folder where the new file is to be written.
    fs::create_dir(folder.path().join("wide.csv.new")).unwrap();
    let mut unit = Unit;
    let log = MetricLog::wide_csv(&path).every(Every::steps(1)).on_failure(OnFailure::Notice);
    let mut run = Run::new(&mut unit).callback(log);
    let notices = run.train(&DATA, Train::steps(2)).unwrap().notices;
    assert!(
        notices[0].starts_with(&format!("cannot add columns to the log {}: ", path.display())),
        "{notices:?}"
    );
    assert_eq!((notices.len(), &*text(&path)), (1, "step,phase,epoch\n"));
    fs::remove_dir(folder.path().join("wide.csv.new")).unwrap();
    run.train(&DATA, Train::steps(3)).unwrap();
    assert_eq!(text(&path), "step,phase,epoch,loss\n3,train,,4.0\n");
}

#[cfg(unix)]
#[test]
fn a_link_stays_one_and_a_device_is_refused_before_the_first_step() {
    let folder = folder();
    let (path, link) = (folder.path().join("wide.csv"), folder.path().join("link.csv"));
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let train = |path: &Path| {
        let log = MetricLog::wide_csv(path).every(Every::steps(1));
        Run::new(&mut Unit).callback(log).train(&[8.0], Train::steps(1))
    };
    train(&link).unwrap();
    assert_eq!(
        (text(&path), fs::read_link(&link).unwrap()),
        ("step,phase,epoch,loss\n1,train,,8.0\n".into(), path)
    );
    let error = train(Path::new("/dev/null")).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "callback MetricLog(null) failed at train start in train at epoch 0 step 0: the log /dev/null is no \
         file, and a wide CSV log is written again for each new column; log to a file, or with `csv`"
    );
}
