//! The same on a server of S3 that has the bucket `regimen`, makes others, and takes parts of any size. Its tests run if
//! `REGIMEN_S3` is set, and find it by the variables of `ObjectStore::open`. Otherwise they check nothing.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use regimen::checkpoint::{Checkpoints, Keep, Which, Writer};
use regimen::saved::{Array, StateDict};
use regimen_object_store::{ObjectStore, object_store};

use crate::common::*;
use crate::damage::damage_often;
use crate::failures::{fail_for_good, fail_once};
use crate::kills::kill_often;
use crate::lock::TAKEN;
use crate::place::Place;

fn client(url: &str) -> AmazonS3 {
    // As `ObjectStore::open` does.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = AmazonS3Builder::new().with_endpoint(url).with_allow_http(true).with_region("us-east-1");
    let builder =
        builder.with_access_key_id("test").with_secret_access_key("SECRET-KEY").with_bucket_name("regimen");
    builder.build().unwrap()
}

/// The bucket of the server, if there is one.
fn server() -> Option<ObjectStore> {
    std::env::var_os("REGIMEN_S3")?;
    let store = ObjectStore::open("s3://regimen").unwrap();
    Some(store.part_bytes(5 << 20).sweep_after(Duration::ZERO))
}

/// A new bucket on the server, if there is one.
fn bucket(name: &str) -> Option<Place> {
    std::env::var_os("REGIMEN_S3")?;
    let url = std::env::var("AWS_ENDPOINT_URL").unwrap();
    let (host, name) = (url.trim_start_matches("http://"), format!("{name}-{}", std::process::id()));
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "PUT /{name} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // As `ObjectStore::open` does.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Some(Place::Bucket(name))
}

#[test]
fn server_loses_no_acknowledged_save_by_a_kill() {
    let Some(bucket) = bucket("kills") else { return };
    kill_often(&bucket, cases("REGIMEN_SERVER_KILLS", 20));
}

#[test]
fn server_calls_that_fail_break_no_save() {
    let Some(bucket) = bucket("failures") else { return };
    let place = || {
        bucket.clear();
        bucket.clone()
    };
    let every = cases("REGIMEN_SERVER_FAILS", 40) as usize;
    fail_once(place, every);
    fail_for_good(place, every);
}

#[test]
fn server_objects_that_are_damaged_are_refused() {
    let Some(bucket) = bucket("damage") else { return };
    damage_often(&bucket, cases("REGIMEN_SERVER_DAMAGES", 50));
}

#[test]
fn server_keeps_what_was_saved_and_prunes() {
    let Some(store) = server().map(Arc::new) else { return };
    let dir = format!("runs/prunes-{}", std::process::id());
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
    let Some(store) = server().map(Arc::new) else { return };
    let dir = format!("runs/parts-{}", std::process::id());
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
    if server().is_none() {
        return;
    }
    let dir = format!("runs/writers-{}", std::process::id());
    let quick = || server().unwrap().lease(Duration::from_secs(2));
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
fn server_lets_a_writer_that_was_taken_over_commit_and_remove_nothing_more() {
    if server().is_none() {
        return;
    }
    let dir = format!("runs/taken-{}", std::process::id());
    // It renews its lock once an hour, and at each commit.
    let slow = || server().unwrap().lease(Duration::from_secs(3 * 60 * 60));
    let mut first = Writer::open_on(Arc::new(slow()), &dir, RUN).unwrap();
    first.save(&snapshot(1, 1)).unwrap();
    first.save(&snapshot(2, 2)).unwrap();
    let store = Arc::new(slow().take_over());
    let mut second = Writer::open_on(store.clone(), &dir, RUN).unwrap();
    let failures = first.prune(&Keep::all().last(1)).failures;
    assert!(failures[0].to_string().ends_with(TAKEN), "{failures:?}");
    let error = first.save(&snapshot(3, 3)).unwrap_err().to_string();
    assert!(error.ends_with(TAKEN), "{error}");
    drop(first);
    second.save(&snapshot(4, 4)).unwrap();
    let listing = Checkpoints::on(store, &dir).list().unwrap();
    let steps: Vec<u64> = listing.checkpoints.iter().map(|found| found.manifest().step).collect();
    assert_eq!(steps, [4, 2, 1]);
}

#[test]
fn an_answer_that_has_credentials_in_it_is_not_shown() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://me:SECRET-KEY@{}", server.local_addr().unwrap());
    std::thread::spawn(move || {
        // As S3 refuses a session.
        let text = "<?xml version=\"1.0\"?>\n<Error><Code>InvalidToken</Code><Message>The token is not valid.</Message>\
                    <Token-0>SESSION-TOKEN</Token-0><AWSAccessKeyId>test</AWSAccessKeyId></Error>";
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(
                stream,
                "HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                text.len()
            );
        }
    });
    let store = ObjectStore::over(client(&url)).unwrap().tries(1, Duration::ZERO);
    let error = regimen::checkpoint::Store::list(&store, "runs".as_ref()).unwrap_err();
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(text.contains("InvalidToken: The token is not valid."), "{text}");
        assert!(
            !["SECRET-KEY", "SESSION-TOKEN", "AccessKey"].iter().any(|word| text.contains(word)),
            "{text}"
        );
    }
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
    let expected = "the URL has `@`, `?` or `#` in it, as one with credentials; give credentials by the variables of \
                    the store, and write `%40` for an `@` in a prefix";
    let urls = ["https://me:SECRET-KEY@example.org/runs", "s3://AKIA:SECRET-KEY/def@bucket/runs"];
    for url in
        urls.into_iter().chain(["s3://AKIA:/SECRET-KEY@bucket/runs", "https://example.org/?SECRET-KEY"])
    {
        assert_eq!(ObjectStore::open(url).unwrap_err().to_string(), expected, "{url}");
    }
    let error = ObjectStore::open("s3://AKIA:SECRET-KEY/runs").unwrap_err().to_string();
    assert_eq!(error, "the URL of the store: invalid port number; it is not like `s3://bucket/prefix`");
}
