//! Readings of NVIDIA devices.

use std::fmt;

use nvml_wrapper::{Device, Nvml};

use super::machine::{megabytes, percentage};

/// The devices that the driver knows.
pub(super) struct Nvidia(Nvml);

impl Nvidia {
    /// Loads the library of the driver. Returns a notice if there is none.
    pub(super) fn new() -> Result<Self, String> {
        let nvml = Nvml::init();
        nvml.map(Nvidia).map_err(|cause| format!("no load of NVIDIA devices is logged: {cause}"))
    }

    /// Passes every value that can be read to `log`, with its name.
    pub(super) fn sample(&self, log: &mut dyn FnMut(&str, f64)) {
        for n in 0..self.0.device_count().unwrap_or(0) {
            if let Ok(device) = self.0.device_by_index(n) {
                sample(&device, &mut |name, value| log(&format!("gpu_{n}_{name}"), value));
            }
        }
    }
}

fn sample(device: &Device<'_>, log: &mut dyn FnMut(&str, f64)) {
    if let Ok(load) = device.utilization_rates() {
        log("utilization_percentage", load.gpu.into());
    }
    if let Ok(memory) = device.memory_info() {
        log("memory_usage_megabytes", megabytes(memory.used));
        percentage(memory.used, memory.total)
            .into_iter()
            .for_each(|share| log("memory_usage_percentage", share));
    }
    // In milliwatts.
    if let Ok(power) = device.power_usage() {
        log("power_usage_watts", f64::from(power) / 1e3);
        let limit = device.enforced_power_limit().ok();
        let share = limit.and_then(|limit| percentage(power.into(), limit.into()));
        share.into_iter().for_each(|share| log("power_usage_percentage", share));
    }
}

impl fmt::Debug for Nvidia {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Nvidia").finish()
    }
}
