//! The flags of `chars`.

use std::path::PathBuf;

use clap::Parser;
use clap::builder::RangedU64ValueParser;

/// Trains a character-level language model, and prints its bits per character on held-out text.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// UTF-8 text to train on instead of the bundled plays of Shakespeare.
    #[arg(long)]
    pub(crate) text: Option<PathBuf>,

    /// Training steps.
    #[arg(long, default_value_t = 1000, value_parser = at_least_one::<u64>())]
    pub(crate) steps: u64,

    /// Steps between evaluations, each of which prints a sample.
    #[arg(long, default_value_t = 300, value_parser = at_least_one::<u64>())]
    pub(crate) eval_every: u64,

    /// Windows of text per batch.
    #[arg(long, default_value_t = 32, value_parser = at_least_one::<usize>())]
    pub(crate) batch_size: usize,

    /// Context length in characters.
    #[arg(long, default_value_t = 64, value_parser = at_least_one::<usize>())]
    pub(crate) context: usize,

    /// Embedding size; a multiple of 4.
    #[arg(long, default_value_t = 64, value_parser = at_least_one::<usize>())]
    pub(crate) width: usize,

    /// Transformer blocks.
    #[arg(long, default_value_t = 2, value_parser = at_least_one::<usize>())]
    pub(crate) layers: usize,

    /// Highest learning rate: warm-up over a twentieth of the steps, then cosine annealing to 0.
    #[arg(long, default_value_t = 5e-3)]
    pub(crate) lr: f64,

    /// Seed of initial weights, data order, dropout and samples.
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,

    /// Threads that prepare batches; 0 prepares them in the training thread.
    #[arg(long, default_value_t = 0)]
    pub(crate) workers: usize,

    /// Folder for checkpoints and metric logs; a stopped run resumes from it.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,

    /// Device: `cpu`, or another one that this build supports (`cuda`, `wgpu`).
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
}

fn at_least_one<N: TryFrom<u64> + Clone + Send + Sync>() -> RangedU64ValueParser<N> {
    RangedU64ValueParser::new().range(1..)
}
