//! The entries of a run: points of metrics, parameters and tags.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One entry: a part of a batch, and a line of the spool file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Entry {
    /// `timestamp` is in milliseconds since 1970. A point that is sent twice is one point, because it is the
    /// same. One of a pass by hand is no step of a training that is repeated after a resume.
    Metric {
        key: String,
        value: Value,
        timestamp: u64,
        step: u64,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        by_hand: bool,
    },
    /// Set once: another value is refused.
    Param { key: String, value: String },
    /// A new value replaces the old one.
    Tag { key: String, value: String },
}

impl Entry {
    pub(super) fn metric(key: String, value: f64, timestamp: u64, step: u64, by_hand: bool) -> Self {
        let value = match value {
            value if value.is_nan() => json!("NaN"),
            f64::INFINITY => json!("Infinity"),
            f64::NEG_INFINITY => json!("-Infinity"),
            finite => json!(finite),
        };
        Entry::Metric { key, value, timestamp, step, by_hand }
    }

    pub(super) fn tag(key: &str, value: impl Into<String>) -> Self {
        Entry::Tag { key: key.to_owned(), value: value.into() }
    }

    /// The kind and the key: `metric loss`.
    pub(super) fn title(&self) -> String {
        match self {
            Entry::Metric { key, .. } => format!("metric {key}"),
            Entry::Param { key, .. } => format!("parameter {key}"),
            Entry::Tag { key, .. } => format!("tag {key}"),
        }
    }
}

/// The number of entries of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) values: u64,
    pub(super) params: u64,
    pub(super) tags: u64,
}

impl Tally {
    pub(super) fn add(&mut self, entry: &Entry) {
        match entry {
            Entry::Metric { .. } => self.values += 1,
            Entry::Param { .. } => self.params += 1,
            Entry::Tag { .. } => self.tags += 1,
        }
    }
}

/// Entries for one request: at most 1000, and at most 100 titles. A server refuses more parameters or tags, and older
/// ones fail to recognize a repeated request with more metrics.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    titles: BTreeSet<String>,
}

/// The most entries in a request.
pub(super) const MOST: usize = 1000;

impl Batch {
    /// Adds the entry. Returns `false` if the batch is full.
    pub(super) fn add(&mut self, entry: Entry) -> bool {
        let title = entry.title();
        let has_room = self.entries.len() < MOST && (self.titles.len() < 100 || self.titles.contains(&title));
        if has_room {
            self.titles.insert(title);
            self.entries.push(entry);
        }
        has_room
    }
}

/// The body of `runs/log-batch`.
pub(super) fn body(run_id: &str, entries: &[Entry]) -> Value {
    let (mut metrics, mut params, mut tags) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Entry::Metric { key, value, timestamp, step, .. } => {
                metrics.push(json!({"key": key, "value": value, "timestamp": timestamp, "step": step}));
            }
            Entry::Param { key, value } => params.push(json!({"key": key, "value": value})),
            Entry::Tag { key, value } => tags.push(json!({"key": key, "value": value})),
        }
    }
    json!({"run_id": run_id, "metrics": metrics, "params": params, "tags": tags})
}
