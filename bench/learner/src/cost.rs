//! Cost of a training run, as the system counts it.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use regimen::BoxError;

/// Seconds that have passed, and those that processors have worked for this process.
pub(crate) struct Cost {
    pub(crate) wall: f64,
    pub(crate) processors: f64,
}

impl Cost {
    pub(crate) fn now() -> Result<Self, BoxError> {
        // All threads, in hundredths of a second: fields 14 and 15. The name before them may have spaces.
        let stat = fs::read_to_string("/proc/self/stat")?;
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks = fields.skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        Ok(Cost { wall, processors: ticks / 100.0 })
    }

    pub(crate) fn since(&self, begun: &Cost) -> Cost {
        Cost { wall: self.wall - begun.wall, processors: self.processors - begun.processors }
    }
}

/// The most that this process ever had in memory.
pub(crate) fn peak_mib() -> Result<f64, BoxError> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.ok_or("the system does not say `VmHWM:`")?.trim().trim_end_matches(" kB");
    Ok(kib.parse::<f64>()? / 1024.0)
}
