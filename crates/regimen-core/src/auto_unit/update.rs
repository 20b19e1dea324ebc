//! The end of an accumulation window: its update, or a skip.

use super::averaging::Counted;
use super::pending::What;
use super::settings::{Count, Settings};
use super::window::{Stage, Total, Window};
use super::{AutoUnit, NonFinite, Plateau, StepResults, TRAIN_LOSS, TRAIN_SKIPPED, Unreached, anomaly};
use crate::engine::{Bucket, Engine};
use crate::error::WithCauses;
use crate::text;
use crate::{BoxError, State, Task};

/// The least norm of the weights of a unit for adaptive clipping.
const LEAST_NORM: f64 = 1e-3;

impl<E: Engine, T: Task<E>> AutoUnit<E, T> {
    /// Ends the window with training step `last`: makes its update, or skips it. An error before the optimizer's
    /// step leaves the window at its stage. `total` is the window of all ranks, if they know it already.
    pub(super) fn update<O>(
        &mut self,
        state: &mut State,
        last: u64,
        total: Option<Total>,
        results: &mut StepResults<O>,
    ) -> Result<(), BoxError> {
        let scale = self.gradient_scale();
        let AutoUnit { engine, settings, window, pending, .. } = self;
        let peers = state.peers().cloned();
        let Total { weight, is_spoilt } = match (total, &peers) {
            (Some(total), _) => total,
            (None, None) => window.total(),
            (None, Some(peers)) => window.total_of_ranks(&**peers)?,
        };
        if is_spoilt {
            // Perhaps by an earlier step.
            let counts = results.loss.known().is_some_and(f64::is_finite);
            return self.skip(state, results, counts);
        }
        if weight == 0.0 {
            commit(state)?;
            self.discard();
            return Ok(());
        }
        if window.stage() <= Some(Stage::Added) {
            if let Some(factor) = window.mean_factor(weight, scale) {
                engine.scale_gradients(factor)?;
            }
            if let Some(peers) = &peers {
                window.reach(Stage::Torn);
                let (bytes, sum) = (settings.bucket_bytes, &mut |bucket: Bucket<'_>| peers.sum(bucket));
                state.time("exchange", |_| match peers.takes_device() {
                    true => engine.exchange_gradients_on_device(bytes, sum),
                    false => engine.exchange_gradients(bytes, sum),
                })?;
            }
            window.reach(Stage::Averaged);
        }
        if window.stage() <= Some(Stage::Averaged) {
            if let Some(hook) = &mut settings.before_update {
                state.time("before update", |state| hook(engine, state))?;
            }
            let may_skip = scale.is_some() || settings.non_finite == NonFinite::Skip;
            let is_finite = match settings.clip_norm {
                Some(limit) => {
                    let norm = engine.clip_gradient_norm(limit)?;
                    let must_know = may_skip || settings.must_know(engine, &norm)?;
                    let is_checked = settings.non_finite == NonFinite::Error;
                    let checked = is_checked.then_some((last, What::Norm));
                    let (norm, known) = pending.add_of_step(norm, must_know, checked)?;
                    results.gradient_norm = Some(norm);
                    known.is_none_or(f64::is_finite)
                }
                None => !may_skip || engine.gradients_are_finite()?,
            };
            if !is_finite && may_skip {
                // The scale may have been too large, and the loss is as good as any.
                return self.skip(state, results, scale.is_some());
            }
            if !is_finite && settings.non_finite == NonFinite::Error {
                let norm = results.gradient_norm()?.unwrap_or(f64::NAN);
                let what = format!("the gradient is not finite: its norm is {norm}");
                let error = anomaly::of_gradients(engine, &what);
                self.discard();
                return Err(error);
            }
            if let Some(limit) = settings.clip_value {
                engine.clip_gradient_values(limit)?;
            }
            if let Some(factor) = settings.clip_adaptive {
                engine.clip_gradient_units(factor, LEAST_NORM)?;
            }
            window.reach(Stage::Clipped);
        }
        self.ask_unreached(state)?;
        self.set_rates()?;
        self.set_momentum()?;
        self.share_out(peers.as_deref())?;
        commit(state)?;
        self.step(state, peers.as_deref())?;
        self.window = Window::default();
        results.log(TRAIN_LOSS, true, state);
        let before = self.count.updates;
        self.count.updates += 1;
        state.count_update();
        (results.updated, self.step_is_open, self.skipped_in_a_row) = (true, false, 0);
        if scale.is_some() {
            self.scaler.updated();
        }
        if self.settings.detect_anomaly {
            anomaly::check_parameters(&self.engine)?;
        }
        match self.average {
            Some(_) => state.time("average", |_| self.add_to_average(Counted::Update(before))),
            None => Ok(()),
        }
    }

    /// Finds once, while the first window's gradients are held, the parameters without one.
    fn ask_unreached(&mut self, state: &mut State) -> Result<(), BoxError> {
        if self.has_asked_unreached || self.settings.unreached == Unreached::Ignore {
            return Ok(());
        }
        let names = self.engine.unreached()?;
        if let [first, others @ ..] = &names[..] {
            let others = match others.len() {
                0 => String::new(),
                n => format!(", nor {n} more"),
            };
            let text = format!(
                "no gradient has reached `{first}`{others}: the loss does not depend on it, or its graph is \
                 cut; freeze what is not to be trained"
            );
            match self.settings.unreached {
                Unreached::Error => return Err(text.into()),
                _ => state.notify(text),
            }
        }
        self.has_asked_unreached = true;
        Ok(())
    }

    pub(super) fn add_to_average(&mut self, at: Counted) -> Result<(), BoxError> {
        self.average.as_mut().map_or(Ok(()), |average| average.add(&self.engine, at))
    }

    /// Ends the window without an update. `counts` says whether its last loss is in the epoch's mean.
    fn skip<O>(
        &mut self,
        state: &mut State,
        results: &mut StepResults<O>,
        counts: bool,
    ) -> Result<(), BoxError> {
        let (in_a_row, limit) = (self.skipped_in_a_row + 1, self.settings.skip_limit);
        let mut scaler = self.scaler.clone();
        if self.settings.is_scaling() {
            scaler.skipped()?;
        } else if limit < in_a_row {
            return Err(format!(
                "more than {limit} updates in a row were skipped, because loss or gradient was not finite; \
                 find the cause with `detect_anomaly`, or raise `skip_limit`"
            )
            .into());
        } else if in_a_row == limit.div_ceil(10) {
            state.notify(format!(
                "{in_a_row} updates in a row were skipped, because loss or gradient was not finite"
            ));
        }
        commit(state)?;
        self.scaler = scaler;
        self.discard();
        self.skipped += 1;
        self.skipped_in_a_row = in_a_row;
        results.log(TRAIN_LOSS, counts, state);
        // All ranks have skipped the same update.
        if state.rank().is_first() {
            state.log(TRAIN_SKIPPED, 1.0, 1.0);
        }
        results.skipped = true;
        Ok(())
    }

    pub(super) fn discard(&mut self) {
        self.engine.discard_gradients();
        self.window = Window::default();
    }

    /// Sets the rates of the update that comes. One that is negative or no number is an error.
    fn set_rates(&mut self) -> Result<(), BoxError> {
        let AutoUnit { engine, settings, count, rates, plateau, used, .. } = self;
        let used = used.get_or_insert_default();
        (used.at, used.momentum) = (*count, settings.momentum_at(*count));
        used.rates.clear();
        used.rates.extend(engine.groups().iter().map(|name| settings.rate_of(name, *count)));
        rates.clear();
        rates.extend(used.rates.iter().map(|&rate| reduced(settings, plateau, rate)));
        match rates.iter().position(|rate| !(rate.is_finite() && *rate >= 0.0)) {
            Some(i) => Err(format!(
                "the learning rate of group `{}` is {} after {}; give a schedule that returns finite numbers from 0",
                engine.groups()[i],
                rates[i],
                text::Count(count.updates, "update"),
            )
            .into()),
            None => Ok(()),
        }
    }

    /// Gives the engine the scheduled momentum of the update that comes.
    pub(super) fn set_momentum(&mut self) -> Result<(), BoxError> {
        let AutoUnit { engine, settings, count, .. } = self;
        match settings.momentum_at(*count) {
            None => Ok(()),
            Some(momentum) if (0.0..1.0).contains(&momentum) => engine
                .set_momentum(momentum)
                .map_err(|cause| format!("`momentum`: {}", WithCauses(&*cause)).into()),
            Some(momentum) => Err(format!(
                "the momentum is {momentum} after {}; give a schedule that returns numbers from 0 to less than 1",
                text::Count(count.updates, "update"),
            )
            .into()),
        }
    }
}

/// The window ends on all ranks, or on none.
fn commit(state: &mut State) -> Result<(), BoxError> {
    if let Some(peers) = state.peers() {
        peers.commit()?;
        state.mark_window(false);
    }
    Ok(())
}

/// The learning rate of a group for the update behind `count`.
pub(super) fn rate<E>(settings: &Settings<E>, plateau: &Option<Plateau>, group: &str, count: Count) -> f64 {
    reduced(settings, plateau, settings.rate_of(group, count))
}

fn reduced<E>(settings: &Settings<E>, plateau: &Option<Plateau>, rate: f64) -> f64 {
    match plateau {
        Some(plateau) if settings.overriding.is_none() => plateau.apply(rate),
        _ => rate,
    }
}
