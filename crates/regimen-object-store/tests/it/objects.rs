//! Objects that are replaced: logs, and data.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use regimen::callback::Every;
use regimen::checkpoint::{Checkpointer, Checkpoints, Which};
use regimen::log::MetricLog;
use regimen::metric::Key;
use regimen::run::Train;
use regimen::saved::{AppState, Parts};
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};
use regimen_object_store::{LogUpload, ObjectStore, RemoteFile};

use crate::flaky::{Fault, Flaky};
use crate::place::Place;

fn store(place: &Place, fault: Fault) -> ObjectStore {
    ObjectStore::over(Flaky::new(place, fault)).unwrap().part_bytes(10).tries(2, Duration::ZERO)
}

#[test]
fn a_log_is_not_taken_for_uploaded_because_an_older_one_has_its_length() {
    let (place, folder) = (Place::default(), tempfile::tempdir().unwrap());
    let (old, new) = ([b'a'; 35], [b'b'; 35]);
    place.put(&"logs/log".into(), old.to_vec());
    fs::write(folder.path().join("log"), new).unwrap();
    let logs = LogUpload::new(&store(&place, Fault::CompletesNothing), folder.path(), "logs");
    assert!(logs.upload().is_err());
    let logs = LogUpload::new(&store(&place, Fault::None), folder.path(), "logs");
    assert_eq!(logs.upload().unwrap(), 1);
    assert_eq!(place.get(&"logs/log".into()), new);
}

#[test]
fn without_etags_a_file_is_known_by_its_time_and_without_times_it_is_not_opened() {
    let (place, cache) = (Place::default(), tempfile::tempdir().unwrap());
    place.put(&"data".into(), vec![1; (4 << 20) + 1]);
    let timed = store(&place, Fault::NoETag);
    let file = RemoteFile::open(&timed, "data", cache.path()).unwrap();
    assert_eq!(file.read_at(0, 1).unwrap(), [1]);
    place.put(&"data".into(), vec![2; (4 << 20) + 1]);
    let error = file.read_at(4 << 20, 1).unwrap_err().to_string();
    assert!(error.ends_with("it was replaced while it was open"), "{error}");
    let file = RemoteFile::open(&timed, "data", cache.path()).unwrap();
    assert_eq!(file.read_at(0, 1).unwrap(), [2]);
    let error = RemoteFile::open(&store(&place, Fault::NoVersion), "data", cache.path()).unwrap_err();
    let expected = "`data` has no `ETag` and no `Last-Modified`, so its versions cannot be told";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_folder_gets_the_files_that_it_lacks_and_another_log_is_kept() {
    let (place, folder) = (Place::default(), tempfile::tempdir().unwrap());
    let store = store(&place, Fault::None);
    let logs = |name: &str| LogUpload::new(&store, folder.path().join(name), "logs");
    let log = |name: &str| folder.path().join(name).join("log");
    fs::create_dir(folder.path().join("one")).unwrap();
    fs::write(log("one"), "begun at 10:00\nstep 1\nstep 2\n").unwrap();
    fs::write(folder.path().join("one/other"), "").unwrap();
    assert_eq!(logs("one").upload().unwrap(), 2);
    // Another machine.
    assert_eq!((logs("two").download().unwrap(), logs("two").download().unwrap()), (2, 0));
    assert_eq!(fs::read_dir(folder.path().join("two")).unwrap().count(), 2);
    assert_eq!(fs::read_to_string(log("two")).unwrap(), "begun at 10:00\nstep 1\nstep 2\n");
    // One that has not asked for the log.
    fs::create_dir(folder.path().join("three")).unwrap();
    fs::write(log("three"), "begun at 11:00\n").unwrap();
    assert_eq!(logs("three").upload().unwrap(), 1);
    assert_eq!(place.get(&"logs/log".into()), b"begun at 11:00\n");
    let kept = &place.keys()[0];
    assert!(kept.as_ref().starts_with("logs/.replaced-log-"), "{kept}");
    assert_eq!(place.get(kept), b"begun at 10:00\nstep 1\nstep 2\n");
}

struct Unit;

impl TrainUnit for Unit {
    type Batch = f64;
    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(Key::mean("loss"), batch, 1.0);
        Ok(())
    }
}

impl AppState for Unit {
    fn visit(&mut self, _parts: &mut dyn Parts) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Trains three steps with a save at each, in `place`, with a log in `folder` whose copies have a fault.
fn train(place: &Place, folder: &std::path::Path, fault: Fault) -> Result<Vec<String>, String> {
    let (checkpoints, mut unit) = (Arc::new(store(place, Fault::None)), Unit);
    let logs = LogUpload::new(&store(place, fault), folder, "logs");
    logs.download().unwrap();
    let saver = Checkpointer::new("digits").store(checkpoints).every(Every::steps(1));
    let log = MetricLog::jsonl(folder.join("metrics.jsonl")).every(Every::steps(1));
    let saver = saver.stop_on_failure().without_post_mortem();
    let mut run = Run::new(&mut unit).callback(logs).callback(log).saver(saver);
    run.restore_latest().unwrap();
    let epochs = run.state().train_progress().epochs + 1;
    run.train(&[1.0, 2.0, 4.0], Train::epochs(epochs))
        .map(|report| report.notices)
        .map_err(|error| format!("{error:#}"))
}

#[test]
fn a_log_is_in_the_store_before_the_checkpoint_that_refers_to_it() {
    let place = Place::default();
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    assert_eq!(train(&place, one.path(), Fault::None), Ok(Vec::new()));
    let log = fs::read(one.path().join("metrics.jsonl")).unwrap();
    assert!(place.get(&"logs/metrics.jsonl".into()) == log && !log.is_empty());
    // Another machine goes on with the log of the first.
    assert_eq!(train(&place, two.path(), Fault::None), Ok(Vec::new()));
    assert!(fs::read(two.path().join("metrics.jsonl")).unwrap().starts_with(&log));

    let (place, folder) = (Place::default(), tempfile::tempdir().unwrap());
    let error = train(&place, folder.path(), Fault::CompletesNothing).unwrap_err();
    assert!(error.contains("cannot upload `"), "{error}");
    let found = Checkpoints::on(Arc::new(store(&place, Fault::None)), "digits").load(Which::Latest).unwrap();
    assert!(found.is_none(), "{error}: {:?}", found.map(|found| found.checkpoint));
}
