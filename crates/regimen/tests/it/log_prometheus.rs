//! The endpoint for Prometheus: its text, read by a second reader, and clients that misbehave.
#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests fail and report as tests do"
)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use regimen::callback::Every;
use regimen::log::MetricLog;
use regimen::metric::Key;
use regimen::run::Train;
use regimen::unit::{EvalUnit, TrainUnit};
use regimen::{BoxError, Fit, Run, State};

/// Logs its batch, and a name that must be escaped.
struct Unit;

const ODD: &str = "a \"b\" \\ c\nd \u{e9},}=";

impl TrainUnit for Unit {
    type Batch = f64;
    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(Key::mean("loss"), batch, 1.0);
        state.log(Key::named(ODD, regimen::metric::Reduction::Last), 1e300, 1.0);
        Ok(())
    }
}

impl EvalUnit for Unit {
    type Batch = f64;
    fn eval_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(Key::mean("loss"), batch, 1.0);
        Ok(())
    }
}

/// Fits with a log at a free port, and calls `then` with its address while it is served.
fn served(then: impl FnOnce(&str)) {
    let mut unit = Unit;
    let log = MetricLog::prometheus("127.0.0.1:0").every(Every::steps(1).or(Every::epochs(1)));
    let mut run = Run::new(&mut unit).callback(log);
    let report = run.fit(&[1.0, f64::INFINITY], &[f64::NAN], Fit::epochs(2)).unwrap();
    let [notice] = &report.notices[..] else { panic!("{:?}", report.notices) };
    let address = notice.strip_prefix("metrics are served at http://").unwrap();
    then(address.strip_suffix("/metrics").unwrap());
}

/// The whole answer to `request`, empty if the connection was reset.
fn asked(address: &str, request: &[u8]) -> String {
    let mut client = TcpStream::connect(address).unwrap();
    let mut answer = Vec::new();
    // Some are not read to their end.
    let _ = client.write_all(request).and_then(|()| client.read_to_end(&mut answer));
    String::from_utf8(answer).unwrap()
}

fn scraped(address: &str) -> String {
    let answer = asked(address, b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let length = body.len();
    assert_eq!(
        head,
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
             Content-Length: {length}\r\nConnection: close"
        )
    );
    body.to_owned()
}

const TEXT: &str = r#"# HELP regimen_metric Newest value of a metric.
# TYPE regimen_metric gauge
regimen_metric{name="a \"b\" \\ c\nd e,}=",phase="train",over="step"} 1e300
regimen_metric{name="a \"b\" \\ c\nd e,}=",phase="train",over="epoch"} 1e300
regimen_metric{name="loss",phase="train",over="step"} +Inf
regimen_metric{name="loss",phase="train",over="epoch"} +Inf
regimen_metric{name="loss",phase="eval",over="epoch"} NaN
# HELP regimen_steps_total Completed steps.
# TYPE regimen_steps_total counter
regimen_steps_total{phase="train"} 4
# HELP regimen_epochs_total Completed epochs.
# TYPE regimen_epochs_total counter
regimen_epochs_total{phase="train"} 2
regimen_epochs_total{phase="eval"} 2
"#;

#[test]
fn the_newest_values_are_served_as_text() {
    served(|address| {
        assert_eq!(scraped(address), TEXT.replace("d e,", "d \u{e9},"));
        assert_eq!(scraped(address), scraped(address));
    });
}

type Sample = (String, BTreeMap<String, String>, f64);

/// The samples of a text, read by the grammar of version 0.0.4. Each family must have a type, before its first
/// sample.
fn parsed(text: &str) -> Vec<Sample> {
    assert!(text.ends_with('\n'));
    let (mut samples, mut types) = (Vec::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<&str> = comment.splitn(3, ' ').collect();
            let [kind, family, rest] = words[..] else { panic!("{line}") };
            match kind {
                "HELP" => assert!(!rest.is_empty()),
                "TYPE" => assert!(types.insert(family, rest).is_none(), "{line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        assert!(types.contains_key(name), "{line}");
        let mut chars = rest.chars().peekable();
        let mut labels = BTreeMap::new();
        if chars.next_if_eq(&'{').is_some() {
            while chars.next_if_eq(&'}').is_none() {
                let mut label = String::new();
                while let Some(char) = chars.next_if(|char| char.is_ascii_alphanumeric() || *char == '_') {
                    label.push(char);
                }
                assert_eq!((chars.next(), chars.next()), (Some('='), Some('"')));
                let mut value = String::new();
                loop {
                    match chars.next().unwrap() {
                        '"' => break,
                        '\\' => value.push(match chars.next().unwrap() {
                            'n' => '\n',
                            char @ ('\\' | '"') => char,
                            other => panic!("\\{other}"),
                        }),
                        char => value.push(char),
                    }
                }
                assert!(labels.insert(label, value).is_none());
                chars.next_if_eq(&',');
            }
        }
        assert_eq!(chars.next(), Some(' '));
        let value: String = chars.collect();
        samples.push((name.to_owned(), labels, value.parse().unwrap()));
    }
    samples
}

#[test]
fn a_second_reader_finds_each_value_under_its_labels() {
    served(|address| {
        let samples = parsed(&scraped(address));
        let value = |family: &str, labels: &[(&str, &str)]| -> Vec<String> {
            let labels = labels.iter().map(|(name, value)| (name.to_string(), value.to_string()));
            let labels: BTreeMap<_, _> = labels.collect();
            let found = samples.iter().filter(|(name, found, _)| name == family && *found == labels);
            found.map(|(_, _, value)| value.to_string()).collect()
        };
        let metric =
            |name, phase, over| value("regimen_metric", &[("name", name), ("phase", phase), ("over", over)]);
        assert_eq!(metric(ODD, "train", "step"), [format!("{}", 1e300)]);
        assert_eq!(metric("loss", "train", "step"), ["inf"]);
        assert_eq!(metric("loss", "eval", "epoch"), ["NaN"]);
        assert_eq!(value("regimen_steps_total", &[("phase", "train")]), ["4"]);
        assert_eq!(value("regimen_epochs_total", &[("phase", "eval")]), ["2"]);
        assert_eq!(samples.len(), 8);
    });
}

/// Prints the samples that the official parser finds, if there is a Python with it.
const PYTHON: &str = "
import sys
from prometheus_client.parser import text_string_to_metric_families as families
text = sys.stdin.buffer.read().decode()
for family in families(text):
    for sample in family.samples:
        print(family.type, sample.name, sorted(sample.labels.items()), float(sample.value))
";

#[test]
fn real_prometheus_client_reads_the_text() {
    let Ok(python) = std::env::var("REGIMEN_LOGS_PYTHON") else {
        println!("NOT RUN: REGIMEN_LOGS_PYTHON names no Python with prometheus_client");
        return;
    };
    served(|address| {
        let mut child = Command::new(python)
            .args(["-c", PYTHON])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(scraped(address).as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let told = String::from_utf8(output.stdout).unwrap();
        let odd = "[('name', 'a \"b\" \\\\ c\\nd \u{e9},}='), ('over', 'OVER'), ('phase', 'train')]";
        let expected = format!(
            "gauge regimen_metric {} 1e+300\n\
             gauge regimen_metric {} 1e+300\n\
             gauge regimen_metric [('name', 'loss'), ('over', 'step'), ('phase', 'train')] inf\n\
             gauge regimen_metric [('name', 'loss'), ('over', 'epoch'), ('phase', 'train')] inf\n\
             gauge regimen_metric [('name', 'loss'), ('over', 'epoch'), ('phase', 'eval')] nan\n\
             counter regimen_steps_total [('phase', 'train')] 4.0\n\
             counter regimen_epochs_total [('phase', 'train')] 2.0\n\
             counter regimen_epochs_total [('phase', 'eval')] 2.0\n",
            odd.replace("OVER", "step"),
            odd.replace("OVER", "epoch"),
        );
        assert_eq!(told, expected);
    });
}

#[test]
fn a_bad_request_is_answered_and_the_next_client_is_served() {
    served(|address| {
        let check = |request: &[u8], expected: &str| {
            let answer = asked(address, request);
            assert_eq!(answer.lines().next(), Some(expected), "{request:?}");
            assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        };
        check(b"GET /metrics?name=loss HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK");
        check(b"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found");
        check(b"POST /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405 Method Not Allowed");
        for bad in
            [&b"\r\n\r\n"[..], b"GET /metrics\r\n\r\n", b"GET /metrics TLS\r\n\r\n", b"\xff\x00\r\n\r\n"]
        {
            check(bad, "HTTP/1.1 400 Bad Request");
        }
        // It ends before the request does.
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        check(&[b'x'; 8 * 1024], "HTTP/1.1 431 Request Header Fields Too Large");
        // It may be reset while it still writes.
        let huge = asked(address, &vec![b'x'; 1 << 22]);
        assert!(huge.is_empty() || huge.starts_with("HTTP/1.1 431 "), "{huge}");
        assert!(!scraped(address).is_empty());
    });
}

/// Trains for `steps`; returns the notices.
fn train(run: &mut Run<'_, Unit>, steps: u64) -> Vec<String> {
    run.train(&[1.0; 9], Train::steps(steps)).unwrap().notices
}

#[test]
fn a_client_that_says_nothing_stops_neither_the_training_nor_the_next_client() {
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(MetricLog::prometheus("127.0.0.1:0").every(Every::steps(1)));
    let notice = train(&mut run, 1).remove(0);
    let address = notice.strip_prefix("metrics are served at http://").unwrap();
    let address = address.strip_suffix("/metrics").unwrap();
    let silent = TcpStream::connect(address).unwrap();
    assert_eq!(train(&mut run, 3), [""; 0]);
    assert!(scraped(address).contains("regimen_steps_total{phase=\"train\"} 3\n"));
    drop(silent);
    // One is still being waited for when the log is dropped.
    let _silent = TcpStream::connect(address).unwrap();
    drop(run);
}

#[test]
fn the_endpoint_is_open_from_the_first_call_until_the_log_is_dropped() {
    let mut closed = String::new();
    served(|address| address.clone_into(&mut closed));
    assert_eq!(TcpStream::connect(&closed).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    // It was free for another.
    drop(TcpListener::bind(&closed).unwrap());
}

#[test]
fn a_taken_port_is_a_notice_until_it_is_free_and_no_port_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(MetricLog::prometheus(&address).every(Every::steps(1)));
    let notices = run.fit(&[1.0], &[1.0], Fit::steps(1)).unwrap().notices;
    let [notice] = &notices[..] else { panic!("{notices:?}") };
    assert!(notice.starts_with(&format!("metrics are not served at {address}: ")), "{notice}");
    assert!(notice.ends_with("; give another port"), "{notice}");
    drop(taken);
    let served = format!("metrics are served at http://{address}/metrics");
    assert_eq!(
        train(&mut run, 2),
        ["an epoch of the train data has 9 batches now, and had 1 before", &*served]
    );
    assert!(scraped(&address).contains("regimen_steps_total{phase=\"train\"} 2\n"));

    let mut unit = Unit;
    let log = MetricLog::prometheus("127.0.0.1");
    let error = Run::new(&mut unit).callback(log).train(&[1.0], Train::steps(1)).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "callback MetricLog(prometheus) failed at train start in train at epoch 0 step 0: `127.0.0.1` is no \
         address: invalid socket address; give a host and a port"
    );
}
