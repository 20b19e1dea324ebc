//! Callbacks for most runs: early stopping, a progress bar, a time limit, learning rates as metrics, a
//! summary of the module.

mod early_stopping;
mod learning_rate_monitor;
mod line;
mod module_summary;
mod patience;
mod printer;
mod progress_bar;
mod status;
mod terminal;
mod time_limit;

pub use regimen_core::callback::*;

pub use self::early_stopping::EarlyStopping;
pub use self::learning_rate_monitor::LearningRateMonitor;
pub use self::module_summary::ModuleSummary;
pub use self::printer::Printer;
pub use self::progress_bar::ProgressBar;
pub use self::time_limit::TimeLimit;
