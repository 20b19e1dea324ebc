//! Readings of the machine and of this process.

use std::path::PathBuf;
use std::time::Duration;

use sysinfo::{
    CpuRefreshKind, Disk, DiskRefreshKind, Disks, MINIMUM_CPU_UPDATE_INTERVAL, Networks, Pid,
    ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System,
};

/// The machine since it was first looked at.
#[derive(Debug)]
pub(super) struct Machine {
    system: System,
    process: Option<Pid>,
    disks: Disks,
    /// Its file system is read.
    folder: PathBuf,
    networks: Networks,
    /// Bytes received and sent before.
    before: (u64, u64),
    #[cfg(feature = "nvidia")]
    nvidia: Option<super::nvidia::Nvidia>,
}

impl Machine {
    /// The shortest time over which CPU load is measured.
    pub(super) const SHORTEST: Duration = MINIMUM_CPU_UPDATE_INTERVAL;

    /// The machine from now on, and a notice if devices cannot be read.
    pub(super) fn new() -> (Self, Option<String>) {
        #[cfg(feature = "nvidia")]
        let (nvidia, notice) = match super::nvidia::Nvidia::new() {
            Ok(nvidia) => (Some(nvidia), None),
            Err(notice) => (None, Some(notice)),
        };
        #[cfg(not(feature = "nvidia"))]
        let notice = None;
        let networks = Networks::new_with_refreshed_list();
        let load = CpuRefreshKind::nothing().with_cpu_usage();
        let mut machine = Machine {
            system: System::new_with_specifics(RefreshKind::nothing().with_cpu(load)),
            process: sysinfo::get_current_pid().ok(),
            disks: Disks::new(),
            folder: std::env::current_dir().and_then(|folder| folder.canonicalize()).unwrap_or_default(),
            before: traffic(&networks),
            networks,
            #[cfg(feature = "nvidia")]
            nvidia,
        };
        machine.refresh_process();
        (machine, notice)
    }

    /// The CPU load of a process is that between two refreshes.
    fn refresh_process(&mut self) {
        if let Some(process) = self.process {
            let read = ProcessRefreshKind::nothing().with_cpu().with_memory();
            self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&[process]), false, read);
        }
    }

    /// Passes every value that can be read to `log`, with its name.
    pub(super) fn sample(&mut self, log: &mut dyn FnMut(&str, f64)) {
        self.system.refresh_cpu_usage();
        self.refresh_process();
        log("cpu_utilization_percentage", self.system.global_cpu_usage().into());
        self.system.refresh_memory();
        let (used, total) = (self.system.used_memory(), self.system.total_memory());
        log("system_memory_usage_megabytes", megabytes(used));
        percentage(used, total).into_iter().for_each(|share| log("system_memory_usage_percentage", share));
        self.disks.refresh_specifics(true, DiskRefreshKind::nothing().with_storage());
        if let Some(disk) = self.disk() {
            let (total, available) = (disk.total_space(), disk.available_space());
            let used = total.saturating_sub(available);
            log("disk_usage_megabytes", megabytes(used));
            percentage(used, total).into_iter().for_each(|share| log("disk_usage_percentage", share));
            log("disk_available_megabytes", megabytes(available));
        }
        self.networks.refresh(true);
        let ((received, sent), before) = (traffic(&self.networks), self.before);
        log("network_receive_megabytes", megabytes(received.saturating_sub(before.0)));
        log("network_transmit_megabytes", megabytes(sent.saturating_sub(before.1)));
        if let Some(process) = self.process.and_then(|process| self.system.process(process)) {
            log("process_cpu_utilization_percentage", process.cpu_usage().into());
            log("process_memory_usage_megabytes", megabytes(process.memory()));
        }
        #[cfg(feature = "nvidia")]
        self.nvidia.iter().for_each(|nvidia| nvidia.sample(log));
    }

    /// The disk that is mounted nearest above the folder.
    fn disk(&self) -> Option<&Disk> {
        let above = self.disks.iter().filter(|disk| self.folder.starts_with(disk.mount_point()));
        above.max_by_key(|disk| disk.mount_point().components().count())
    }
}

/// Bytes received and sent over all interfaces.
fn traffic(networks: &Networks) -> (u64, u64) {
    networks.values().fold((0, 0), |(received, sent), network| {
        (received + network.total_received(), sent + network.total_transmitted())
    })
}

pub(super) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Returns `None` without a total.
pub(super) fn percentage(part: u64, total: u64) -> Option<f64> {
    (0 < total).then(|| 100.0 * part as f64 / total as f64)
}
