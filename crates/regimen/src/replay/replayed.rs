//! A step that was made again.

use std::fmt;

use regimen_core::Error;
use regimen_core::run::Restored;
use regimen_core::text::Count;

use super::FlightStep;

/// A step that a [`Replay`](super::Replay) has made again, and its comparison with the records of it.
///
/// As text it has a line per metric, with the recorded values:
///
/// ```text
/// step 41: batch 7 of epoch 2, 64 samples, from runs/digits/step-000000040
/// train/loss 0.25: metrics.jsonl has 0.25, equal to the last bit
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Replayed {
    /// The step: its place, its metrics, and the indices of its samples if the replay was given the loader.
    pub step: FlightStep,
    /// The checkpoint from which training went on to it, with settings that differ; `None` from the beginning.
    pub from: Option<Restored>,
    /// Damaged checkpoints of the folder, with the reason: none of them is the one.
    pub skipped: Vec<String>,
    /// The error of the step, if it failed, or of the end of training after it.
    pub error: Option<Error>,
    /// The same step with the same batch in `flight.json`.
    pub recorded: Option<FlightStep>,
    /// The metrics of the step that were recorded, in each file.
    pub compared: Vec<Comparison>,
}

/// A metric of a step that was made again, and the record of it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// The name of the metric.
    pub metric: String,
    /// The file with the record: `flight.json` or `metrics.jsonl`.
    pub file: &'static str,
    /// The recorded value.
    pub recorded: f64,
    /// The value of the step that was made again.
    pub replayed: f64,
}

impl Comparison {
    /// Whether both values have the same bits. Any two NaN are equal.
    pub fn is_equal(&self) -> bool {
        let Comparison { recorded, replayed, .. } = self;
        recorded.to_bits() == replayed.to_bits() || recorded.is_nan() && replayed.is_nan()
    }
}

impl Replayed {
    /// Whether all recorded metrics are equal to the last bit. Returns `None` if no metric was recorded.
    pub fn is_equal(&self) -> Option<bool> {
        (!self.compared.is_empty()).then(|| self.compared.iter().all(Comparison::is_equal))
    }
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Replayed {
            step: FlightStep { step, epoch, batch, samples, complete, metrics, .. }, from, ..
        } = self;
        write!(f, "step {step}: batch {batch} of epoch {epoch}, ")?;
        if *complete {
            write!(f, "{}, ", Count(*samples, "sample"))?;
        }
        write!(f, "from {}", from.as_ref().map_or("the beginning", |restored| &restored.from))?;
        for skipped in &self.skipped {
            write!(f, "\npassed over {skipped}")?;
        }
        for difference in from.iter().flat_map(|restored| &restored.differences) {
            write!(f, "\n{difference}")?;
        }
        for (name, value) in metrics {
            write!(f, "\n{name} {value}")?;
            let mut records = self.compared.iter().filter(|compared| compared.metric == *name).peekable();
            if records.peek().is_none() {
                f.write_str(": not recorded")?;
            }
            for compared in records {
                let equal = if compared.is_equal() { "equal to the last bit" } else { "NOT equal" };
                write!(f, ": {} has {}, {equal}", compared.file, compared.recorded)?;
            }
        }
        match &self.error {
            Some(error) => write!(f, "\nit failed: {error:#}"),
            None => Ok(()),
        }
    }
}
