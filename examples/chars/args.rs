//! The flags of `chars`.

use std::path::PathBuf;

use clap::Parser;
use clap::builder::RangedU64ValueParser;

/// Learns to write like a text, and prints how well it predicts the part it has never seen.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Text in UTF-8 to learn from, in place of the bundled plays of Shakespeare.
    #[arg(long)]
    pub(crate) text: Option<PathBuf>,

    /// Batches to learn from.
    #[arg(long, default_value_t = 1000, value_parser = at_least_one::<u64>())]
    pub(crate) steps: u64,

    /// Batches after each of which it is evaluated and prints a sample.
    #[arg(long, default_value_t = 300, value_parser = at_least_one::<u64>())]
    pub(crate) eval_every: u64,

    /// Stretches of text in a batch.
    #[arg(long, default_value_t = 32, value_parser = at_least_one::<usize>())]
    pub(crate) batch_size: usize,

    /// Characters it looks back at.
    #[arg(long, default_value_t = 64, value_parser = at_least_one::<usize>())]
    pub(crate) context: usize,

    /// Numbers that stand for one character inside the network; a multiple of 4.
    #[arg(long, default_value_t = 64, value_parser = at_least_one::<usize>())]
    pub(crate) width: usize,

    /// Blocks of attention and feed-forward.
    #[arg(long, default_value_t = 2, value_parser = at_least_one::<usize>())]
    pub(crate) layers: usize,

    /// Highest learning rate: it rises for a twentieth of the steps, then falls along a cosine.
    #[arg(long, default_value_t = 5e-3)]
    pub(crate) lr: f64,

    /// Sets initial weights, order of the data, dropout and samples.
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,

    /// Threads that prepare batches; none by default.
    #[arg(long, default_value_t = 0)]
    pub(crate) workers: usize,

    /// Folder for checkpoints and metric logs, from which a stopped run goes on.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,

    /// Where to compute: `cpu`, and what else this build was given (`cuda`, `wgpu`).
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
}

fn at_least_one<N: TryFrom<u64> + Clone + Send + Sync>() -> RangedU64ValueParser<N> {
    RangedU64ValueParser::new().range(1..)
}
