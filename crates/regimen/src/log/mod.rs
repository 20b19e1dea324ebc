//! Logs of metrics, in files that other programs read.
//!
//! [`MetricLog`] is the callback and [`MetricSink`] the trait of its destination, for a logger of your
//! own. Predictions go to an [`OutputFile`], and those of several ranks through [`GatheredPredictions`].
//!
//! | log | destination |
//! |---|---|
//! | [`MetricLog::csv`], [`MetricLog::jsonl`] | a file with a row or a line per value: see [`Record`] |
//! | [`MetricLog::wide_csv`] | a file with a row per moment and a column per metric |
//! | [`MetricLog::tensorboard`] | event files for TensorBoard |
//! | [`MetricLog::wandb`] | an offline run of Weights & Biases |
//! | `MetricLog::mlflow` | an MLflow server, with the feature `mlflow` |
//! | [`MetricLog::prometheus`] | an HTTP endpoint for a Prometheus server |
//! | [`MetricLog::stdout`], [`MetricLog::lines`] | a line per moment, on standard output or elsewhere |
//! | [`MetricLog::fan_out`] | several of these |
//! | [`MemoryLog`] | memory, for a program that reads values itself |
//! | [`AnomalyLog`] | notices, stops and closures, by rules on values |
//!
//! ```no_run
//! # use regimen::callback::Every;
//! # use regimen::Run;
//! # use regimen::log::MetricLog;
//! # fn example<U>(run: Run<'_, U>) -> Run<'_, U> {
//! run.callback(MetricLog::csv("runs/digits/metrics.csv"))
//!     .callback(MetricLog::jsonl("runs/digits/metrics.jsonl").every(Every::steps(100)))
//! # }
//! ```

mod anomaly_log;
mod clock;
mod existing_file;
mod fan_out;
mod format;
mod gathered_predictions;
mod line_log;
mod log_file;
mod memory_log;
mod metric_log;
mod metric_sink;
#[cfg(feature = "mlflow")]
mod mlflow;
mod number;
mod open_file;
mod output_file;
pub(crate) mod png;
mod prometheus;
mod protobuf;
mod record;
mod tensorboard;
mod wandb;
mod wav;
mod wide;

pub use self::anomaly_log::{AnomalyLog, AnomalyRule};
pub use self::clock::Clock;
pub use self::existing_file::ExistingFile;
pub use self::fan_out::FanOut;
pub use self::gathered_predictions::GatheredPredictions;
pub use self::line_log::LineLog;
pub use self::log_file::LogFile;
pub use self::memory_log::MemoryLog;
pub use self::metric_log::{MetricLog, OnFailure};
pub use self::metric_sink::{Flush, MetricSink};
#[cfg(feature = "mlflow")]
pub use self::mlflow::Mlflow;
pub(crate) use self::number::Number;
pub use self::output_file::OutputFile;
pub use self::prometheus::Prometheus;
pub use self::record::{MediaRecord, Record};
pub use self::tensorboard::{GraphNode, TensorBoard};
pub use self::wandb::Wandb;
