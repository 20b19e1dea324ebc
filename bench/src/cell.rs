//! One cell of the tables of `cargo xtask bench precision`: the command line and output of a program.

use std::fs;
use std::io::{self, Write};
use std::time::Instant;

use regimen::callback::Event;
use regimen::data::each_epoch;
use regimen::engine::Precision;
use regimen::run::Train;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};

const USAGE: &str = "usage: NETWORK BATCH PRECISION --steps N [--checkpoint] [--device NAME]";

/// The settings of a measurement.
#[derive(Debug, PartialEq)]
pub struct Cell {
    /// The name of the network.
    pub network: String,
    /// Samples per batch.
    pub batch: usize,
    /// Precision of the computation.
    pub precision: Precision,
    /// Whether activations are recomputed in the backward pass: `--checkpoint`.
    pub recomputes: bool,
    /// Device; `cpu` unless `--device` is given.
    pub device: String,
    /// Timed steps.
    steps: usize,
}

/// Untimed warm-up steps.
const WARM_UP: usize = 3;

impl Cell {
    /// Parses the command line.
    pub fn from_args() -> Result<Self, BoxError> {
        let args: Vec<String> = std::env::args().skip(1).collect();
        Cell::parse(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn parse(args: &[&str]) -> Result<Self, BoxError> {
        let [network, batch, precision, "--steps", steps, options @ ..] = args else {
            return Err(USAGE.into());
        };
        let (recomputes, options) = match options {
            ["--checkpoint", rest @ ..] => (true, rest),
            _ => (false, options),
        };
        let device = match options {
            [] => "cpu",
            ["--device", name] => name,
            _ => return Err(USAGE.into()),
        };
        Ok(Cell {
            network: (*network).to_owned(),
            batch: batch.parse()?,
            precision: precision.parse()?,
            recomputes,
            device: device.to_owned(),
            steps: steps.parse()?,
        })
    }

    /// Trains `unit` on the batches of `batch`, and prints two numbers in one line: the median step
    /// time in milliseconds, and the peak memory in MiB above the initial memory.
    ///
    /// Memory is that of the host; on other devices it is NaN.
    pub fn measure<U: TrainUnit>(&self, unit: &mut U, batch: impl Fn() -> U::Batch) -> Result<(), BoxError> {
        // Resets the peak.
        fs::write("/proc/self/clear_refs", "5")?;
        let before = memory("VmRSS:")?;
        let mut ends = Vec::with_capacity(WARM_UP + self.steps);
        let data = each_epoch(|_| (0..WARM_UP + self.steps).map(|_| batch()));
        Run::new(unit)
            .seed(7)
            .on(Event::TrainStepEnd, |_: &mut State, _: &mut U| ends.push(Instant::now()))
            .train(&data, Train::epochs(1))?;
        let above = match self.device.as_str() {
            "cpu" => memory("VmHWM:")? - before,
            _ => f64::NAN,
        };
        let steps = ends.windows(2).skip(WARM_UP - 1);
        let mut times: Vec<f64> = steps.map(|ends| (ends[1] - ends[0]).as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).ok_or("no step was timed")?;
        Ok(writeln!(io::stdout(), "{median} {above}")?)
    }
}

/// A line of the system's memory statistics of this process, in MiB.
fn memory(name: &str) -> Result<f64, BoxError> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let line = line.ok_or_else(|| format!("the system does not report `{name}`"))?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_what_the_command_line_says() {
        let parse = |line: &str| Cell::parse(&line.split(' ').collect::<Vec<_>>());
        let cell = Cell {
            network: "mlp".into(),
            batch: 8,
            precision: Precision::BF16,
            recomputes: false,
            device: "cpu".into(),
            steps: 20,
        };
        assert_eq!(parse("mlp 8 bf16 --steps 20").unwrap(), cell);
        let cell = Cell { recomputes: true, device: "cuda:0".into(), ..cell };
        assert_eq!(parse("mlp 8 bf16 --steps 20 --checkpoint --device cuda:0").unwrap(), cell);
        for wrong in ["mlp", "mlp 8 bf16 --steps 20 --chekpoint"] {
            assert_eq!(parse(wrong).unwrap_err().to_string(), USAGE);
        }
        assert!(parse("mlp 8 bf17 --steps 20").is_err());
    }
}
