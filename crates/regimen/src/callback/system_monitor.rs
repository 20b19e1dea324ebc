//! The load of the machine as metrics.

mod machine;
#[cfg(feature = "nvidia")]
mod nvidia;

use std::time::{Duration, Instant};

use self::machine::Machine;
use super::clock::Clock;
use super::{Event, Events, Every};
use crate::metric::{Key, Reduction};
use crate::{BoxError, Callback, State};

/// Logs the load of the machine and of this process as metrics, with the names of MLflow. Needs the feature
/// `system`.
///
/// | metric | value |
/// |---|---|
/// | `system/cpu_utilization_percentage` | of all cores together, up to 100 |
/// | `system/system_memory_usage_{megabytes,percentage}` | memory in use |
/// | `system/disk_usage_{megabytes,percentage}` | space in use on the working directory's file system |
/// | `system/disk_available_megabytes` | its free space |
/// | `system/network_{receive,transmit}_megabytes` | over all interfaces, since the first call began |
/// | `system/process_cpu_utilization_percentage` | of this process; 100 is one core |
/// | `system/process_memory_usage_megabytes` | its resident memory |
/// | `system/gpu_<i>_utilization_percentage` | of an NVIDIA device, with the feature `nvidia` |
/// | `system/gpu_<i>_memory_usage_{megabytes,percentage}` | its memory in use |
/// | `system/gpu_<i>_power_usage_{watts,percentage}` | its power; a percentage of its limit |
///
/// A megabyte is 10^6 bytes. CPU values are means since the sample before. The value over an epoch is the
/// mean of its samples, and among several [ranks](crate::Run::peers) over those of all of them.
///
/// A sample is taken at the start of a step whose metrics are read (see [`State::wants_metrics`]), 10
/// seconds or more after the one before. A value that cannot be read is left out. A machine without the
/// driver of the devices is a notice, once.
///
/// Measured loads are metrics, and metrics are saved: with this callback two equal runs differ in them,
/// and nowhere else.
#[derive(Debug)]
pub struct SystemMonitor {
    interval: Duration,
    every: Every,
    clock: Clock,
    /// The time of the newest sample, or of the start of the first call.
    sampled: Option<(Instant, Machine)>,
}

impl SystemMonitor {
    /// Takes a sample every 10 seconds, at the steps at which others look.
    pub fn new() -> Self {
        SystemMonitor::with_clock(Instant::now)
    }

    fn with_clock(clock: Clock) -> Self {
        SystemMonitor { interval: Duration::from_secs(10), every: Every::NEVER, clock, sampled: None }
    }

    /// The least time between two samples. Default: 10 seconds. The shortest is that in which the system
    /// counts CPU time, 0.2 seconds on Linux.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Machine::SHORTEST);
        self
    }

    /// Looks at this cadence of steps or updates too; never by default.
    pub fn every(mut self, every: Every) -> Self {
        self.every = every;
        self
    }
}

impl Default for SystemMonitor {
    fn default() -> Self {
        SystemMonitor::new()
    }
}

impl<U: ?Sized> Callback<U> for SystemMonitor {
    fn events(&self) -> Events {
        use Event::*;
        Events::of(&[TrainStart, TrainStepStart, EvalStart, EvalStepStart, PredictStart, PredictStepStart])
    }

    fn metrics_every(&self) -> Every {
        self.every
    }

    fn on_event(&mut self, _event: Event, state: &mut State, _unit: &mut U) -> Result<(), BoxError> {
        let now = (self.clock)();
        match &mut self.sampled {
            None => {
                let (machine, notice) = Machine::new();
                self.sampled = Some((now, machine));
                notice.into_iter().for_each(|notice| state.notify(notice));
            }
            Some((sampled, machine)) => {
                if state.wants_metrics() && self.interval <= now.duration_since(*sampled) {
                    *sampled = now;
                    machine.sample(&mut |name, value| {
                        state.log(Key::named(format!("system/{name}"), Reduction::Mean), value, 1.0);
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::clock::by_hand::{Takes, now};
    use super::*;
    use crate::Run;
    use crate::log::{MetricLog, Record};
    use crate::run::Train;

    /// The steps at which the load is logged, of steps of 4 seconds.
    fn steps(monitor: SystemMonitor, log: Every) -> Vec<u64> {
        let found = Mutex::new(Vec::new());
        let write = |records: &[Record<'_>]| {
            let cpu = records.iter().filter(|record| record.name == "system/cpu_utilization_percentage");
            found
                .lock()
                .unwrap()
                .extend(cpu.filter(|record| record.epoch.is_none()).map(|record| record.step));
            Ok(())
        };
        let mut unit = Takes;
        let mut run = Run::new(&mut unit).callback(monitor).callback(MetricLog::to(write).every(log));
        run.train(&[4; 10], Train::epochs(1)).unwrap();
        drop(run);
        found.into_inner().unwrap()
    }

    #[test]
    fn a_sample_is_taken_at_the_first_step_that_is_logged_after_the_interval() {
        let monitor = || SystemMonitor::with_clock(now);
        // The third step ends at 12 seconds, the fourth begins then.
        assert_eq!(steps(monitor(), Every::steps(1)), [4, 7, 10]);
        assert_eq!(steps(monitor(), Every::steps(5)), [5, 10]);
        assert_eq!(steps(monitor().interval(Duration::from_secs(30)), Every::steps(1)), [9]);
        assert_eq!(steps(monitor().interval(Duration::ZERO), Every::steps(4)), [4, 8]);
    }

    #[test]
    fn each_value_has_its_unit() {
        let mut unit = Takes;
        let mut run = Run::new(&mut unit).callback(SystemMonitor::with_clock(now));
        run.train(&[10, 10], Train::epochs(1)).unwrap();
        let metrics = run.state().metrics(crate::state::Phase::Train).iter();
        let mut names = Vec::new();
        for metric in metrics {
            let (name, value) = (metric.key().name(), metric.last_value());
            let most = if name.ends_with("_percentage") && !name.contains("process") { 100.0 } else { 1e12 };
            assert!((0.0..=most).contains(&value), "{name} {value}");
            // Not every machine has them.
            if !name.contains("/gpu_") && !name.contains("/disk_") {
                names.push(name);
            }
        }
        assert_eq!(
            names,
            [
                "system/cpu_utilization_percentage",
                "system/system_memory_usage_megabytes",
                "system/system_memory_usage_percentage",
                "system/network_receive_megabytes",
                "system/network_transmit_megabytes",
                "system/process_cpu_utilization_percentage",
                "system/process_memory_usage_megabytes",
            ]
        );
    }
}
