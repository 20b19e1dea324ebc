//! The run on the tracking server.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Client, Failure};
use super::entry::{self, Entry};

/// A run on the tracking server, as it was when this process began to log to it.
#[derive(Clone, Debug)]
pub(super) struct TrackedRun {
    pub(super) id: String,
    /// The folder of its files in the server's own store; `None` if they are in another one.
    pub(super) files: Option<String>,
    /// The newest step of each metric.
    pub(super) latest: BTreeMap<String, u64>,
    /// Whether it is the run of the checkpoint, whose steps after the checkpoint are repeated.
    pub(super) is_resumed: bool,
}

/// The run to go on with, or to create.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) run_id: Option<String>,
    /// The id in the checkpoint, empty if the server had not given it one; `None` if no checkpoint was restored.
    pub(super) restored: Option<String>,
    /// A tag of the run that this log creates. It is found by that if the answer to its creation was lost.
    pub(super) run_key: String,
    pub(super) experiment: Experiment,
    pub(super) run_name: Option<String>,
    /// A pass by hand leaves the status as it is, and a new run as finished.
    pub(super) is_training: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Experiment {
    Id(String),
    /// Created if it does not exist.
    Name(String),
}

const RUN_KEY: &str = "regimen.run_key";

impl TrackedRun {
    pub(super) fn begin(client: &Client, start: &Start, now: u64) -> Result<Self, Failure> {
        let (run, is_new) = match &start.run_id {
            Some(id) => (existing(client, id)?, false),
            None => {
                let experiment = start.experiment.id(client)?;
                let filter = format!("tags.`{RUN_KEY}` = '{}'", start.run_key);
                let search = json!({"experiment_ids": [&experiment], "filter": filter, "max_results": 1});
                match &client.post("runs/search", &search)?["runs"][0] {
                    Value::Null => (create(client, start, &experiment, now)?, true),
                    run => (run.clone(), false),
                }
            }
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let id = text(&run["info"]["run_id"]);
        if id.is_empty() {
            return Err(Failure::refused(
                "the answer about the run has no id; is it an MLflow server?".into(),
            ));
        }
        match (is_new, start.is_training) {
            (false, true) if run["info"]["status"] != "RUNNING" => update(client, &id, "RUNNING", None)?,
            (true, false) => update(client, &id, "FINISHED", Some(now))?,
            _ => {}
        }
        let files = text(&run["info"]["artifact_uri"]);
        let files =
            files.strip_prefix("mlflow-artifacts:").map(|path| path.trim_start_matches('/').to_owned());
        let latest = run["data"]["metrics"].as_array().into_iter().flatten();
        let latest = latest.map(|point| (text(&point["key"]), point["step"].as_u64().unwrap_or(0))).collect();
        let mut tags = run["data"]["tags"].as_array().into_iter().flatten();
        let has_key = tags.any(|tag| tag["key"] == RUN_KEY && tag["value"] == *start.run_key);
        let is_resumed = start.restored.as_ref().is_some_and(|restored| *restored == id || has_key);
        Ok(TrackedRun { id, files, latest, is_resumed })
    }

    /// Whether the entry is a value that is logged again after a resume. The server has it, or gets it from the spool
    /// file of an earlier process. The new time would make it a second point.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        // A pass by hand repeats no step of a training: its value is another one.
        let Entry::Metric { key, step, by_hand: false, .. } = entry else { return false };
        self.is_resumed && self.latest.get(key).is_some_and(|latest| step <= latest)
    }

    /// Returns an error if the server is away, or if the run is gone.
    pub(super) fn check(&self, client: &Client) -> Result<(), Failure> {
        existing(client, &self.id).map(drop)
    }

    /// Sends the entries. Those that the server refuses go to `refused` with its reason, and the others are sent
    /// without them.
    pub(super) fn log(
        &self,
        client: &Client,
        entries: &[Entry],
        refused: &mut Vec<(Entry, String)>,
    ) -> Result<(), Failure> {
        if entries.is_empty() {
            return Ok(());
        }
        match client.post("runs/log-batch", &entry::body(&self.id, entries)) {
            Err(failure) if failure.is_refusal() => {
                self.check(client)?;
                if let [one] = entries {
                    refused.push((one.clone(), failure.to_string()));
                    return Ok(());
                }
                // The server takes all of a batch or nothing.
                let (first, second) = entries.split_at(entries.len() / 2);
                self.log(client, first, refused)?;
                self.log(client, second, refused)
            }
            sent => sent.map(drop),
        }
    }
}

/// Sets the status, with the time of the end.
pub(super) fn update(client: &Client, id: &str, status: &str, end: Option<u64>) -> Result<(), Failure> {
    client.post("runs/update", &json!({"run_id": id, "status": status, "end_time": end})).map(drop)
}

/// Calls up to three times while the server is away.
pub(super) fn patiently<T>(mut call: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    for pause in [250, 500] {
        match call() {
            Err(failure) if failure.is_away() => std::thread::sleep(Duration::from_millis(pause)),
            result => return result,
        }
    }
    call()
}

/// The run with this id. One that is deleted is refused.
fn existing(client: &Client, id: &str) -> Result<Value, Failure> {
    let gone = |how: &str| {
        Failure::refused(format!(
            "the MLflow run {id} {how}; restore it with `mlflow runs restore --run-id {id}`, or log to another run, \
             by `run_id` or MLFLOW_RUN_ID"
        ))
    };
    match client.get("runs/get", &[("run_id", id)]) {
        Err(failure) if failure.code == "RESOURCE_DOES_NOT_EXIST" => Err(gone("does not exist")),
        Ok(found) if found["run"]["info"]["lifecycle_stage"] == "deleted" => Err(gone("is deleted")),
        found => found.map(|found| found["run"].clone()),
    }
}

fn create(client: &Client, start: &Start, experiment: &str, now: u64) -> Result<Value, Failure> {
    let tags = [json!({"key": RUN_KEY, "value": start.run_key})];
    let body =
        json!({"experiment_id": experiment, "run_name": start.run_name, "start_time": now, "tags": tags});
    client.post("runs/create", &body).map(|made| made["run"].clone())
}

impl Experiment {
    fn id(&self, client: &Client) -> Result<String, Failure> {
        let name = match self {
            Experiment::Id(id) => return Ok(id.clone()),
            Experiment::Name(name) => name,
        };
        let find = || client.get("experiments/get-by-name", &[("experiment_name", name)]);
        let found = match find() {
            Err(failure) if failure.code == "RESOURCE_DOES_NOT_EXIST" => {
                match client.post("experiments/create", &json!({"name": name})) {
                    // Another process was faster.
                    Err(failure) if failure.code == "RESOURCE_ALREADY_EXISTS" => find()?,
                    made => json!({"experiment": made?}),
                }
            }
            found => found?,
        };
        let experiment = &found["experiment"];
        let id = experiment["experiment_id"].as_str().unwrap_or_default();
        if experiment["lifecycle_stage"] == "deleted" {
            return Err(Failure::refused(format!(
                "the MLflow experiment `{name}` is deleted; restore it with `mlflow experiments restore \
                 --experiment-id {id}`, or choose another name"
            )));
        }
        Ok(id.to_owned())
    }
}
