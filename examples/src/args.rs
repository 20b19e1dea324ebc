//! Command line flags of the digit examples.

use std::path::PathBuf;

use crate::digits::Digits;
use clap::Parser;
use regimen::BoxError;
use regimen::engine::Precision;
use regimen::schedule::OneCycle;
use regimen::state::HyperParameters;
use regimen::text::Count;

/// Trains a digit classifier, and prints its accuracy on held-out digits.
#[derive(Debug, Parser)]
pub struct Args {
    /// Training epochs.
    #[arg(long, default_value_t = 40)]
    pub epochs: u64,

    /// Digits per batch.
    #[arg(long, default_value_t = 64, value_parser = at_least_one::<usize>)]
    pub batch_size: usize,

    /// Highest learning rate of the one-cycle schedule.
    #[arg(long, default_value_t = 4e-3)]
    pub lr: f64,

    /// Seed of initial weights, data order, augmentation and dropout.
    #[arg(long, default_value_t = 7)]
    pub seed: u64,

    /// Batches per update (gradient accumulation).
    #[arg(long, default_value_t = 1, value_parser = at_least_one::<u64>)]
    pub accumulate: u64,

    /// Maximum gradient norm; no clipping by default.
    #[arg(long)]
    pub clip: Option<f64>,

    /// Precision: `fp32`, `bf16`, `fp16`, or `tf32` with libtorch on CUDA.
    #[arg(long, default_value_t = Precision::F32)]
    pub precision: Precision,

    /// Decay of an exponential moving average of the weights, which evaluation and prediction use.
    #[arg(long)]
    pub ema: Option<f64>,

    /// Evaluations without a lower loss before training stops.
    #[arg(long, default_value_t = 12, value_parser = at_least_one::<u64>)]
    pub patience: u64,

    /// Threads that prepare batches; 0 prepares them in the training thread.
    #[arg(long, default_value_t = 0)]
    pub workers: usize,

    /// Shifts each training digit by up to one pixel, anew in every epoch.
    #[arg(long)]
    pub augment: bool,

    /// Device: `cpu`, or another one that this build supports (`cuda`, and on Burn `wgpu`).
    #[arg(long, default_value = "cpu")]
    pub device: String,

    /// Folder for checkpoints and metric logs; a stopped run resumes from it.
    #[arg(long)]
    pub out: Option<PathBuf>,

    /// Folder with MNIST files in IDX format, optionally gzipped, instead of the bundled digits.
    #[arg(long)]
    pub data: Option<PathBuf>,
}

/// Flags of the programs whose folder is a `RunFolder`.
#[derive(Debug, clap::Args)]
pub struct FolderArgs {
    /// Steps from one record of metrics to the next in the folder's logs.
    #[arg(long, default_value_t = 10, value_parser = at_least_one::<u64>)]
    pub log_every: u64,

    /// Shows at the end where the time went. With --out, `profile.json` and `trace.json` have the same.
    #[arg(long)]
    pub profile: bool,

    /// Makes this step of the run in the folder again, and compares it with its record: the first is 1. Needs the flags
    /// of that run.
    #[arg(long, requires = "out", value_parser = at_least_one::<u64>)]
    pub replay: Option<u64>,
}

/// The flags of this process, with other defaults for some of them: pairs of a flag and its default.
pub fn parse_with<P: Parser>(defaults: &[(&'static str, &'static str)]) -> P {
    let command = defaults.iter().fold(P::command(), |command, (flag, default)| {
        command.mut_arg(flag, |flag| flag.default_value(default))
    });
    P::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

impl Args {
    /// The digits that the flags select.
    pub fn digits(&self) -> Result<Digits, BoxError> {
        match &self.data {
            None => Digits::bundled(),
            Some(folder) => Digits::mnist(folder),
        }
    }

    /// The device of the process with this number on its machine: each has a GPU of its own.
    pub fn device_of(&self, local_rank: u64) -> String {
        match &*self.device {
            "cuda" if local_rank > 0 => format!("cuda:{local_rank}"),
            device => device.to_owned(),
        }
    }

    /// The flags that change the result.
    pub fn hyper_parameters(&self) -> HyperParameters {
        let mut settings = HyperParameters::new()
            .with("epochs", self.epochs)
            .with("batch_size", self.batch_size)
            .with("lr", self.lr)
            .with("accumulate", self.accumulate)
            .with("precision", self.precision.to_string())
            .with("augment", self.augment)
            .with("patience", self.patience);
        for (name, value) in [("clip", self.clip), ("ema", self.ema)] {
            if let Some(value) = value {
                settings = settings.with(name, value);
            }
        }
        settings
    }

    /// The one-cycle schedule over all updates for `samples` digits. An error names the flags from
    /// which the length is computed.
    pub fn one_cycle(&self, samples: usize) -> Result<OneCycle, BoxError> {
        let &Args { epochs, batch_size, accumulate, lr, .. } = self;
        let batches = samples.div_ceil(batch_size) as u64;
        // Without an epoch no rate is requested.
        let updates = batches.div_ceil(accumulate).saturating_mul(epochs.max(1));
        OneCycle::new(lr, updates).map_err(|cause| {
            let (updates, samples) = (Count(updates, "update"), Count(samples as u64, "digit"));
            format!(
                "{cause}: it is for the {updates} that {samples} make with --epochs {epochs}, \
                 --batch-size {batch_size} and --accumulate {accumulate}, up to --lr {lr}"
            )
            .into()
        })
    }
}

fn at_least_one<N>(text: &str) -> Result<N, String>
where
    N: std::str::FromStr<Err = std::num::ParseIntError> + PartialOrd + From<bool>,
{
    match text.parse::<N>() {
        Ok(number) if number >= N::from(true) => Ok(number),
        Ok(_) => Err("give 1 or more".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Parses a probability below 1.
pub fn probability(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.0..1.0).contains(&number) => Ok(number),
        Ok(_) => Err("give 0 or more, and less than 1".into()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_that_cannot_be_names_the_flags_it_comes_of() {
        let one_cycle = |flags: &[&str]| {
            let args = Args::try_parse_from([&["digits"], flags].concat()).map_err(|error| error.to_string());
            args.and_then(|args| args.one_cycle(1_437).map_err(|error| error.to_string()))
        };
        let flags = ["--epochs", "1", "--batch-size", "800", "--accumulate", "2"];
        let error = "one-cycle schedule: a length of 1 leaves no room to rise in 0.3 of it; give a length of 4 or \
                     more: it is for the 1 update that 1437 digits make with --epochs 1, --batch-size 800 and \
                     --accumulate 2, up to --lr 0.004";
        assert_eq!(one_cycle(&flags), Err(error.to_owned()));
        assert_eq!(one_cycle(&[]), OneCycle::new(4e-3, 23 * 40).map_err(|error| error.to_string()));
        // No epoch is an empty run, not an error.
        assert!(one_cycle(&["--epochs", "0"]).is_ok());
    }
}
