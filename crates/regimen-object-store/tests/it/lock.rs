//! One writer per run directory.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use regimen::checkpoint::{Checkpoints, Keep, Store, Which, Writer};
use regimen_object_store::ObjectStore;

use crate::common::*;
use crate::flaky::{Fault, Flaky};
use crate::place::Place;

/// The error of a writer whose lock was taken.
pub(crate) const TAKEN: &str = "another writer has taken over the lock `LOCK` of the run directory";

fn store(place: &Place, lease_ms: u64) -> ObjectStore {
    let flaky = Flaky::new(place, Fault::None);
    ObjectStore::over(flaky).unwrap().lease(Duration::from_millis(lease_ms))
}

#[test]
fn a_second_writer_is_refused_and_told_who_is_the_first() {
    let place = Place::default();
    let mut first = Writer::open_on(Arc::new(store(&place, 3000)), DIR, RUN).unwrap();
    let error = Writer::open_on(Arc::new(store(&place, 3000)), DIR, RUN).unwrap_err().to_string();
    let process = format!("cannot lock `/runs/digits`: process {} on ", std::process::id());
    assert!(error.starts_with(&process), "{error}");
    assert!(error.ends_with(" writes to it; a run directory has one writer at a time"), "{error}");
    first.save(&snapshot(1, 1)).unwrap();
    drop(first);
    Writer::open_on(Arc::new(store(&place, 3_600_000)), DIR, RUN).unwrap().save(&snapshot(2, 2)).unwrap();
}

#[test]
fn a_writer_that_was_taken_over_commits_nothing_more() {
    let place = Place::default();
    // It renews its lock once an hour, and at each commit.
    let mut first = Writer::open_on(Arc::new(store(&place, 3_600_000)), DIR, RUN).unwrap();
    first.save(&snapshot(1, 1)).unwrap();
    let mut second = Writer::open_on(Arc::new(store(&place, 3_600_000).take_over()), DIR, RUN).unwrap();
    second.save(&snapshot(2, 2)).unwrap();
    let error = first.save(&snapshot(3, 3)).unwrap_err().to_string();
    assert_eq!(error, format!("cannot rename `/runs/digits/.tmp-step-000000003`: {TAKEN}"));
    let indexes = place.keys().into_iter().filter(|key| key.as_ref().ends_with(".index"));
    let indexes: Vec<String> = indexes.map(|key| key.to_string()).collect();
    assert_eq!(indexes, ["runs/digits/step-000000001.index", "runs/digits/step-000000002.index"]);
    drop(first);
    second.save(&snapshot(4, 4)).unwrap();
}

#[test]
fn the_lock_of_a_dead_writer_is_free_after_its_lease() {
    let place = Place::default();
    // After its lock it is dead, and so renews and releases nothing.
    let dead = Flaky::new(&place, Fault::DiesAfter(0));
    let dead = ObjectStore::over(dead).unwrap().tries(1, Duration::ZERO).lease(Duration::from_millis(20));
    assert!(dead.lock(DIR.as_ref()).is_err());
    let lock = String::from_utf8(place.get(&place.keys()[0])).unwrap();
    assert!(lock.contains("\nlease 20\n"), "{lock}");
    Writer::open_on(Arc::new(store(&place, 3_600_000)), DIR, RUN).unwrap().save(&snapshot(1, 1)).unwrap();
}

#[test]
fn of_two_commits_under_one_name_the_first_counts() {
    let place = Place::default();
    let path = |name: &str| std::path::Path::new(DIR).join(name);
    let stores = [store(&place, 3000), store(&place, 3000)];
    for (store, text) in stores.iter().zip(["one", "other"]) {
        store.create_dir(&path(".tmp-a")).unwrap();
        let mut file = store.create(&path(".tmp-a/file")).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.sync().unwrap();
    }
    let [one, other] = stores;
    one.rename(&path(".tmp-a"), &path("a")).unwrap();
    let error = other.rename(&path(".tmp-a"), &path("a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DirectoryNotEmpty);
    let mut text = String::new();
    other.open(&path("a/file")).unwrap().bytes.read_to_string(&mut text).unwrap();
    assert_eq!(text, "one");
}

#[test]
fn a_run_directory_may_begin_with_a_dot_and_may_not_be_a_draft() {
    let place = Place::default();
    for dir in [".digits", "runs/.tmp"] {
        Writer::open_on(Arc::new(store(&place, 3000)), dir, RUN).unwrap().save(&snapshot(1, 1)).unwrap();
        // As the next process.
        let found = Checkpoints::on(Arc::new(store(&place, 3000)), dir).load(Which::Latest).unwrap();
        assert_eq!(found.map(|found| found.content), Some(parts(1)), "{dir}");
    }
    for dir in [".tmp-digits", "runs/.del-digits", "runs/.data", "runs/.data/digits"] {
        let error = Writer::open_on(Arc::new(store(&place, 3000)), dir, RUN).unwrap_err().to_string();
        let why =
            "the names `.data`, `.tmp-...` and `.del-...` are those of checkpoints in parts; choose another";
        assert_eq!(error, format!("cannot lock `{dir}`: {why}"));
    }
}

#[test]
fn a_writer_is_taken_over_by_another_on_the_same_store() {
    let place = Place::default();
    let store = Arc::new(store(&place, 3_600_000).take_over());
    let mut first = Writer::open_on(store.clone(), DIR, RUN).unwrap();
    first.save(&snapshot(1, 1)).unwrap();
    let mut second = Writer::open_on(store.clone(), DIR, RUN).unwrap();
    let error = first.save(&snapshot(2, 2)).unwrap_err().to_string();
    assert_eq!(error, format!("cannot write to `/runs/digits`: {TAKEN}"));
    drop(first);
    second.save(&snapshot(3, 3)).unwrap();
}

#[test]
fn a_commit_under_which_the_lock_was_taken_is_not_acknowledged() {
    let taken = |at| {
        let (place, dir) = (Place::default(), std::path::Path::new(DIR));
        let flaky = Flaky::new(&place, Fault::Waits(at));
        let first = ObjectStore::over(flaky.clone()).unwrap().lease(Duration::from_secs(3600));
        let lock = first.lock(dir).unwrap();
        first.create_dir(&dir.join(".tmp-a")).unwrap();
        first.create(&dir.join(".tmp-a/file")).unwrap().sync().unwrap();
        let committed = std::thread::scope(|scope| {
            let commit = scope.spawn(|| first.rename(&dir.join(".tmp-a"), &dir.join("a")));
            flaky.wait();
            let second = store(&place, 3_600_000).take_over();
            let lock = second.lock(dir).unwrap();
            flaky.go_on();
            let committed = commit.join().unwrap();
            drop(lock);
            committed
        });
        drop(lock);
        // What the index may refer to stays.
        let file = dir.join(".tmp-a/file");
        first.remove_file(&file).unwrap();
        (committed.map_err(|error| error.to_string()), place.keys().len())
    };
    // Calls: the lock, the file, the renewal, the index, the renewal after it.
    assert_eq!(taken(3), (Err(TAKEN.to_owned()), 3));
}

#[test]
fn a_writer_that_was_taken_over_removes_nothing_more() {
    let place = Place::default();
    let mut first = Writer::open_on(Arc::new(store(&place, 3_600_000)), DIR, RUN).unwrap();
    (1..=2).for_each(|step| drop(first.save(&snapshot(step, step)).unwrap()));
    let _second = Writer::open_on(Arc::new(store(&place, 3_600_000).take_over()), DIR, RUN).unwrap();
    let before = place.keys();
    let failures: Vec<_> =
        first.prune(&Keep::all().last(1)).failures.iter().map(ToString::to_string).collect();
    assert_eq!(failures, [format!("cannot rename `/runs/digits/step-000000001`: {TAKEN}")]);
    assert_eq!(place.keys(), before);
}
