//! A training step of `AutoUnit`.

use std::mem;

use super::averaging::Counted;
use super::few::Few;
use super::pending::What;
use super::replicas::average_buffers;
use super::settings::{Count as Done, Settings};
use super::share::Held;
use super::window::{Stage, Total};
use super::{AutoUnit, NonFinite, Plateau, StepResults, TRAIN_LOSS, anomaly, checked, detached_values};
use crate::engine::watch::watched;
use crate::engine::{Bucket, Engine, Mode, ToDevice};
use crate::error::placed::placed;
use crate::error::{NotFinite, WithCauses};
use crate::metric::reading::Reading;
use crate::peers::Peers;
use crate::state::Phase;
use crate::text::Count;
use crate::unit::TrainUnit;
use crate::{BoxError, State, Step, Task};

impl<E: Engine, T: Task<E>> TrainUnit for AutoUnit<E, T> {
    type Batch = T::Batch;

    fn train_step(&mut self, state: &mut State, batch: T::Batch) -> Result<(), BoxError> {
        let made = self.make_step(state, batch);
        if made.is_err() {
            self.close_step()?;
        }
        made
    }

    fn on_train_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.settings.check(self.engine.groups())?;
        self.scaler.check()?;
        self.average.as_ref().map_or(Ok(()), |average| average.averaging.check())?;
        self.plateau.as_ref().map_or(Ok(()), Plateau::check)?;
        self.set_precision()?;
        // A scaled gradient may overflow. The scaler handles that; it is no anomaly.
        self.engine.detect_anomaly(self.settings.detect_anomaly && !self.settings.is_scaling());
        // Left by a call that failed before they were read.
        self.read_all()?;
        self.count = Done { updates: state.train_progress().updates, epochs: state.train_progress().epochs };
        if self.rewinds.replace(state.rewinds()).is_some_and(|rewinds| rewinds != state.rewinds()) {
            // Its steps are made again, on the ranks that are left.
            self.discard();
        }
        self.unite(state)?;
        self.share_out(state.peers().map(|peers| &**peers))?;
        state.set_has_share(matches!(self.held, Held::Share(_)));
        // An engine that cannot change its momentum is refused before the first step.
        self.set_momentum()?;
        // Callbacks see at the start which parameters are trained.
        self.freeze_due()?;
        self.changes.drain(..).for_each(|change| state.notify(change));
        state.set_pending_steps(self.window.steps());
        self.task.on_train_start(state)
    }

    fn on_train_epoch_start(&mut self, state: &mut State) -> Result<(), BoxError> {
        // Those of this run ended with their epoch.
        self.drop_foreign_window(self.window.is_open(), state);
        self.count.epochs = state.train_progress().epochs;
        self.task.on_train_epoch_start(state)
    }

    fn on_train_epoch_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        // The epoch may end without a step known to be its last: by a cap that is lower now.
        if self.window.stage().is_some() {
            self.drop_window("the step after them failed, and the epoch ended without it", state);
        }
        if self.window.steps() > 0 {
            // An update that is left out on the device restores the buffers: as they are now, not those before
            // the last step.
            self.close_step()?;
            self.engine.keep_buffers()?;
            let steps = Count(self.window.steps(), "step");
            let last = state.train_progress().steps.saturating_sub(1);
            let updated = self.update(
                state,
                last,
                None,
                &mut StepResults::new(f64::NAN.into(), Few::default(), 0.0, ()),
            );
            updated.map_err(|cause| {
                self.discard();
                placed(format!("the gradients of {steps} are lost"), cause)
            })?;
            // Should the ranks not agree on this end of the epoch, the update would not be counted.
            state.bar_rewind();
        }
        state.set_pending_steps(0);
        let before = self.count.epochs;
        self.count.epochs = state.train_progress().epochs;
        let averaged = self.averaged();
        self.add_to_average(Counted::Epoch(before))?;
        if self.averaged() != averaged {
            // Should the ranks not agree on this end of the epoch, it would be in the average twice.
            state.bar_rewind();
        }
        // A plateau does not judge a loss that is an error.
        self.read_all()?;
        let hook = self.task.on_train_epoch_end(state);
        self.end_epoch(Phase::Train, hook, state)
    }

    fn on_train_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.read_all()?;
        if self.settings.non_finite != NonFinite::Ignore
            && let Some(name) = self.engine.not_finite_parameter()?
        {
            let text = format!(
                "the weights are not finite after the last update: `{name}`; go on from a checkpoint, and \
                 find the cause with `detect_anomaly`"
            );
            return Err(NotFinite::new(text).into());
        }
        self.task.on_train_end(state)
    }
}

impl<E: Engine, T: Task<E>> AutoUnit<E, T> {
    fn make_step(&mut self, state: &mut State, batch: T::Batch) -> Result<(), BoxError> {
        let step = Step::new(state, Mode::Train);
        self.close_step()?;
        self.read_if_full()?;
        self.drop_foreign_window(self.window.is_foreign(step.index), state);
        self.count = Done { updates: state.train_progress().updates, epochs: step.epoch };
        self.compare_if_due(state)?;
        self.freeze_due()?;
        let AutoUnit { engine, task, settings, frozen, step_is_open, .. } = self;
        let batch = state.time("transfer", |_| batch.move_to(&engine.device(Mode::Train)))?;
        engine.keep_buffers()?;
        *step_is_open = true;
        engine.seed(step.seed);
        let mut compute =
            || engine.with_module(Mode::Train, |module| task.compute_loss(&step, module, &batch));
        let (computed, first) = state.time("forward", |_| match settings.detect_anomaly {
            true => watched(compute),
            false => (compute(), None),
        });
        let (mut loss, output) = computed?;
        let (weight, detached) = (checked(loss.weight)?, engine.detach(&loss.mean)?);
        let values = detached_values(engine, mem::take(&mut loss.values))?;
        // A loss of weight 0 is not checked.
        let is_checked = weight > 0.0 && settings.non_finite == NonFinite::Error;
        // The device of one rank alone must not leave out an update.
        let is_awaited = is_checked && state.peers().is_some();
        let must_know = is_awaited || weight > 0.0 && settings.must_know(engine, &detached)?;
        let checked = is_checked.then_some((step.index, What::Loss));
        let (value, known) =
            state.time("read loss", |_| self.pending.add_of_step(detached, must_know, checked))?;
        let is_finite = weight == 0.0 || known.is_none_or(f64::is_finite);
        if let (false, Some(value)) = (is_finite, known)
            && (settings.detect_anomaly || settings.non_finite == NonFinite::Error)
        {
            return Err(anomaly::of_loss(engine, "the loss", value, first));
        }
        if weight == 0.0 || !is_finite && settings.non_finite == NonFinite::Skip {
            // A batch of weight 0 leaves no running statistics either.
            engine.restore_buffers(None)?;
        } else if settings.holds_statistics && frozen.contains(&true) {
            engine.restore_buffers(Some(frozen))?;
        }
        if self.window.is_torn(step.index, &value, weight)? {
            self.drop_window("the failed step after them was not repeated unchanged", state);
            if is_checked && known.is_none() {
                // That withdrew the device's order to leave out the update if this loss is not finite.
                self.engine.skip_unless_finite(&loss.mean)?;
            }
        }
        let mut total = None;
        if self.window.stage().is_none() {
            if self.window.steps() == 0 && self.settings.accumulate > 1 {
                state.mark_window(true);
            }
            self.begin_in_window(step.index, value.clone(), weight, is_finite);
            match self.overlaps(state).then(|| state.peers().cloned()).flatten() {
                Some(peers) => total = Some(self.hold_and_exchange(state, &*peers, &loss.mean)?),
                None => state.time("backward", |_| self.hold(&loss.mean))?,
            }
        }
        if let (Some(Stage::Added), Some(hook)) = (self.window.stage(), &mut self.settings.after_backward)
            && weight > 0.0
        {
            state.time("after backward", |state| hook(&mut self.engine, state))?;
        }
        let has_buffers = match state.peers() {
            Some(peers) => average_buffers(&mut self.engine, &**peers, weight)?,
            None => false,
        };
        let values = self.pending.add_all(values);
        let mut results = StepResults::new(value.clone(), values, weight, output);
        if self.window.is_full(self.settings.accumulate) || state.last_in_epoch() {
            state.time("update", |state| self.update(state, step.index, total, &mut results))?;
        } else {
            self.window.end_step(step.index);
            if has_buffers || self.task.stateful().is_some() {
                // This step would count twice in them if the window were made again.
                state.bar_rewind();
            }
            let counts = is_finite || self.settings.non_finite == NonFinite::Ignore;
            results.log(TRAIN_LOSS, counts, state);
        }
        self.step_is_open = false;
        state.set_pending_steps(self.window.steps());
        state.commit_step();
        state.time("on_train_step_end", |state| self.task.on_train_step_end(state, &batch, results))
    }

    /// The step begins to change the held gradients.
    fn begin_in_window(&mut self, index: u64, loss: Reading, weight: f64, is_finite: bool) {
        let is_scaled = self.gradient_scale().is_some();
        let AutoUnit { settings, window, .. } = self;
        window.begin(index, loss, weight, settings.accumulate, is_scaled);
        if !is_finite && settings.non_finite == NonFinite::Skip {
            window.spoil();
        }
    }

    /// Adds the gradients of the loss of the step to those held, if they count.
    fn hold(&mut self, loss: &E::Scalar) -> Result<(), BoxError> {
        let scale = self.gradient_scale();
        let AutoUnit { engine, settings, window, .. } = self;
        if window.adds() {
            engine.backward(loss, window.backward_factor(scale)).map_err(|cause| {
                match settings.detect_anomaly {
                    true => {
                        let cause = WithCauses(&*cause).to_string();
                        anomaly::of_gradients(engine, cause.trim_end_matches('.'))
                    }
                    false => cause,
                }
            })?;
            if settings.detect_anomaly && scale.is_none() {
                anomaly::check_gradients(engine)?;
            }
        }
        window.reach(Stage::Added);
        Ok(())
    }

    /// Whether the gradients of the step are exchanged while they are computed. The same on all ranks.
    fn overlaps(&self, state: &State) -> bool {
        let Settings { overlaps_exchange, accumulate, after_backward, detect_anomaly, .. } = &self.settings;
        let is_last = self.window.is_full(*accumulate) || state.last_in_epoch();
        let sees_own = after_backward.is_some() || *detect_anomaly;
        *overlaps_exchange && is_last && !sees_own && state.peers().is_some_and(|peers| !peers.takes_device())
    }

    /// Adds the gradients of the last loss of a window and exchanges them, unless there will be no update. Returns the
    /// window of all ranks.
    fn hold_and_exchange(
        &mut self,
        state: &mut State,
        peers: &dyn Peers,
        loss: &E::Scalar,
    ) -> Result<Total, BoxError> {
        let scale = self.gradient_scale();
        let shared = if self.settings.shards_gradients { self.share_out(Some(peers)) } else { Ok(()) };
        let AutoUnit { engine, settings, window, held, .. } = self;
        // Before the gradients are held: their mean is that over all ranks.
        let total = match shared.and_then(|()| window.total_of_ranks(peers)) {
            Ok(total) => total,
            Err(cause) => {
                window.leave_out();
                return Err(cause);
            }
        };
        if !total.makes_update() {
            // Should the skip fail, the step is repeated from its begin.
            window.leave_out();
            return Ok(total);
        }
        let loss = window.adds().then_some(loss);
        let (factor, mean) = (window.backward_factor(scale), window.mean_factor(total.weight, scale));
        let (bytes, sum) = (settings.bucket_bytes, &mut |bucket: Bucket<'_>| peers.sum(bucket));
        let share = match held {
            Held::Share(share) if settings.shards_gradients => Some(&*share),
            _ => None,
        };
        let is_own = share.map(|share| |name: &str| share.has(name));
        let keep = is_own.as_ref().map(|is_own| is_own as &dyn Fn(&str) -> bool);
        state.time("backward and exchange", |_| {
            engine.backward_and_exchange(loss, factor, mean, bytes, keep, sum)
        })?;
        if share.is_some() {
            window.hold_share();
        }
        window.reach(Stage::Averaged);
        Ok(total)
    }

    /// Drops the gradients of another run in the window.
    fn drop_foreign_window(&mut self, is_foreign: bool, state: &mut State) {
        if is_foreign {
            self.drop_window("another run left them without an update", state);
        }
    }

    /// Drops the window, with a notice if counted steps were in it.
    fn drop_window(&mut self, why: &str, state: &mut State) {
        if self.window.steps() > 0 {
            let steps = Count(self.window.steps(), "step");
            state.notify(format!("the gradients of {steps} are dropped: {why}"));
        }
        self.discard();
    }
}
