//! The same on a server of S3 at `REGIMEN_S3`, such as `http://127.0.0.1:5000`. Without it these tests check nothing.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use regimen::checkpoint::{Checkpoints, Keep, Which, Writer};
use regimen::saved::{Array, StateDict};
use regimen_object_store::{ObjectStore, object_store};

use crate::common::*;

/// A client of the bucket `regimen`, which the server has.
fn client(url: &str) -> AmazonS3 {
    let builder = AmazonS3Builder::new().with_endpoint(url).with_allow_http(true).with_region("us-east-1");
    let builder =
        builder.with_access_key_id("test").with_secret_access_key("SECRET-KEY").with_bucket_name("regimen");
    builder.build().unwrap()
}

fn store(url: &str) -> Arc<ObjectStore> {
    let store = ObjectStore::over(client(url)).unwrap();
    Arc::new(store.part_bytes(5 << 20).sweep_after(Duration::ZERO))
}

/// The server, if there is one.
fn server() -> Option<String> {
    std::env::var("REGIMEN_S3").ok()
}

#[test]
fn server_keeps_what_was_saved_and_prunes() {
    let Some(url) = server() else { return };
    let dir = format!("runs/prunes-{}", std::process::id());
    let store = store(&url);
    let mut writer = Writer::open_on(store.clone(), &dir, RUN).unwrap();
    for step in 1..=4 {
        writer.save(&snapshot(step, step)).unwrap();
        assert!(writer.prune(&Keep::all().last(2)).failures.is_empty());
        assert!(writer.sweep().failures.is_empty());
    }
    let found = Checkpoints::on(store.clone(), &dir).load(Which::Latest).unwrap().unwrap();
    assert_eq!((found.checkpoint.manifest().step, found.content), (4, parts(4)));
    let listing = Checkpoints::on(store, &dir).list().unwrap();
    assert_eq!((listing.checkpoints.len(), listing.skipped.len()), (2, 0));
}

#[test]
fn server_takes_large_files_in_parts() {
    let Some(url) = server() else { return };
    let dir = format!("runs/parts-{}", std::process::id());
    let store = store(&url);
    let mut module = StateDict::new();
    let numbers: Vec<f64> = (0..2_500_000).map(f64::from).collect();
    module.insert("weight", Array::from_slice(&numbers)).unwrap();
    let mut large = snapshot(1, 1);
    large.parts.insert("module".to_owned(), module);
    Writer::open_on(store.clone(), &dir, RUN).unwrap().save(&large).unwrap();
    let found = Checkpoints::on(store, &dir).load(Which::Latest).unwrap().unwrap();
    assert!(found.content == large.parts);
}

#[test]
fn server_refuses_a_second_writer_and_a_second_commit() {
    let Some(url) = server() else { return };
    let dir = format!("runs/writers-{}", std::process::id());
    let quick = || ObjectStore::over(client(&url)).unwrap().lease(Duration::from_secs(2));
    let first = Writer::open_on(Arc::new(quick()), &dir, RUN).unwrap();
    let error = Writer::open_on(Arc::new(quick()), &dir, RUN).unwrap_err().to_string();
    assert!(error.contains("a run directory has one writer at a time"), "{error}");
    drop(first);
    Writer::open_on(Arc::new(quick()), &dir, RUN).unwrap();
    // Two that both believe that they are alone.
    let one = quick();
    use regimen::checkpoint::Store as _;
    let path = |name: &str| std::path::Path::new(&dir).join(name);
    let other = quick();
    for store in [&one, &other] {
        store.create_dir(&path(".tmp-a")).unwrap();
        store.create(&path(".tmp-a/file")).unwrap().sync().unwrap();
    }
    one.rename(&path(".tmp-a"), &path("a")).unwrap();
    let error = other.rename(&path(".tmp-a"), &path("a")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::DirectoryNotEmpty);
}

#[test]
fn an_error_has_no_credentials_in_it() {
    // Nobody listens there.
    let store = ObjectStore::over(client("http://127.0.0.1:9")).unwrap().tries(1, Duration::ZERO);
    let shown = format!("{store:?}");
    let error = regimen::checkpoint::Store::list(&store, "runs".as_ref()).unwrap_err();
    for text in [shown, error.to_string(), format!("{error:?}")] {
        assert!(!text.contains("SECRET-KEY"), "{text}");
    }
    let error = ObjectStore::open("https://me:SECRET-KEY@example.org/runs").unwrap_err().to_string();
    let expected = "the URL of `example.org` has credentials or a query in it; give credentials by the variables of the store";
    assert_eq!(error, expected);
}
