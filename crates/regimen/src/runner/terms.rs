//! Losses of several terms.

use std::borrow::Cow;
use std::iter::Sum;
use std::ops::{Add, Mul};

/// A weighted sum of named losses: the result of a criterion with several terms. `S` is the number of the engine.
///
/// It is made of [`term`]s, `+`, and `*` with a number on either side. Each term is logged beside the loss, as
/// `train/NAME` or `eval/NAME`: without its weight, as a mean with the weight of the batch. A name that is given
/// twice, or taken by a metric, or `loss`, is an error of the step.
///
/// ```
/// # use regimen::runner::{Runner, SupervisedUnit, term};
/// # use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp};
/// # type Unit = SupervisedUnit<ToyEngine<ToyMlp>, ToyArray, ToyArray, ToyArray>;
/// # fn example(engine: ToyEngine<ToyMlp>) -> Runner<'static, Unit> {
/// Runner::new(
///     engine,
///     |net, x: &ToyArray| net.forward(x),
///     |output, y: &ToyArray| {
///         let size = output.mul(output).mean();
///         term("error", output.mean_squared_error(y)) + 0.01 * term("size", size)
///     },
/// )
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Terms<S> {
    pub(super) terms: Vec<Term<S>>,
}

#[derive(Clone, Debug)]
pub(super) struct Term<S> {
    pub(super) name: Cow<'static, str>,
    pub(super) weight: f64,
    pub(super) number: S,
}

/// One term of a loss, with the weight 1: see [`Terms`].
pub fn term<S>(name: impl Into<Cow<'static, str>>, number: S) -> Terms<S> {
    Terms { terms: vec![Term { name: name.into(), weight: 1.0, number }] }
}

impl<S> Add for Terms<S> {
    type Output = Terms<S>;

    fn add(mut self, other: Terms<S>) -> Terms<S> {
        self.terms.extend(other.terms);
        self
    }
}

impl<S> Mul<f64> for Terms<S> {
    type Output = Terms<S>;

    fn mul(mut self, factor: f64) -> Terms<S> {
        self.terms.iter_mut().for_each(|term| term.weight *= factor);
        self
    }
}

impl<S> Mul<Terms<S>> for f64 {
    type Output = Terms<S>;

    fn mul(self, terms: Terms<S>) -> Terms<S> {
        terms * self
    }
}

/// A sum of no terms is an error of the step.
impl<S> Sum for Terms<S> {
    fn sum<I: Iterator<Item = Terms<S>>>(all: I) -> Terms<S> {
        Terms { terms: all.flat_map(|terms| terms.terms).collect() }
    }
}
