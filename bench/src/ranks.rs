//! Training on ranks: the command line and output of a program of `cargo xtask bench distributed`.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use regimen::callback::Event;
use regimen::data::{Rank, each_epoch};
use regimen::engine::Bucket;
use regimen::peers::Peers;
use regimen::run::Train;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};
use regimen_dist::{Collective, barrier, gather, init};

const USAGE: &str = "usage: together|apart STEPS";

/// Samples per batch of a rank.
pub const BATCH: usize = 64;

/// Untimed warm-up steps.
const WARM_UP: usize = 3;

/// The ranks of a measurement.
#[derive(Debug)]
pub struct Ranks {
    peers: Arc<dyn Collective>,
    /// Whether they train one network. Otherwise each trains its own, beside the others.
    are_together: bool,
    /// Timed steps.
    steps: usize,
}

impl Ranks {
    /// Parses the command line, and connects the ranks of the launcher.
    pub fn connect() -> Result<Self, BoxError> {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let (are_together, steps) = parse(&args.iter().map(String::as_str).collect::<Vec<_>>())?;
        Ok(Ranks { peers: init()?, are_together, steps })
    }

    /// Trains `unit` on the batches of `batch`. Rank 0 prints the samples per second of all ranks, and its time in calls
    /// to the others.
    pub fn measure<U: TrainUnit>(&self, unit: &mut U, batch: impl Fn() -> U::Batch) -> Result<(), BoxError> {
        let timed = Arc::new(Timed { peers: self.peers.clone(), nanoseconds: Default::default() });
        let mut ends = Vec::with_capacity(WARM_UP + self.steps);
        let end = |_: &mut State, _: &mut U| ends.push((Instant::now(), timed.milliseconds()));
        let data = each_epoch(|_| (0..WARM_UP + self.steps).map(|_| batch()));
        let run = Run::new(unit).seed(7).on(Event::TrainStepEnd, end);
        let mut run = if self.are_together { run.peers(timed.clone()) } else { run };
        // All begin at once, also apart.
        barrier(&*self.peers)?;
        run.train(&data, Train::epochs(1))?;
        drop(run);
        let (Some(begun), Some(end)) = (ends.get(WARM_UP - 1), ends.last()) else {
            return Err("no step was timed".into());
        };
        let rate = (BATCH * self.steps) as f64 / (end.0 - begun.0).as_secs_f64();
        let rates = gather(&*self.peers, &rate)?;
        if self.peers.rank().is_first() {
            let (count, how) = (rates.len(), if self.are_together { "together" } else { "apart" });
            let mut out = io::stdout();
            writeln!(out, "{count} {how}\tsamples_per_s\t{}\tsamples/s", rates.iter().sum::<f64>())?;
            if self.are_together && count > 1 {
                for (i, what) in ["small exchanges", "gradients"].into_iter().enumerate() {
                    let time = (end.1[i] - begun.1[i]) / self.steps as f64;
                    writeln!(out, "{count} {how}: {what}\tms_per_step\t{time}\tms/step")?;
                }
            }
        }
        Ok(())
    }
}

/// Whether ranks are together, and the timed steps.
fn parse(args: &[&str]) -> Result<(bool, usize), BoxError> {
    let (are_together, steps) = match args {
        ["together", steps] => (true, steps.parse()?),
        ["apart", steps] => (false, steps.parse()?),
        _ => return Err(USAGE.into()),
    };
    if steps == 0 { Err("no step is timed".into()) } else { Ok((are_together, steps)) }
}

/// Peers that time their calls. The first call of a step waits for the slowest rank.
#[derive(Debug)]
struct Timed {
    peers: Arc<dyn Collective>,
    /// In small exchanges, and in sums of gradients.
    nanoseconds: [AtomicU64; 2],
}

/// A sum of as many values or more is of gradients.
const GRADIENTS: usize = 1_000;

impl Timed {
    fn milliseconds(&self) -> [f64; 2] {
        [0, 1].map(|i| self.nanoseconds[i].load(Ordering::Relaxed) as f64 / 1e6)
    }

    fn timed<R>(&self, length: usize, call: impl FnOnce(&dyn Collective) -> R) -> R {
        let begun = Instant::now();
        let result = call(&*self.peers);
        let took = begun.elapsed().as_nanos() as u64;
        self.nanoseconds[usize::from(length >= GRADIENTS)].fetch_add(took, Ordering::Relaxed);
        result
    }
}

impl Peers for Timed {
    fn rank(&self) -> Rank {
        self.peers.rank()
    }

    fn sum(&self, values: Bucket<'_>) -> Result<(), BoxError> {
        let length = match &values {
            Bucket::F32(values) => values.len(),
            Bucket::F64(values) => values.len(),
            _ => GRADIENTS,
        };
        self.timed(length, |peers| peers.sum(values))
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, BoxError> {
        self.timed(0, |peers| peers.gather(own))
    }

    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), BoxError> {
        self.timed(0, |peers| peers.broadcast(bytes))
    }

    fn commit(&self) -> Result<(), BoxError> {
        self.timed(0, |peers| peers.commit())
    }

    fn abort(&self, why: &str) {
        self.peers.abort(why);
    }
}

#[cfg(test)]
mod tests {
    use super::{USAGE, parse};

    #[test]
    fn the_command_line_says_whether_ranks_train_together() {
        assert_eq!(parse(&["together", "20"]).unwrap(), (true, 20));
        assert_eq!(parse(&["apart", "5"]).unwrap(), (false, 5));
        let error = |args: &[&str]| parse(args).unwrap_err().to_string();
        assert_eq!(error(&["20"]), USAGE);
        assert_eq!(error(&["apart", "0"]), "no step is timed");
    }
}
