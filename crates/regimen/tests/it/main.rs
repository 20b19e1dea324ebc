//! Tests of `regimen`, by subject.
//!
//! One program, because each is linked separately. A test that counts what its process has
//! (memory, threads, open files) is next to this folder.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

mod app_state;
mod callback_best_weights;
mod callback_early_stopping;
mod callback_empty_data_detector;
mod callback_learning_rate_monitor;
mod callback_memory_cleanup;
mod callback_module_summary;
mod callback_watchdog;
mod causes;
mod confusion_picture;

mod callback_parameter_monitor;
mod callback_profiler_window;
mod callback_train_progress_monitor;
mod checkpoint;
mod checkpointer;
mod counts;
mod data_csv;
mod data_files;
mod data_first_batch;
mod data_images;
mod data_mix;
mod data_mixup;
mod data_names;
mod data_order;
mod data_resume;
mod data_stream;
mod fitloop;
mod fitloop_ask;
mod fitloop_bugs;
mod fitloop_dry_run;
mod fitloop_files;
mod fitloop_groups;
mod fitloop_history;
mod fitloop_plot;
mod fitloop_records;
mod fitloop_stops;
mod folder;
mod full_disk;
mod left;
mod log_anomaly;
mod log_by_hand;
mod log_fan_out;
mod log_lines;
mod log_media;
mod log_memory;
mod log_prometheus;
mod log_wide;
mod metric;
mod metric_log;
mod metric_log_changed;
mod mlflow;
mod output_file;
mod ranks_agree;
mod ranks_checkpoint;
mod ranks_curve;
mod ranks_data;
mod ranks_metrics;
mod ranks_predict;
mod report;
mod resume_matrix;
mod runner;
mod runner_bugs;
mod schedule;
mod tensorboard;
mod timer;
mod to_device;
mod wandb;
