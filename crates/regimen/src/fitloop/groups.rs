//! The parameter groups of a loop: their learning rates, and which of them are trained.

use std::fmt;
use std::ops::RangeInclusive;

use super::{FitLoop, StagesUnit};
use crate::auto_unit::Thaw;
use crate::engine::{Engine, ToDevice};
use crate::schedule::LearningRates;
use crate::text::Short;
use crate::{BoxError, Error};

/// A parameter group of an engine. As text it is a line: `trains: true   rate: 0.3000 :: head`.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Whether it is trained: not frozen.
    pub trains: bool,
    /// Its learning rate of the next update.
    pub rate: f64,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trains: {:<5}  rate: {} :: {}", self.trains, Short(self.rate), self.name)
    }
}

/// Learning rates for the parameter groups of an engine, in their order.
///
/// | made of | rates |
/// |---|---|
/// | a number | the same for every group |
/// | a list | those of the last groups; groups before them get 0, and numbers too many at the front are left out |
/// | a range, `1e-5..=1e-3` | from its start, for the first group that is trained, to its end, for the last, by equal factors |
///
/// A rate of 0 is not [frozen](FitLoop::freeze): the gradient is computed, and the moments of the optimizer go on.
#[derive(Clone, Debug)]
pub struct Rates(Kind);

#[derive(Clone, Debug)]
enum Kind {
    All(f64),
    Last(Vec<f64>),
    Span(f64, f64),
}

impl From<f64> for Rates {
    fn from(rate: f64) -> Self {
        Rates(Kind::All(rate))
    }
}

impl From<Vec<f64>> for Rates {
    fn from(rates: Vec<f64>) -> Self {
        Rates(Kind::Last(rates))
    }
}

impl<const N: usize> From<[f64; N]> for Rates {
    fn from(rates: [f64; N]) -> Self {
        Rates(Kind::Last(rates.into()))
    }
}

impl From<RangeInclusive<f64>> for Rates {
    fn from(span: RangeInclusive<f64>) -> Self {
        Rates(Kind::Span(*span.start(), *span.end()))
    }
}

impl Rates {
    /// The rate of each group, given which of them are trained. `None` for one whose rate stays.
    fn of(&self, trained: &[bool]) -> Result<Vec<Option<f64>>, BoxError> {
        let rates: Vec<Option<f64>> = match &self.0 {
            Kind::All(rate) => vec![Some(*rate); trained.len()],
            Kind::Last(rates) => {
                let rate = |behind: usize| rates.len().checked_sub(behind).map_or(0.0, |i| rates[i]);
                (0..trained.len()).map(|i| Some(rate(trained.len() - i))).collect()
            }
            Kind::Span(start, end) => {
                if !(*start > 0.0 && *end > 0.0) {
                    return Err(format!("a span from {start} to {end} has no equal factors").into());
                }
                let steps = trained.iter().filter(|trained| **trained).count().saturating_sub(1) as f64;
                let mut place = 0.0;
                let rate = |&trained: &bool| {
                    let share = if steps == 0.0 { 1.0 } else { place / steps };
                    place += f64::from(u8::from(trained));
                    // Exact at both ends.
                    trained.then(|| start.powf(1.0 - share) * end.powf(share))
                };
                trained.iter().map(rate).collect()
            }
        };
        match rates.iter().flatten().find(|rate| !(rate.is_finite() && **rate >= 0.0)) {
            None => Ok(rates),
            Some(rate) => Err(format!("a rate of {rate}; give a finite number of at least 0").into()),
        }
    }
}

/// Parameter groups: rates per layer, freezing, fine-tuning from the last group on.
///
/// The groups are those that the engine was given, from the first layer to the last. A parameter that is in no group of
/// yours is in `default`, which comes first. These calls are for changes between two fits; a restart makes them again, and a
/// difference from the checkpoint is a notice.
impl<'a, E: Engine, X, Y, O> FitLoop<'a, E, X, Y, O>
where
    X: ToDevice<E::Device>,
    Y: ToDevice<E::Device>,
{
    /// The parameter groups, in their order.
    pub fn groups(&self) -> Vec<Group> {
        let unit = self.runner.unit();
        let group = |(name, rate): (String, f64)| Group { trains: !unit.is_frozen(&name), rate, name };
        unit.learning_rates().into_iter().map(group).collect()
    }

    /// Sets the learning rates of the groups, instead of their schedules.
    pub fn set_learning_rates(&mut self, rates: impl Into<Rates>) -> Result<(), Error> {
        let groups = self.groups();
        let trained: Vec<bool> = groups.iter().map(|group| group.trains).collect();
        let rates = rates.into().of(&trained);
        let rates = rates.map_err(|cause| Error::config(format!("`set_learning_rates`: {cause}")))?;
        let mut rates = groups.iter().zip(rates).filter_map(|(group, rate)| Some((&group.name, rate?)));
        let unit = self.runner.unit_mut();
        rates.try_for_each(|(group, rate)| unit.set_group_learning_rate(group, rate)).map_err(Error::config)
    }

    /// Trains the last `n` groups alone: freezes those before them.
    pub fn unlock_last(&mut self, n: usize) -> Result<(), Error> {
        let groups = self.groups();
        let first = groups.len().saturating_sub(n);
        let until = |i| (i < first).then_some(Thaw::Never);
        let unit = self.runner.unit_mut();
        let mut groups = groups.iter().enumerate();
        groups.try_for_each(|(i, group)| unit.set_frozen(&group.name, until(i))).map_err(Error::config)
    }

    /// Freezes a group from the next step on: see [`AutoUnit::freeze`](crate::AutoUnit::freeze).
    pub fn freeze(&mut self, group: &str) -> Result<(), Error> {
        self.runner.unit_mut().set_frozen(group, Some(Thaw::Never)).map_err(Error::config)
    }

    /// Trains a frozen group again from the next step on.
    pub fn unfreeze(&mut self, group: &str) -> Result<(), Error> {
        self.runner.unit_mut().set_frozen(group, None).map_err(Error::config)
    }

    /// Calls `configure` whenever weights were put into the module: after a [`load`](FitLoop::load), a
    /// [`load_model`](FitLoop::load_model), a [`reset`](FitLoop::reset), and at the end of a fit that loads the best. The
    /// place to set [rates](crate::AutoUnit::set_group_learning_rate) and [frozen groups](crate::AutoUnit::set_frozen)
    /// anew.
    pub fn configure_optimizer(
        self,
        configure: impl FnMut(&mut StagesUnit<E, X, Y, O>) -> Result<(), BoxError> + Send + 'a,
    ) -> Self {
        FitLoop { configure: Some(Box::new(configure)), ..self }
    }

    /// Calls the closure of [`configure_optimizer`](FitLoop::configure_optimizer).
    pub(super) fn configure(&mut self) -> Result<(), Error> {
        let unit = self.runner.unit_mut();
        let configured = self.configure.as_mut().map_or(Ok(()), |configure| configure(unit));
        configured.map_err(|cause| Error::config(format!("`configure_optimizer`: {cause}")))
    }
}
