//! Files on a web server, which are read in ranges.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use regimen::checkpoint::{Checkpoint, Writer};
use regimen_object_store::{ObjectStore, RemoteFile};

use crate::common::*;
use crate::flaky::{Fault, Flaky};
use crate::place::Place;

/// The URL of a web server that has the objects of `place`.
fn serve(place: Place) -> String {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    std::thread::spawn(move || server.incoming().for_each(|stream| answer(&place, &stream.unwrap())));
    url
}

/// Answers one request. A client that has gone away is left alone.
fn answer(place: &Place, mut stream: &TcpStream) {
    let lines: Vec<String> =
        BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let Some((method, path)) = lines.first().and_then(|line| line.split_once(' ')) else { return };
    let key = path.split(' ').next().unwrap().trim_start_matches('/').into();
    if !place.keys().contains(&key) {
        let _ = write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    }
    let all = place.get(&key);
    let range = lines.iter().find_map(|line| {
        let line = line.to_lowercase();
        let (start, end) = line.strip_prefix("range: bytes=")?.split_once('-')?;
        Some((start.parse::<usize>().ok()?, end.parse::<usize>().ok()?.min(all.len() - 1)))
    });
    let (status, start, end) = match range {
        Some((start, end)) => ("206 Partial Content", start, end + 1),
        None => ("200 OK", 0, all.len()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{}\r\nETag: \"1\"\r\n\
         Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: close\r\n\r\n",
        end - start,
        end.max(1) - 1,
        all.len()
    );
    let body = if method == "HEAD" { &[] } else { &all[start..end] };
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
}

#[test]
fn a_web_server_has_data_and_checkpoints_to_read() {
    let (place, cache) = (Place::default(), tempfile::tempdir().unwrap());
    let memory = Arc::new(Flaky::new(&place, Fault::None).store(1));
    Writer::open_on(memory, DIR, RUN).unwrap().save(&snapshot(5, 5)).unwrap();
    let data: Vec<u8> = (0..(4 << 20) + 100).map(|i: u32| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect();
    place.put(&"data/tokens.bin".into(), data.clone());
    let url = serve(place);

    let file = RemoteFile::open(&ObjectStore::open(&url).unwrap(), "data/tokens.bin", cache.path()).unwrap();
    assert_eq!(file.length(), data.len() as u64);
    let at = (4 << 20) - 7;
    assert_eq!(file.read_at(at as u64, 20).unwrap(), data[at..at + 20]);

    let (store, path) = ObjectStore::locate(&format!("{url}{DIR}/step-000000005")).unwrap();
    let checkpoint = Checkpoint::open_on(Arc::new(store.clone()), path).unwrap();
    assert_eq!(checkpoint.read_all().unwrap(), parts(5));
    let error = Writer::open_on(Arc::new(store), DIR, RUN).unwrap_err().to_string();
    assert!(error.starts_with("cannot lock `/runs/digits`: "), "{error}");
}
