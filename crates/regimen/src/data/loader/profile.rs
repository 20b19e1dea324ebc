//! Throughput of loaders.

use std::fmt;
use std::time::{Duration, Instant};

use regimen_core::BoxError;
use regimen_core::data::{At, Data, Epoch};

/// Reads an epoch of `data`, or its first `batches` batches, hands each batch to `work` and
/// measures both. Give `drop` as `work` to measure the data alone.
///
/// ```
/// use regimen::data::{Loader, profile_loader};
/// # fn main() -> Result<(), regimen::BoxError> {
/// let loader = Loader::new(vec![1.0_f32; 1000]).batch_size(10).workers(2);
/// let profile = profile_loader(&loader, Some(50), drop)?;
/// assert_eq!((profile.batches(), profile.samples()), (50, 500));
/// # Ok(()) }
/// ```
pub fn profile_loader<D: Data>(
    data: &D,
    batches: Option<u64>,
    mut work: impl FnMut(D::Batch),
) -> Result<LoaderProfile, BoxError> {
    let start = Instant::now();
    let mut epoch = data.epoch(At::default())?;
    let mut profile =
        LoaderProfile { opening: start.elapsed(), waits: vec![], working: Duration::ZERO, samples: 0 };
    while batches.is_none_or(|limit| profile.batches() < limit) {
        let start = Instant::now();
        let Some(fetched) = epoch.next() else { break };
        let fetched = fetched?;
        profile.waits.push(start.elapsed());
        profile.samples += fetched.samples;
        let start = Instant::now();
        work(fetched.batch);
        profile.working += start.elapsed();
    }
    profile.waits.sort();
    Ok(profile)
}

/// The measurements of [`profile_loader`]. Displays as a small table.
#[derive(Clone, Debug)]
pub struct LoaderProfile {
    opening: Duration,
    /// Sorted.
    waits: Vec<Duration>,
    working: Duration,
    samples: u64,
}

impl LoaderProfile {
    /// Batches that were read.
    pub fn batches(&self) -> u64 {
        self.waits.len() as u64
    }

    /// Samples in them.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The time to begin the epoch.
    pub fn opening(&self) -> Duration {
        self.opening
    }

    /// The waiting for all batches together.
    pub fn waiting(&self) -> Duration {
        self.waits.iter().sum()
    }

    /// The waiting for one batch: `percent` of the batches came as fast or faster. Zero
    /// if there was no batch.
    pub fn wait(&self, percent: f64) -> Duration {
        let place = (percent / 100.0 * self.waits.len() as f64).ceil() as usize;
        self.waits.get(place.clamp(1, self.waits.len().max(1)) - 1).copied().unwrap_or_default()
    }

    /// Samples per second, work included.
    pub fn samples_per_second(&self) -> f64 {
        let seconds = (self.waiting() + self.working).as_secs_f64();
        if seconds > 0.0 { self.samples as f64 / seconds } else { 0.0 }
    }

    /// The share of the time spent waiting, from 0 to 1. Near 1, the data holds the run up.
    pub fn waiting_share(&self) -> f64 {
        let whole = (self.waiting() + self.working).as_secs_f64();
        if whole > 0.0 { self.waiting().as_secs_f64() / whole } else { 0.0 }
    }
}

impl fmt::Display for LoaderProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "batches          {:>12}", self.batches())?;
        writeln!(f, "samples          {:>12}", self.samples())?;
        writeln!(f, "samples/s        {:>12.0}", self.samples_per_second())?;
        writeln!(f, "waiting          {:>11.1}%", 100.0 * self.waiting_share())?;
        writeln!(f, "opening          {:>12.1?}", self.opening)?;
        for (name, percent) in [("median wait", 50.0), ("p99 wait", 99.0), ("longest wait", 100.0)] {
            writeln!(f, "{name:<16} {:>12.1?}", self.wait(percent))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_waits_that_were_observed() {
        let profile = |waits: &[u64]| LoaderProfile {
            opening: Duration::ZERO,
            waits: waits.iter().copied().map(Duration::from_millis).collect(),
            working: Duration::from_millis(30),
            samples: 20,
        };
        let four = profile(&[1, 2, 3, 4]);
        let waits = [0.0, 25.0, 50.0, 51.0, 100.0].map(|percent| four.wait(percent).as_millis());
        assert_eq!(waits, [1, 1, 2, 3, 4]);
        assert_eq!((four.waiting_share(), four.samples_per_second()), (0.25, 500.0));
        assert_eq!(profile(&[]).wait(50.0), Duration::ZERO);
    }
}
