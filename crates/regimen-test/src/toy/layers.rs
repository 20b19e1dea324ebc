//! Layers, and a perceptron of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{ToyArray, ToyVars};

/// A perceptron with one hidden layer: linear, tanh, linear. If [regularized](ToyMlp::regularized), with a
/// [`ToyCentre`] and a [`ToyDropout`] between them.
///
/// Its parameters are `hidden.weight`, `hidden.bias`, `output.weight`, `output.bias`; its buffer
/// is `centre.running_mean`.
#[derive(Clone, Debug)]
pub struct ToyMlp {
    hidden: ToyLinear,
    regular: Option<(ToyCentre, ToyDropout)>,
    output: ToyLinear,
}

impl ToyMlp {
    /// Of `[inputs, hidden, outputs]` features.
    pub fn plain(vars: &mut ToyVars, [inputs, hidden, outputs]: [usize; 3]) -> Self {
        ToyMlp {
            hidden: ToyLinear::new(vars, "hidden", inputs, hidden),
            regular: None,
            output: ToyLinear::new(vars, "output", hidden, outputs),
        }
    }

    /// The same with running statistics, and with dropout of probability `p`.
    pub fn regularized(vars: &mut ToyVars, sizes: [usize; 3], p: f64) -> Self {
        let centre = ToyCentre::new(vars, "centre", sizes[1]);
        let dropout = ToyDropout::new(vars, p);
        ToyMlp { regular: Some((centre, dropout)), ..ToyMlp::plain(vars, sizes) }
    }

    /// From `[batch, inputs]` to `[batch, outputs]`.
    pub fn forward(&self, x: &ToyArray) -> ToyArray {
        let hidden = self.hidden.forward(x).tanh();
        match &self.regular {
            Some((centre, dropout)) => self.output.forward(&dropout.forward(&centre.forward(&hidden))),
            None => self.output.forward(&hidden),
        }
    }
}

/// `x * weight + bias`, with a weight of shape `[inputs, outputs]`.
#[derive(Clone, Debug)]
pub struct ToyLinear {
    weight: ToyArray,
    bias: ToyArray,
}

impl ToyLinear {
    /// A layer whose parameters are `path.weight` and `path.bias`.
    pub fn new(vars: &mut ToyVars, path: &str, inputs: usize, outputs: usize) -> Self {
        let limit = 1.0 / (inputs as f64).sqrt();
        let weight = vars.parameter(format!("{path}.weight"), &[inputs, outputs], limit);
        let bias = vars.parameter(format!("{path}.bias"), &[outputs], limit);
        ToyLinear { weight, bias }
    }

    /// From `[batch, inputs]` to `[batch, outputs]`.
    pub fn forward(&self, x: &ToyArray) -> ToyArray {
        x.matmul(&self.weight).add(&self.bias)
    }
}

/// Dropout, in training only.
#[derive(Clone, Debug)]
pub struct ToyDropout {
    p: f64,
    training: Arc<AtomicBool>,
}

impl ToyDropout {
    /// Drops with probability `p`.
    pub fn new(vars: &ToyVars, p: f64) -> Self {
        ToyDropout { p, training: vars.train_flag() }
    }

    /// The shape stays.
    pub fn forward(&self, x: &ToyArray) -> ToyArray {
        if self.training.load(Ordering::Relaxed) { x.dropout(self.p) } else { x.clone() }
    }
}

/// Subtracts the mean of the batch in training, and the running mean of all batches otherwise: the part of
/// batch normalization that has a buffer.
#[derive(Clone, Debug)]
pub struct ToyCentre {
    running_mean: ToyArray,
    training: Arc<AtomicBool>,
}

impl ToyCentre {
    /// A layer whose buffer is `path.running_mean`.
    pub fn new(vars: &mut ToyVars, path: &str, features: usize) -> Self {
        let running_mean = vars.buffer(format!("{path}.running_mean"), &[features]);
        ToyCentre { running_mean, training: vars.train_flag() }
    }

    /// From and to `[batch, features]`; in training the running mean moves a tenth of the way.
    pub fn forward(&self, x: &ToyArray) -> ToyArray {
        if !self.training.load(Ordering::Relaxed) {
            return x.sub(&self.running_mean);
        }
        let mean = x.mean_row();
        let batch = mean.values();
        self.running_mean.update(|running| {
            running.iter_mut().zip(batch).for_each(|(running, batch)| *running += 0.1 * (batch - *running));
        });
        x.sub(&mean)
    }
}
