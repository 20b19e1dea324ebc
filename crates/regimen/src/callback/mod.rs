//! Callbacks for most runs: early stopping, a progress bar, a time limit, a watchdog, a flight recorder, a summary of the module,
//! and monitors that log learning rates, times, parameters and the load of the machine as metrics.

mod batch_time;
mod best_file;
mod best_weights;
pub(crate) mod clock;
mod data_time;
mod early_stopping;
mod empty_data_detector;
mod first_rank;
mod flight_recorder;
mod gradient_monitor;
mod iteration_time;
mod learning_rate_monitor;
mod line;
mod memory_cleanup;
mod module_summary;
mod parameter_monitor;
mod patience;
mod printer;
mod profiler_window;
mod progress_bar;
mod progress_reporter;
mod reset_optimizer;
mod saved_best;
mod slow_ranks;
mod status;
#[cfg(feature = "system")]
mod system_monitor;
mod terminal;
mod throughput;
mod time_limit;
mod train_progress_monitor;
mod watchdog;

pub use regimen_core::callback::*;

pub use self::batch_time::BatchTime;
pub use self::best_file::BestFile;
pub use self::best_weights::BestWeights;
pub use self::data_time::DataTime;
pub use self::early_stopping::EarlyStopping;
pub use self::empty_data_detector::EmptyDataDetector;
pub use self::first_rank::FirstRank;
pub use self::flight_recorder::{Flight, FlightRecorder, FlightStep};
pub use self::gradient_monitor::GradientMonitor;
pub use self::iteration_time::IterationTime;
pub use self::learning_rate_monitor::LearningRateMonitor;
pub use self::memory_cleanup::MemoryCleanup;
pub use self::module_summary::ModuleSummary;
pub use self::parameter_monitor::ParameterMonitor;
pub use self::printer::Printer;
pub use self::profiler_window::ProfilerWindow;
pub use self::progress_bar::ProgressBar;
pub use self::progress_reporter::ProgressReporter;
pub use self::reset_optimizer::ResetOptimizer;
pub use self::slow_ranks::SlowRanks;
#[cfg(feature = "system")]
pub use self::system_monitor::SystemMonitor;
pub use self::throughput::Throughput;
pub use self::time_limit::TimeLimit;
pub use self::train_progress_monitor::TrainProgressMonitor;
pub use self::watchdog::{Hang, Watchdog};
