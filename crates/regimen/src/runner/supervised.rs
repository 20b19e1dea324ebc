//! A task of closures: forward pass, loss and metrics.

use std::fmt;

use super::epoch_metric::EpochMetrics;
use super::{IntoLoss, IntoValue};
use crate::auto_unit::{EVAL_LOSS, PredictTask, StepResults, TRAIN_LOSS, TRAIN_SKIPPED};
use crate::engine::{Engine, ToDevice, Value};
use crate::metric::{ConfusionMatrix, Key, Reduction};
use crate::saved::Stateful;
use crate::{BoxError, Loss, State, Step, Task};

/// A [`Task`] of closures: batches are pairs of an input `X` and a target `Y`, and `O` is the output of the module.
///
/// [`Runner::new`](super::Runner::new) makes one. Alone it is a task for an [`AutoUnit`](crate::AutoUnit) as any
/// other.
pub struct Supervised<E: Engine, X, Y, O> {
    forward: Forward<E, X, O>,
    criterion: Criterion<E, O, Y>,
    metrics: Vec<Measure<E, O, Y>>,
    epoch_metrics: EpochMetrics<O, Y>,
    /// The first setting that cannot be used.
    mistake: Option<String>,
}

type Forward<E, X, O> = Box<dyn FnMut(&Step, &<E as Engine>::Module, &X) -> O + Send>;

/// Given the number of samples last.
type Criterion<E, O, Y> = Box<dyn FnMut(&O, &Y, f64) -> Result<Loss<<E as Engine>::Scalar>, BoxError> + Send>;

/// A metric of a batch.
struct Measure<E: Engine, O, Y> {
    train: Key,
    eval: Key,
    measure: Measuring<E, O, Y>,
}

type Measuring<E, O, Y> = Box<dyn FnMut(&O, &Y) -> Result<Value<<E as Engine>::Scalar>, BoxError> + Send>;

impl<E: Engine, X, Y, O> Supervised<E, X, Y, O> {
    /// Computes the output by `forward`, and the loss of output and target by `criterion`: see
    /// [`Runner::new`](super::Runner::new).
    pub fn new<L: IntoLoss<E::Scalar>>(
        forward: impl FnMut(&Step, &E::Module, &X) -> O + Send + 'static,
        mut criterion: impl FnMut(&O, &Y) -> L + Send + 'static,
    ) -> Self {
        Supervised {
            forward: Box::new(forward),
            criterion: Box::new(move |output, target, samples| criterion(output, target).into_loss(samples)),
            metrics: Vec::new(),
            epoch_metrics: EpochMetrics::new(),
            mistake: None,
        }
    }

    /// Measures every batch: see [`Runner::metric`](super::Runner::metric).
    pub fn metric<K, V: IntoValue<E::Scalar, K>>(
        mut self,
        name: &str,
        measure: impl FnMut(&O, &Y) -> V + Send + 'static,
    ) -> Self {
        self.add_metric(name, measure);
        self
    }

    /// Measures every epoch as a whole: see [`Runner::epoch_metric`](super::Runner::epoch_metric).
    pub fn epoch_metric(
        mut self,
        name: &str,
        keep: impl FnMut(&O, &Y) -> Result<Vec<f64>, BoxError> + Send + 'static,
        finish: impl FnMut(&[f64]) -> Result<f64, BoxError> + Send + 'static,
    ) -> Self {
        self.add_epoch_metric(name, keep, finish);
        self
    }

    /// Counts every epoch in a confusion matrix: see [`Runner::confusion_matrix`](super::Runner::confusion_matrix).
    pub fn confusion_matrix(
        mut self,
        empty: ConfusionMatrix,
        count: impl FnMut(&mut ConfusionMatrix, &O, &Y) -> Result<(), BoxError> + Send + 'static,
    ) -> Self {
        self.add_confusion_matrix(empty, count);
        self
    }

    pub(super) fn add_confusion_matrix(
        &mut self,
        empty: ConfusionMatrix,
        count: impl FnMut(&mut ConfusionMatrix, &O, &Y) -> Result<(), BoxError> + Send + 'static,
    ) {
        self.check_name("confusion_matrix");
        self.epoch_metrics.add_matrix(empty, Box::new(count));
    }

    pub(super) fn add_epoch_metric(
        &mut self,
        name: &str,
        keep: impl FnMut(&O, &Y) -> Result<Vec<f64>, BoxError> + Send + 'static,
        finish: impl FnMut(&[f64]) -> Result<f64, BoxError> + Send + 'static,
    ) {
        self.check_name(name);
        self.epoch_metrics.add(name, Box::new(keep), Box::new(finish));
    }

    /// Refuses a name that another metric or `AutoUnit` has.
    fn check_name(&mut self, name: &str) {
        let behind = |key: &Key| key.name().split_once('/').is_some_and(|(_, behind)| behind == name);
        let mut taken = [TRAIN_LOSS, EVAL_LOSS, TRAIN_SKIPPED].iter().any(behind);
        taken |= self.metrics.iter().any(|metric| behind(&metric.train));
        taken |= self.epoch_metrics.names().any(|known| known == name);
        if taken {
            self.mistake.get_or_insert(format!("the name `{name}` of a metric is taken; give it another"));
        }
    }

    pub(crate) fn add_metric<K, V: IntoValue<E::Scalar, K>>(
        &mut self,
        name: &str,
        mut measure: impl FnMut(&O, &Y) -> V + Send + 'static,
    ) {
        self.check_name(name);
        let [train, eval] =
            ["train", "eval"].map(|phase| Key::named(format!("{phase}/{name}"), Reduction::Mean));
        let measure = Box::new(move |output: &O, target: &Y| measure(output, target).into_value());
        self.metrics.push(Measure { train, eval, measure });
    }

    pub(crate) fn output(&mut self, step: &Step, module: &E::Module, input: &X) -> O {
        (self.forward)(step, module, input)
    }

    pub(crate) fn loss(&mut self, step: &Step, output: &O, target: &Y) -> Result<Loss<E::Scalar>, BoxError> {
        (self.criterion)(output, target, step.samples as f64)
    }

    /// Refuses settings that cannot be used.
    pub(crate) fn check(&self) -> Result<(), BoxError> {
        self.mistake.as_ref().map_or(Ok(()), |mistake| Err(mistake.clone().into()))
    }
}

impl<E: Engine, X, Y, O> Task<E> for Supervised<E, X, Y, O>
where
    X: ToDevice<E::Device>,
    Y: ToDevice<E::Device>,
{
    type Batch = (X, Y);
    type Output = O;

    fn compute_loss(
        &mut self,
        step: &Step,
        module: &E::Module,
        (input, target): &(X, Y),
    ) -> Result<(Loss<E::Scalar>, O), BoxError> {
        let output = self.output(step, module, input);
        let mut loss = self.loss(step, &output, target)?;
        for Measure { train, eval, measure } in &mut self.metrics {
            let key = if step.is_train() { train } else { eval };
            let value = measure(&output, target).map_err(|cause| format!("metric `{key}`: {cause}"))?;
            loss = loss.with(key.clone(), value);
        }
        Ok((loss, output))
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        if self.epoch_metrics.is_empty() { None } else { Some(&mut self.epoch_metrics) }
    }

    fn on_train_start(&mut self, _state: &mut State) -> Result<(), BoxError> {
        self.check()
    }

    fn on_train_epoch_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.epoch_metrics.begin(state);
        Ok(())
    }

    fn on_train_step_end(
        &mut self,
        state: &mut State,
        (_, target): &(X, Y),
        results: StepResults<O>,
    ) -> Result<(), BoxError> {
        self.epoch_metrics.keep(state, &results.output, target)
    }

    fn on_train_epoch_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.epoch_metrics.end(state)
    }

    fn on_eval_start(&mut self, _state: &mut State) -> Result<(), BoxError> {
        self.check()
    }

    fn on_eval_epoch_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.epoch_metrics.begin(state);
        Ok(())
    }

    fn on_eval_step_end(
        &mut self,
        state: &mut State,
        (_, target): &(X, Y),
        results: StepResults<O>,
    ) -> Result<(), BoxError> {
        self.epoch_metrics.keep(state, &results.output, target)
    }

    fn on_eval_epoch_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.epoch_metrics.end(state)
    }
}

impl<E: Engine, X: ToDevice<E::Device>, Y, O> PredictTask<E> for Supervised<E, X, Y, O> {
    type Input = X;
    type Prediction = O;

    fn predict(&mut self, step: &Step, module: &E::Module, input: X) -> Result<O, BoxError> {
        Ok(self.output(step, module, &input))
    }
}

impl<E: Engine, X, Y, O> fmt::Debug for Supervised<E, X, Y, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metrics: Vec<&str> = self.metrics.iter().map(|metric| metric.eval.name()).collect();
        f.debug_struct("Supervised").field("metrics", &metrics).finish_non_exhaustive()
    }
}
