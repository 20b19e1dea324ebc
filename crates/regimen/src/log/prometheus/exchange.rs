//! A request over HTTP, and its answer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The time between two looks at whether the endpoint is closed.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// The time a client has for its request and the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most bytes of a request that are read.
const MOST_BYTES: usize = 8 * 1024;

/// Reads a request from `client`, and answers with the text of `metrics` if that is asked for. An error if
/// the client is too slow, or gone, or the endpoint closed.
pub(super) fn exchange(
    mut client: TcpStream,
    is_closed: impl Fn() -> bool,
    metrics: impl FnOnce() -> String,
) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(LOOK))?;
    client.set_write_timeout(Some(LOOK))?;
    let again = || !is_closed() && Instant::now() < end;
    let mut request = [0; MOST_BYTES];
    let mut read = 0;
    while !request[..read].windows(4).any(|end| end == b"\r\n\r\n") && read < MOST_BYTES {
        match waited(again, || client.read(&mut request[read..]))? {
            0 => break,
            more => read += more,
        }
    }
    let (status, body) = answer(&request[..read], metrics);
    let (length, kind) = (body.len(), "text/plain; version=0.0.4; charset=utf-8");
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let answer = head + &body;
    let mut rest = answer.as_bytes();
    while !rest.is_empty() {
        let written = waited(again, || client.write(rest))?;
        rest = rest.get(written..).filter(|_| written > 0).ok_or(ErrorKind::WriteZero)?;
    }
    Ok(())
}

/// The status and the body of the answer to `request`.
fn answer(request: &[u8], metrics: impl FnOnce() -> String) -> (&'static str, String) {
    let text = |text: &str| text.to_owned() + "\n";
    if !request.windows(4).any(|end| end == b"\r\n\r\n") {
        return match request.len() {
            MOST_BYTES => ("431 Request Header Fields Too Large", text("the request is too long")),
            _ => ("400 Bad Request", text("the request is incomplete")),
        };
    }
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else { return ("400 Bad Request", text("no request")) };
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    match (version.starts_with(b"HTTP/1."), method, path) {
        (false, ..) => ("400 Bad Request", text("give HTTP/1.1")),
        (_, b"GET", b"/metrics") => ("200 OK", metrics()),
        (_, b"GET", _) => ("404 Not Found", text("see /metrics")),
        _ => ("405 Method Not Allowed", text("only GET is answered")),
    }
}

/// Repeats what a timeout ends, as long as `again` is true.
fn waited(again: impl Fn() -> bool, mut f: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        if !again() {
            return Err(ErrorKind::TimedOut.into());
        }
        match f() {
            Err(cause)
                if matches!(
                    cause.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            result => return result,
        }
    }
}
