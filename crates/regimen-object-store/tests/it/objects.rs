//! Objects that are replaced: logs, and data.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use regimen_object_store::{LogUpload, ObjectStore, RemoteFile, object_store};

use crate::flaky::{Fault, Flaky, get, put};

fn store(inner: &Arc<InMemory>, fault: Fault) -> ObjectStore {
    ObjectStore::over(Flaky::new(inner, fault)).unwrap().part_bytes(10).tries(2, Duration::ZERO)
}

#[test]
fn a_log_is_not_taken_for_uploaded_because_an_older_one_has_its_length() {
    let (inner, folder) = (Arc::default(), tempfile::tempdir().unwrap());
    let (old, new) = ([b'a'; 35], [b'b'; 35]);
    put(&inner, &"logs/log".into(), old.to_vec());
    fs::write(folder.path().join("log"), new).unwrap();
    let logs = LogUpload::new(&store(&inner, Fault::CompletesNothing), folder.path(), "logs");
    assert!(logs.upload().is_err());
    let logs = LogUpload::new(&store(&inner, Fault::None), folder.path(), "logs");
    assert_eq!(logs.upload().unwrap(), 1);
    assert_eq!(get(&inner, &"logs/log".into()), new);
}

#[test]
fn without_etags_a_file_is_known_by_its_time_and_without_times_it_is_not_opened() {
    let (inner, cache) = (Arc::default(), tempfile::tempdir().unwrap());
    put(&inner, &"data".into(), vec![1; (4 << 20) + 1]);
    let timed = store(&inner, Fault::NoETag);
    let file = RemoteFile::open(&timed, "data", cache.path()).unwrap();
    assert_eq!(file.read_at(0, 1).unwrap(), [1]);
    put(&inner, &"data".into(), vec![2; (4 << 20) + 1]);
    let error = file.read_at(4 << 20, 1).unwrap_err().to_string();
    assert!(error.ends_with("it was replaced while it was open"), "{error}");
    let file = RemoteFile::open(&timed, "data", cache.path()).unwrap();
    assert_eq!(file.read_at(0, 1).unwrap(), [2]);
    let error = RemoteFile::open(&store(&inner, Fault::NoVersion), "data", cache.path()).unwrap_err();
    let expected = "`data` has no `ETag` and no `Last-Modified`, so its versions cannot be told";
    assert_eq!(error.to_string(), expected);
}
