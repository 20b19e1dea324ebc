//! Step time of a training run with background saves, compared with one without.

use std::path::Path;
use std::time::Instant;

use regimen::callback::Every;
use regimen::checkpoint::Checkpointer;
use regimen::run::Train;
use regimen::saved::AppState;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};
use regimen_bench::{figure, median, rounds};

const ROUNDS: usize = 15;
const STEPS: u64 = 300;
const EVERY: u64 = 10;

/// The weights of a network of 784, 512, 256 and 10 units: 6.4 MB including the state of Adam.
const WEIGHTS: usize = 784 * 512 + 512 * 256 + 256 * 10;
const BATCH: usize = 16;

pub(crate) fn measure(folder: &Path) -> Result<(), BoxError> {
    let dir = folder.join("background");
    let (mut saving, mut plain) = (Vec::new(), Vec::new());
    let means =
        rounds(ROUNDS, &mut [&mut || steps(Some(&dir), &mut saving), &mut || steps(None, &mut plain)])?;
    show("background/mean", &means[0], &means[1])?;
    // The first round is a warm-up.
    show("background/p99", &saving[1..], &plain[1..])
}

/// Measures both in turns. The result is the median of the ratios of the rounds.
fn show(case: &str, with: &[f64], without: &[f64]) -> Result<(), BoxError> {
    let ratios = with.iter().zip(without).map(|(with, without)| with / without).collect();
    figure(case, "ms", 1e3 * median(with.to_vec()), "ms")?;
    figure(case, "ms_without", 1e3 * median(without.to_vec()), "ms")?;
    Ok(figure(case, "ratio", median(ratios), "ratio")?)
}

/// Trains, and saves to `dir` if there is one. Returns the mean seconds per step, including the
/// time between steps, and appends the 99th percentile to `slow`.
fn steps(dir: Option<&Path>, slow: &mut Vec<f64>) -> Result<f64, BoxError> {
    let mut unit = Mlp::new();
    let mut run = Run::new(&mut unit);
    if let Some(dir) = dir {
        if dir.exists() {
            std::fs::remove_dir_all(dir)?;
        }
        run = run.saver(Checkpointer::new(dir).every(Every::steps(EVERY)).keep_last(2));
    }
    run.train(&[0.5; STEPS as usize], Train::steps(STEPS))?;
    drop(run);
    let took = unit.begun.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64());
    let mut took: Vec<f64> = took.collect();
    took.sort_by(f64::total_cmp);
    slow.push(took[took.len() * 99 / 100]);
    Ok(took.iter().sum::<f64>() / took.len() as f64)
}

/// A unit with the arithmetic and state of a perceptron under Adam.
#[derive(AppState, Debug)]
struct Mlp {
    module: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    #[app_state(skip)]
    begun: Vec<Instant>,
}

impl Mlp {
    fn new() -> Self {
        let zeros = || vec![0.0; WEIGHTS];
        Mlp { module: vec![0.01; WEIGHTS], first: zeros(), second: zeros(), begun: Vec::new() }
    }
}

impl TrainUnit for Mlp {
    type Batch = f32;

    fn train_step(&mut self, _: &mut State, batch: f32) -> Result<(), BoxError> {
        self.begun.push(Instant::now());
        let moments = self.first.chunks_mut(1024).zip(self.second.chunks_mut(1024));
        for (weights, (first, second)) in self.module.chunks_mut(1024).zip(moments) {
            // Forward and backward passes multiply each weight three times per sample.
            let mut gradients = [0.0; 1024];
            for pass in 0..3 * BATCH {
                let input = std::hint::black_box(batch + pass as f32);
                for (gradient, weight) in gradients.iter_mut().zip(&*weights) {
                    *gradient += input * weight;
                }
            }
            for (((weight, first), second), gradient) in
                weights.iter_mut().zip(first).zip(second).zip(gradients)
            {
                *first = 0.9 * *first + 0.1 * gradient;
                *second = 0.999 * *second + 0.001 * gradient * gradient;
                *weight -= 1e-6 * *first / (second.sqrt() + 1e-8);
            }
        }
        Ok(())
    }
}
