//! The flags of the examples that learn digits.

use std::path::PathBuf;

use crate::digits::Digits;
use clap::Parser;
use regimen::{BoxError, Precision};

/// Learns handwritten digits, and prints how well it reads some it has never seen.
#[derive(Debug, Parser)]
pub struct Args {
    /// Passes over the training digits.
    #[arg(long, default_value_t = 40)]
    pub epochs: u64,

    /// Digits in a batch.
    #[arg(long, default_value_t = 64, value_parser = at_least_one::<usize>)]
    pub batch_size: usize,

    /// Highest learning rate of the one-cycle schedule.
    #[arg(long, default_value_t = 4e-3)]
    pub lr: f64,

    /// Sets initial weights, order of the data, augmentation and dropout.
    #[arg(long, default_value_t = 7)]
    pub seed: u64,

    /// Batches whose gradients make one update.
    #[arg(long, default_value_t = 1, value_parser = at_least_one::<u64>)]
    pub accumulate: u64,

    /// Largest norm of the gradient; not clipped where absent.
    #[arg(long)]
    pub clip: Option<f64>,

    /// In what to compute: `fp32`, `bf16` or `fp16`, and `tf32` with libtorch on CUDA.
    #[arg(long, default_value_t = Precision::F32)]
    pub precision: Precision,

    /// Evaluates and predicts with an exponential moving average of the weights, of this decay.
    #[arg(long)]
    pub ema: Option<f64>,

    /// Evaluations without a lower loss before training stops.
    #[arg(long, default_value_t = 12, value_parser = at_least_one::<u64>)]
    pub patience: u64,

    /// Threads that prepare batches; none by default.
    #[arg(long, default_value_t = 0)]
    pub workers: usize,

    /// Shifts each training digit by up to a pixel, anew in every epoch.
    #[arg(long)]
    pub augment: bool,

    /// Where to compute: `cpu`, and what else this build has (`cuda`, and on Burn `wgpu`).
    #[arg(long, default_value = "cpu")]
    pub device: String,

    /// Folder for checkpoints and metric logs, from which a stopped run goes on.
    #[arg(long)]
    pub out: Option<PathBuf>,

    /// Folder with MNIST files in IDX format, packed or not, in place of the bundled digits.
    #[arg(long)]
    pub data: Option<PathBuf>,
}

impl Args {
    /// The digits the flags ask for.
    pub fn digits(&self) -> Result<Digits, BoxError> {
        match &self.data {
            None => Digits::bundled(),
            Some(folder) => Digits::mnist(folder),
        }
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
