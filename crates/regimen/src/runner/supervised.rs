//! A task of closures: forward pass, loss and metrics.

use std::fmt;

use super::epoch_metric::{EpochMetrics, LogMeasure, log_picture, log_value};
use super::terms::{Term, Terms};
use super::{AnyLoss, IntoLoss, IntoValue};
use crate::auto_unit::{EVAL_LOSS, PredictTask, StepResults, TRAIN_LOSS, TRAIN_SKIPPED};
use crate::engine::{Engine, ToDevice, Value};
use crate::metric::{self, ConfusionMatrix, Key, Reduction};
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
    /// The keys of the terms of the loss, made once.
    terms: Vec<Keys>,
    /// The terms of the loss of the newest step, by their keys.
    newest: Vec<usize>,
    /// The first setting that cannot be used.
    mistake: Option<String>,
}

type Forward<E, X, O> = Box<dyn FnMut(&Step, &<E as Engine>::Module, &X) -> O + Send>;

type Criterion<E, O, Y> = Box<dyn FnMut(&O, &Y) -> Result<AnyLoss<<E as Engine>::Scalar>, BoxError> + Send>;

/// A metric of a batch.
struct Measure<E: Engine, O, Y> {
    keys: Keys,
    measure: Measuring<E, O, Y>,
}

/// The keys of one name.
struct Keys {
    train: Key,
    eval: Key,
}

impl Keys {
    fn of(name: &str) -> Self {
        let [train, eval] =
            ["train", "eval"].map(|phase| Key::named(format!("{phase}/{name}"), Reduction::Mean));
        Keys { train, eval }
    }

    fn are_of(&self, name: &str) -> bool {
        is_of(&self.train, name)
    }

    fn key(&self, step: &Step) -> &Key {
        if step.is_train() { &self.train } else { &self.eval }
    }
}

/// Whether `key` is that of `name` in some phase.
fn is_of(key: &Key, name: &str) -> bool {
    key.name().split_once('/').is_some_and(|(_, behind)| behind == name)
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
            criterion: Box::new(move |output, target| criterion(output, target).into_loss()),
            metrics: Vec::new(),
            epoch_metrics: EpochMetrics::new(),
            terms: Vec::new(),
            newest: Vec::new(),
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

    /// Counts every epoch in a measure and logs its value: see [`Runner::measure`](super::Runner::measure).
    pub fn measure<M: metric::Measure<Value = Option<f64>> + Send + 'static>(
        mut self,
        name: &str,
        empty: M,
        count: impl FnMut(&mut M, &O, &Y) -> Result<(), BoxError> + Send + 'static,
    ) -> Self
    where
        Y: 'static,
        O: 'static,
    {
        self.add_measure(name, empty, count, log_value);
        self
    }

    /// Counts every epoch in a confusion matrix: see [`Runner::confusion_matrix`](super::Runner::confusion_matrix).
    pub fn confusion_matrix(
        mut self,
        empty: ConfusionMatrix,
        count: impl FnMut(&mut ConfusionMatrix, &O, &Y) -> Result<(), BoxError> + Send + 'static,
    ) -> Self
    where
        Y: 'static,
        O: 'static,
    {
        self.add_confusion_matrix(empty, count);
        self
    }

    pub(super) fn add_confusion_matrix(
        &mut self,
        empty: ConfusionMatrix,
        count: impl FnMut(&mut ConfusionMatrix, &O, &Y) -> Result<(), BoxError> + Send + 'static,
    ) where
        Y: 'static,
        O: 'static,
    {
        self.add_measure("confusion_matrix", empty, count, log_picture);
    }

    pub(super) fn add_measure<M: metric::Measure + Send + 'static>(
        &mut self,
        name: &str,
        empty: M,
        count: impl FnMut(&mut M, &O, &Y) -> Result<(), BoxError> + Send + 'static,
        log: LogMeasure<M>,
    ) where
        Y: 'static,
        O: 'static,
    {
        self.check_name(name);
        self.epoch_metrics.add_measure(name, empty, Box::new(count), log);
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

    /// Refuses a name that another metric or `AutoUnit` has. States of epochs are saved under names, so `a` and `a.b`
    /// do not go together.
    fn check_name(&mut self, name: &str) {
        if self.is_taken(name) {
            self.mistake.get_or_insert(format!("the name `{name}` of a metric is taken; give it another"));
        }
    }

    /// Whether a metric or `AutoUnit` has that name.
    fn is_taken(&self, name: &str) -> bool {
        [TRAIN_LOSS, EVAL_LOSS, TRAIN_SKIPPED].iter().any(|key| is_of(key, name))
            || self.metrics.iter().any(|metric| metric.keys.are_of(name))
            || self.epoch_metrics.names().any(|known| {
                let longer = known.strip_prefix(name).or_else(|| name.strip_prefix(known));
                longer.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
    }

    pub(crate) fn add_metric<K, V: IntoValue<E::Scalar, K>>(
        &mut self,
        name: &str,
        mut measure: impl FnMut(&O, &Y) -> V + Send + 'static,
    ) {
        self.check_name(name);
        let measure = Box::new(move |output: &O, target: &Y| measure(output, target).into_value());
        self.metrics.push(Measure { keys: Keys::of(name), measure });
    }

    pub(crate) fn output(&mut self, step: &Step, module: &E::Module, input: &X) -> O {
        (self.forward)(step, module, input)
    }

    pub(crate) fn loss(&mut self, step: &Step, output: &O, target: &Y) -> Result<Loss<E::Scalar>, BoxError> {
        let samples = step.samples as f64;
        match (self.criterion)(output, target)? {
            AnyLoss::Mean(mean) => Ok(Loss::mean(mean, samples)),
            AnyLoss::Weighted(loss) => Ok(loss),
            AnyLoss::Sum(Terms { terms }) => self.summed(step, terms),
        }
    }

    /// The sum of `terms`, with each of them beside it.
    fn summed(&mut self, step: &Step, terms: Vec<Term<E::Scalar>>) -> Result<Loss<E::Scalar>, BoxError> {
        for (n, Term { name, .. }) in terms.iter().enumerate() {
            if terms[..n].iter().any(|other| other.name == *name) {
                return Err(format!("two terms of the loss are named `{name}`; give one another name").into());
            }
            if !self.terms.iter().any(|keys| keys.are_of(name)) {
                if self.is_taken(name) {
                    return Err(
                        format!("the name `{name}` of a term of the loss is taken; give it another").into()
                    );
                }
                self.terms.push(Keys::of(name));
            }
        }
        if terms.is_empty() {
            return Err("a loss of no terms; give it one or more".into());
        }
        let weighted: Vec<_> = terms.iter().map(|term| (term.weight, &term.number)).collect();
        let mut loss = Loss::mean(E::weighted_sum(&weighted)?, step.samples as f64);
        for Term { name, number, .. } in terms {
            if let Some(known) = self.terms.iter().position(|keys| keys.are_of(&name)) {
                self.newest.push(known);
                loss = loss.with(self.terms[known].key(step).clone(), Value::Device(number));
            }
        }
        Ok(loss)
    }

    /// Whether the loss of the newest step has a term of that name.
    pub(crate) fn has_term(&self, name: &str) -> bool {
        self.newest.iter().any(|&known| self.terms[known].are_of(name))
    }

    /// A step begins.
    pub(crate) fn begin_step(&mut self) {
        self.newest.clear();
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
        self.begin_step();
        let output = self.output(step, module, input);
        let mut loss = self.loss(step, &output, target)?;
        for Measure { keys, measure } in &mut self.metrics {
            let key = keys.key(step);
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
        self.epoch_metrics.keep(state, &results, target)
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
        self.epoch_metrics.keep(state, &results, target)
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
        let metrics: Vec<&str> = self.metrics.iter().map(|metric| metric.keys.eval.name()).collect();
        f.debug_struct("Supervised").field("metrics", &metrics).finish_non_exhaustive()
    }
}
