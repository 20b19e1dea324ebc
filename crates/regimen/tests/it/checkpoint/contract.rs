//! The simulated disk behaves like the real one.

use std::io::{ErrorKind, Read, Result, Write};
use std::path::Path;

use regimen::checkpoint::{Disk, SimDisk, Store};

fn write(store: &dyn Store, file: &Path, bytes: &[u8]) -> Result<()> {
    let mut new = store.create(file)?;
    new.write_all(bytes)?;
    new.sync()
}

fn read(store: &dyn Store, file: &Path) -> Result<Vec<u8>> {
    let mut opened = store.open(file)?;
    let mut bytes = Vec::new();
    opened.bytes.read_to_end(&mut bytes)?;
    assert_eq!(opened.length, bytes.len() as u64);
    Ok(bytes)
}

/// Runs one operation after another in the directory `root` of a store.
fn check(store: &dyn Store, root: &Path) {
    let path = |name: &str| root.join(name);
    let fails = |result: Result<()>, kind| assert_eq!(result.unwrap_err().kind(), kind);
    let list = |name: &str| {
        let entries = store.list(&path(name)).unwrap();
        let mut entries: Vec<_> = entries.into_iter().map(|entry| (entry.name, entry.is_dir)).collect();
        entries.sort();
        entries
    };

    fails(store.create_dir(&path("a/b")), ErrorKind::NotFound);
    store.create_dir(&path("a")).unwrap();
    fails(store.create_dir(&path("a")), ErrorKind::AlreadyExists);
    write(store, &path("a/one"), b"1").unwrap();
    write(store, &path("a/two"), b"").unwrap();
    fails(write(store, &path("a/one"), b"other"), ErrorKind::AlreadyExists);
    fails(write(store, &path("b/one"), b"1"), ErrorKind::NotFound);
    fails(read(store, &path("a/three")).map(drop), ErrorKind::NotFound);
    assert_eq!(read(store, &path("a/one")).unwrap(), b"1");
    store.create_dir(&path("a/sub")).unwrap();
    assert_eq!(list("a"), [("one".into(), false), ("sub".into(), true), ("two".into(), false)]);
    fails(store.list(&path("b")).map(drop), ErrorKind::NotFound);
    fails(store.list(&path("a/one")).map(drop), ErrorKind::NotADirectory);

    store.sync_dir(&path("a")).unwrap();
    fails(store.sync_dir(&path("b")), ErrorKind::NotFound);
    store.create_dir(&path("full")).unwrap();
    write(store, &path("full/file"), b"2").unwrap();
    fails(store.rename(&path("a"), &path("full")), ErrorKind::DirectoryNotEmpty);
    fails(store.rename(&path("b"), &path("c")), ErrorKind::NotFound);
    store.rename(&path("a"), &path("b")).unwrap();
    assert_eq!(list(""), [("b".into(), true), ("full".into(), true)]);
    store.rename(&path("full/file"), &path("b/one")).unwrap();
    assert_eq!((read(store, &path("b/one")).unwrap(), list("full")), (b"2".to_vec(), vec![]));

    fails(store.remove_dir(&path("b")), ErrorKind::DirectoryNotEmpty);
    fails(store.remove_file(&path("b/three")), ErrorKind::NotFound);
    fails(store.remove_dir(&path("c")), ErrorKind::NotFound);
    fails(store.remove_file(&path("b/sub")), ErrorKind::IsADirectory);
    store.remove_file(&path("b/one")).unwrap();
    store.remove_file(&path("b/two")).unwrap();
    store.remove_dir(&path("b/sub")).unwrap();
    store.remove_dir(&path("b")).unwrap();
    assert_eq!(list(""), [("full".into(), true)]);
}

#[test]
#[cfg(target_os = "linux")]
fn the_real_disk_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    check(&Disk, dir.path());
}

#[test]
fn the_simulated_disk_keeps_the_contract() {
    check(&SimDisk::new(), Path::new("/"));
}

#[test]
fn a_simulated_power_cut_takes_what_was_not_synced() {
    let disk = SimDisk::new();
    let path = Path::new("/file");
    write(&disk, path, b"durable").unwrap();
    assert!(disk.after_power_cut(0).open(path).is_err(), "its name was not synced");
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(read(&disk.after_power_cut(0), path).unwrap(), b"durable");
    let other = Path::new("/other");
    disk.create(other).unwrap().write_all(b"not durable").unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(read(&disk.after_power_cut(0), other).unwrap(), b"");
    assert_eq!(read(&disk.after_power_cut(1), other).unwrap(), b"not durable");
    let torn = (2..100).map(|seed| read(&disk.after_power_cut(seed), other).unwrap());
    assert!(torn.filter(|bytes| !b"not durable".starts_with(bytes)).count() > 5, "none was in pieces");
}
