//! A tracking server in memory, with the rules of MLflow's that the log rests on, or a proxy in front of MLflow itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use std::{mem, thread};

use serde_json::{Value, json};

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) uri: String,
    tracked: Arc<Mutex<Tracked>>,
}

/// The content of the server, and the way it answers.
#[derive(Default)]
pub(crate) struct Tracked {
    /// Names; the id is the place.
    pub(crate) experiments: Vec<String>,
    pub(crate) is_experiment_deleted: bool,
    pub(crate) runs: Vec<Tracking>,
    /// It reads requests, and closes the connection instead of an answer.
    pub(crate) is_away: bool,
    /// Every third answer is lost, after the request was carried out.
    pub(crate) loses_answers: bool,
    pub(crate) wants_password: bool,
    /// Answers are held back while it is set.
    pub(crate) holds_answers: bool,
    /// The time that each answer takes.
    pub(crate) delay: Duration,
    /// The time that the answer to the next upload takes longer.
    pub(crate) upload_delay: Duration,
    /// The store of files answers with this status.
    pub(crate) store_fails: Option<u16>,
    /// Metrics of this name are refused.
    pub(crate) refuses: Option<&'static str>,
    /// The calls that were answered.
    pub(crate) calls: Vec<String>,
    received: usize,
    /// The address of the server behind the proxy.
    upstream: Option<String>,
}

#[derive(Default)]
pub(crate) struct Tracking {
    pub(crate) name: String,
    pub(crate) statuses: Vec<String>,
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) tags: BTreeMap<String, String>,
    /// Key, step, value and time. One that is equal in all is the same point.
    pub(crate) points: BTreeSet<(String, u64, String, u64)>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) is_deleted: bool,
}

impl Server {
    pub(crate) fn start() -> Self {
        Server::with(Tracked::default())
    }

    /// A proxy in front of the server at `uri`.
    pub(crate) fn proxy(uri: &str) -> Self {
        let upstream = Some(uri.trim_start_matches("http://").to_owned());
        Server::with(Tracked { upstream, ..Tracked::default() })
    }

    fn with(tracked: Tracked) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let server = Server { uri, tracked: Arc::new(Mutex::new(tracked)) };
        let accepting = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let serving = accepting.clone();
                thread::spawn(move || serving.serve(&stream.unwrap()));
            }
        });
        server
    }

    pub(crate) fn tracked(&self) -> MutexGuard<'_, Tracked> {
        self.tracked.lock().unwrap()
    }

    /// Answers the requests of a connection. Returns `None` when it ends.
    fn serve(&self, stream: &TcpStream) -> Option<()> {
        let mut lines = BufReader::new(stream);
        loop {
            let (mut line, mut head) = (String::new(), Vec::new());
            while lines.read_line(&mut line).ok()? > 0 && line != "\r\n" {
                head.push(line.trim().to_owned());
                line.clear();
            }
            let fields = head.iter().map(|line| line.to_lowercase());
            let length = fields.filter_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).next();
            let mut body = vec![0; length.unwrap_or(0)];
            lines.read_exact(&mut body).ok()?;
            let (status, answer) = self.respond(&head, &body)?;
            let length = answer.len();
            write!(&mut &*stream, "HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n{answer}").ok()?;
        }
    }

    /// The status and the body of the answer; `None` if it is lost.
    fn respond(&self, head: &[String], body: &[u8]) -> Option<(u16, String)> {
        let request = head.first()?.to_lowercase();
        let (verb, address) = request.trim_end_matches(" http/1.1").split_once(' ')?;
        let mut tracked = self.tracked();
        tracked.received += 1;
        if tracked.is_away {
            return None;
        }
        let is_lost = tracked.loses_answers && tracked.received.is_multiple_of(3);
        let is_denied =
            tracked.wants_password && !head.iter().any(|field| field.eq_ignore_ascii_case(AUTHORIZED));
        let is_upload = address.contains("mlflow-artifacts");
        let store_fails = tracked.store_fails.filter(|_| is_upload);
        let more = if is_upload { mem::take(&mut tracked.upload_delay) } else { Duration::ZERO };
        let (delay, upstream) = (tracked.delay + more, tracked.upstream.clone());
        let answer = match (is_denied, store_fails, upstream) {
            (true, ..) => Ok((401, "You are not authenticated.".to_owned())),
            (_, Some(status), _) => Ok((status, "the store of files is full".to_owned())),
            (_, _, Some(upstream)) => Err(upstream),
            _ => Ok(match tracked.answer(verb, address, body) {
                Ok(answer) => (200, answer.to_string()),
                Err((status, code, message)) => {
                    (status, json!({"error_code": code, "message": message}).to_string())
                }
            }),
        };
        // Without the lock, the test goes on.
        drop(tracked);
        let answer = answer.unwrap_or_else(|upstream| forward(&upstream, head, body));
        thread::sleep(delay);
        while self.tracked().holds_answers {
            thread::sleep(Duration::from_millis(5));
        }
        let mut tracked = self.tracked();
        if is_lost || tracked.is_away {
            return None;
        }
        let call = address.trim_start_matches("/api/2.0/").split('?').next()?;
        tracked.calls.push(format!("{verb} {call}"));
        Some(answer)
    }
}

/// Makes a call of the server at `uri`, and returns its status.
pub(crate) fn post(uri: &str, call: &str, body: &Value) -> u16 {
    let (server, body) = (uri.trim_start_matches("http://"), body.to_string());
    let head = [
        format!("POST /api/2.0/mlflow/{call} HTTP/1.1"),
        format!("Host: {server}"),
        "Content-Type: application/json".to_owned(),
        format!("Content-Length: {}", body.len()),
    ];
    forward(server, &head, body.as_bytes()).0
}

/// Makes the request to `server`. Version 1.0 has neither chunks nor a second request.
fn forward(server: &str, head: &[String], body: &[u8]) -> (u16, String) {
    let request = head[0].trim_end_matches("1.1");
    let fields = head[1..].iter().filter(|field| !field.to_lowercase().starts_with("connection"));
    let fields: String = fields.map(|field| format!("{field}\r\n")).collect();
    let mut stream = TcpStream::connect(server).unwrap();
    stream.write_all(&[format!("{request}1.0\r\n{fields}\r\n").as_bytes(), body].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// `me:secret`, in lower case.
const AUTHORIZED: &str = "authorization: basic bwu6c2vjcmv0";

type Answer = Result<Value, (u16, &'static str, String)>;

impl Tracked {
    fn answer(&mut self, verb: &str, address: &str, body: &[u8]) -> Answer {
        let missing = || (404, "RESOURCE_DOES_NOT_EXIST", "there is no such thing".to_owned());
        let refused = |why: String| (400, "INVALID_PARAMETER_VALUE", why);
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        if let Some(path) = path.strip_prefix("/api/2.0/mlflow-artifacts/artifacts/7/") {
            let (run, path) = path.split_once("/artifacts/").unwrap();
            let run = &mut self.runs[run.trim_start_matches("run").parse::<usize>().unwrap()];
            run.files.insert(path.to_owned(), body.to_vec());
            return Ok(json!({}));
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let number_of = |id: &str| id.trim_start_matches("run").parse::<usize>().unwrap_or(usize::MAX);
        let call = path.trim_start_matches("/api/2.0/mlflow/");
        let (verb, call) = (verb, call);
        match (verb, call) {
            ("get", "experiments/get-by-name") => {
                let name = query.strip_prefix("experiment_name=").unwrap();
                let id = self.experiments.iter().position(|known| known == name).ok_or_else(missing)?;
                let stage = if self.is_experiment_deleted { "deleted" } else { "active" };
                Ok(json!({"experiment": {"experiment_id": id.to_string(), "lifecycle_stage": stage}}))
            }
            ("post", "experiments/create") => {
                self.experiments.push(text(&body["name"]));
                Ok(json!({"experiment_id": (self.experiments.len() - 1).to_string()}))
            }
            ("post", "runs/search") => {
                let filter = text(&body["filter"]);
                let key = filter.strip_prefix("tags.`regimen.run_key` = '").unwrap().trim_end_matches('\'');
                let is_it =
                    |run: &Tracking| run.tags.get("regimen.run_key").is_some_and(|known| known == key);
                let found = (0..self.runs.len()).filter(|n| is_it(&self.runs[*n]));
                Ok(json!({"runs": found.map(|n| self.shown(n)).collect::<Vec<_>>()}))
            }
            ("post", "runs/create") => {
                let mut run = Tracking { name: text(&body["run_name"]), ..Tracking::default() };
                run.statuses.push("RUNNING".to_owned());
                for tag in body["tags"].as_array().unwrap() {
                    run.tags.insert(text(&tag["key"]), text(&tag["value"]));
                }
                self.runs.push(run);
                Ok(json!({"run": self.shown(self.runs.len() - 1)}))
            }
            ("get", "runs/get") => {
                let number = number_of(query.strip_prefix("run_id=").unwrap());
                self.runs.get(number).ok_or_else(missing)?;
                Ok(json!({"run": self.shown(number)}))
            }
            ("post", "runs/update") => {
                let run = self.runs.get_mut(number_of(&text(&body["run_id"]))).ok_or_else(missing)?;
                if run.is_deleted {
                    return Err(refused("The run must be in the 'active' state.".to_owned()));
                }
                run.statuses.push(text(&body["status"]));
                assert_eq!(body["status"] != "RUNNING", body["end_time"].is_u64());
                Ok(json!({}))
            }
            ("post", "runs/log-batch") => {
                let refuses = self.refuses;
                let run = self.runs.get_mut(number_of(&text(&body["run_id"]))).ok_or_else(missing)?;
                let list = |kind: &str| body[kind].as_array().unwrap().clone();
                let (metrics, params, tags) = (list("metrics"), list("params"), list("tags"));
                assert!(metrics.len() + params.len() + tags.len() <= 1000, "a batch is too large");
                if run.is_deleted {
                    return Err(refused("The run must be in the 'active' state.".to_owned()));
                }
                for entry in [&metrics, &params, &tags].into_iter().flatten() {
                    let key = text(&entry["key"]);
                    if key.chars().count() > 250 {
                        return Err(refused(format!(
                            "'{key}' exceeds the maximum length of 250 characters."
                        )));
                    }
                }
                for param in &params {
                    let (key, value) = (text(&param["key"]), text(&param["value"]));
                    if run.params.get(&key).is_some_and(|known| *known != value) {
                        return Err(refused(format!("Changing param values is not allowed: {key}.")));
                    }
                }
                if metrics.iter().any(|metric| refuses.is_some_and(|name| metric["key"] == name)) {
                    return Err(refused("Invalid value for parameter 'key'.".to_owned()));
                }
                for metric in metrics {
                    let (step, time) =
                        (metric["step"].as_u64().unwrap(), metric["timestamp"].as_u64().unwrap());
                    let value =
                        metric["value"].as_str().map_or_else(|| metric["value"].to_string(), str::to_owned);
                    run.points.insert((text(&metric["key"]), step, value, time));
                }
                run.params.extend(params.iter().map(|param| (text(&param["key"]), text(&param["value"]))));
                run.tags.extend(tags.iter().map(|tag| (text(&tag["key"]), text(&tag["value"]))));
                Ok(json!({}))
            }
            other => panic!("an unknown call: {other:?}"),
        }
    }

    fn shown(&self, number: usize) -> Value {
        let run = &self.runs[number];
        let mut latest = BTreeMap::new();
        for (key, step, ..) in &run.points {
            latest.insert(key, json!({"key": key, "value": 0.0, "step": step}));
        }
        let tags: Vec<_> = run.tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
        json!({
            "info": {
                "run_id": format!("run{number}"),
                "artifact_uri": format!("mlflow-artifacts:/7/run{number}/artifacts"),
                "status": run.statuses.last(),
                "lifecycle_stage": if run.is_deleted { "deleted" } else { "active" },
            },
            "data": {"metrics": latest.into_values().collect::<Vec<_>>(), "tags": tags},
        })
    }
}

impl Tracking {
    /// Each point without its time.
    pub(crate) fn points(&self) -> Vec<String> {
        let mut points: Vec<_> = self.points.iter().collect();
        points.sort_by_key(|(key, step, ..)| (*step, key.clone()));
        points.iter().map(|(key, step, value, _)| format!("{step} {key} {value}")).collect()
    }
}
