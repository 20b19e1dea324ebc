//! Logs of metrics, in files that other programs read.
//!
//! [`MetricLog`] is the callback and [`MetricSink`] the trait of its destination, for a logger of your
//! own. Files come as tidy CSV and as JSON lines, with the same fields: see [`Record`]. With the feature
//! `mlflow`, `MetricLog::mlflow` logs to an MLflow server. Predictions go to an [`OutputFile`].
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

mod existing_file;
mod format;
mod log_file;
mod metric_log;
mod metric_sink;
#[cfg(feature = "mlflow")]
mod mlflow;
mod open_file;
mod output_file;
#[cfg(feature = "mlflow")]
mod png;
mod record;

pub use self::existing_file::ExistingFile;
pub use self::log_file::LogFile;
pub use self::metric_log::{MetricLog, OnFailure};
pub use self::metric_sink::MetricSink;
#[cfg(feature = "mlflow")]
pub use self::mlflow::Mlflow;
pub use self::output_file::OutputFile;
pub use self::record::{MediaRecord, Record};
