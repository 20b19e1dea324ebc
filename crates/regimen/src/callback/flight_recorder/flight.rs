//! The file of a flight recorder.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::BoxError;
use crate::log::Number;
use crate::replace_file::replace_file;

/// The last steps of a run, as a [`FlightRecorder`](super::FlightRecorder) has written them.
///
/// The file is a JSON object with these fields under their names, and a line per step:
///
/// ```text
/// {"reason":"SIGINT","time":"2026-11-30T04:10:00Z","seed":7,"step":null,"steps":[
/// {"step":41,"epoch":2,"batch":7,"samples":64,"complete":true,"metrics":{"train/loss":0.25},"data_seconds":0.0001,
///  "step_seconds":0.004,"time":"2026-11-30T04:09:59Z","indices":[17,3,9]}
/// ]}
/// ```
///
/// (A step is in one line there.) Numbers are written so that they are read back to the last bit. Values that are not finite
/// are the strings `NaN`, `inf` and `-inf`, as in [`Record`](crate::log::Record).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Flight {
    /// Why the file was written: the error, the reason of the pause, or the hang.
    pub reason: String,
    /// When it was written, in UTC.
    pub time: String,
    /// The seed of the run.
    pub seed: u64,
    /// The step with a number that is not finite, if that is the error. On a device it may be found some steps later.
    pub step: Option<u64>,
    /// The last steps, in the order in which they were made. After a roll-back a step comes again.
    pub steps: Vec<FlightStep>,
}

/// One training step in a [`Flight`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FlightStep {
    /// Its number, from 1: the completed training steps after it.
    pub step: u64,
    /// Completed epochs before it.
    pub epoch: u64,
    /// The number of its batch in the data of the epoch, from 0.
    pub batch: u64,
    /// Samples in its batch, over all ranks. 0 if it is not complete.
    pub samples: u64,
    /// Whether it was made to its end. A step that failed is not.
    pub complete: bool,
    /// The values of the metrics logged in it, by name. A value that could not be read from the device is left out.
    #[serde(serialize_with = "write_numbers", deserialize_with = "read_numbers")]
    pub metrics: BTreeMap<String, f64>,
    /// The wait for its batch, in seconds; `None` if there is no batch.
    pub data_seconds: Option<f64>,
    /// The time of the unit's step and of the callbacks called before the recorder, in seconds; `None` if it is not
    /// complete.
    pub step_seconds: Option<f64>,
    /// When it began, in UTC.
    pub time: String,
    /// The indices of the samples of its batch in the dataset; `None` if no loader tells them.
    pub indices: Option<Vec<usize>>,
}

impl Flight {
    /// Reads the file at `path`. Returns `None` if there is none.
    pub fn read(path: impl AsRef<Path>) -> Result<Option<Self>, BoxError> {
        let path = path.as_ref();
        let fail = |cause: BoxError| format!("cannot read {}: {cause}", path.display()).into();
        match fs::read(path) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(fail(cause.into())),
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|cause| fail(cause.into())),
        }
    }

    /// Replaces the file at `path`, and creates its folder.
    pub(super) fn write(&self, path: &Path) -> Result<(), BoxError> {
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        let written = folder.and_then(|()| replace_file(path, self.to_json()?.as_bytes()));
        written.map_err(|cause| format!("cannot write {}: {cause}", path.display()).into())
    }

    /// The object with a line per step.
    fn to_json(&self) -> Result<String, serde_json::Error> {
        let Flight { reason, time, seed, step, steps } = self;
        let steps = steps.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
        let [reason, time] = [reason, time].map(serde_json::to_string);
        let (reason, time, step) = (reason?, time?, serde_json::to_string(step)?);
        let steps = steps.join(",\n");
        Ok(format!(
            "{{\"reason\":{reason},\"time\":{time},\"seed\":{seed},\"step\":{step},\"steps\":[\n{steps}\n]}}\n"
        ))
    }
}

fn write_numbers<S: Serializer>(numbers: &BTreeMap<String, f64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(numbers.iter().map(|(name, &number)| (name, Number(number))))
}

fn read_numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let numbers = BTreeMap::<String, Number>::deserialize(deserializer)?;
    Ok(numbers.into_iter().map(|(name, Number(number))| (name, number)).collect())
}
