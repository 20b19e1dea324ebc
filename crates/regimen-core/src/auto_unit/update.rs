//! The end of an accumulation window: its update, or none.

use super::averaging::Counted;
use super::settings::{Count, Settings};
use super::window::Window;
use super::{AutoUnit, NonFinite, Plateau, anomaly};
use crate::{BoxError, Engine, State, StepResults, Task};

impl<E: Engine, T: Task<E>> AutoUnit<E, T> {
    /// Ends the window: makes its update, or skips it.
    pub(super) fn update<O>(
        &mut self,
        state: &mut State,
        results: &mut StepResults<O>,
    ) -> Result<(), BoxError> {
        let scale = self.gradient_scale();
        let AutoUnit { engine, settings, window, .. } = self;
        if window.is_spoilt() {
            return self.skip(results);
        }
        if let Some(factor) = window.factor(settings.accumulate, scale) {
            engine.scale_gradients(factor)?;
        }
        if let Some(hook) = &mut settings.before_update {
            hook(engine, state)?;
        }
        let may_skip = scale.is_some() || settings.non_finite == NonFinite::Skip;
        results.gradient_norm = settings.clip_norm.map(|_| engine.gradient_norm()).transpose()?;
        let finite = match results.gradient_norm {
            Some(norm) => norm.is_finite(),
            None => !may_skip || engine.gradients_are_finite()?,
        };
        if !finite && may_skip {
            return self.skip(results);
        }
        if let (Some(limit), Some(norm)) = (settings.clip_norm, results.gradient_norm) {
            if !finite && settings.non_finite == NonFinite::Error {
                let what = format!("the gradient is not finite: its norm is {norm}");
                return Err(anomaly::of_gradients(engine, &what));
            }
            if limit < norm && finite {
                engine.scale_gradients(limit / norm)?;
            }
        }
        if let Some(limit) = settings.clip_value {
            engine.clip_gradient_values(limit)?;
        }
        self.set_rates();
        self.engine.step(&self.rates)?;
        self.window = Window::default();
        let before = self.count.updates;
        self.count.updates += 1;
        state.count_update();
        results.updated = true;
        if scale.is_some() {
            self.scaler.updated();
        }
        if self.settings.detect_anomaly {
            anomaly::check_parameters(&self.engine)?;
        }
        self.add_to_average(Counted::Update(before))
    }

    pub(super) fn add_to_average(&mut self, at: Counted) -> Result<(), BoxError> {
        self.average.as_mut().map_or(Ok(()), |average| average.add(&self.engine, at))
    }

    fn skip<O>(&mut self, results: &mut StepResults<O>) -> Result<(), BoxError> {
        self.discard();
        self.skipped += 1;
        results.skipped = true;
        if self.settings.is_scaling() { self.scaler.skipped() } else { Ok(()) }
    }

    pub(super) fn discard(&mut self) {
        self.engine.discard_gradients();
        self.window = Window::default();
    }

    fn set_rates(&mut self) {
        let AutoUnit { engine, settings, count, rates, plateau, .. } = self;
        rates.clear();
        rates.extend(engine.groups().iter().map(|name| rate(settings, plateau, name, *count)));
    }
}

/// The learning rate of a group for the update behind `count`.
pub(super) fn rate<E>(settings: &Settings<E>, plateau: &Option<Plateau>, group: &str, count: Count) -> f64 {
    let rate = settings.rate_of(group, count);
    plateau.as_ref().map_or(rate, |plateau| plateau.apply(rate))
}
