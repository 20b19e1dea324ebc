//! The common start and the common end of all entry points.

use super::{Ended, EpochMetrics, Report, Run, loops};
use crate::callback::Event;
use crate::error::ErrorKind;
use crate::error::guard::Caught;
use crate::metric::Key;
use crate::peers::{AgreedError, PeerLost};
use crate::state::{EntryPoint, Phase, Stop};
use crate::{BoxError, Error};

impl<U: ?Sized> Run<'_, U> {
    /// One call of an entry point, of which the probe is told.
    pub(super) fn call(
        &mut self,
        entry: EntryPoint,
        body: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<Report, Error> {
        let probe = self.state.probe().cloned();
        probe.iter().for_each(|probe| probe.call_began(entry));
        let result = self.call_untold(entry, body);
        probe.iter().for_each(|probe| probe.call_ended());
        result
    }

    /// The common start, `body`, the common end.
    fn call_untold(
        &mut self,
        entry: EntryPoint,
        body: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<Report, Error> {
        if let Some(mistake) = &self.mistake {
            return Err(Error::config(mistake.clone())).inspect_err(|error| self.abort(error));
        }
        self.state.update_rank();
        self.agree_on_call(entry).inspect_err(|error| self.abort(error))?;
        let phase = entry.phase();
        // A final stop ends training; evaluation and prediction are still possible.
        let over = if phase == Phase::Train { None } else { self.state.replace_stop(None) };
        self.state.aside = over.clone();
        self.state.begin(entry);
        self.epochs.clear();
        self.notices.clear();
        let begun = self.with_saver(|saver, moment| saver.begin(phase, moment));
        let result = begun.and_then(|_| body(self));
        let ended = match self.state.stopping() {
            None => Ended::Complete,
            Some(Stop::Finish(reason)) => Ended::Finished(reason.to_string()),
            Some(Stop::Pause(reason)) => Ended::Paused(reason.to_string()),
        };
        let pause = self.state.stopping().filter(|stop| !stop.is_final()).cloned();
        self.state.clear_stop(false);
        self.state.aside = None;
        if over.is_some() {
            self.state.replace_stop(over);
        }
        match result.and_then(|()| self.report(phase, ended)).and_then(|report| self.confirm(report)) {
            Ok(report) => Ok(report),
            Err(mut error) => {
                // There may be no later call to send them.
                if let Err(other) = loops::tell_notices(self) {
                    error.suppress(other);
                }
                // The call has ended: there is nothing left to pause.
                self.state.clear_stop(false);
                self.callbacks.send_error(&self.state, &mut self.unit, &mut error);
                let told = self.with_saver(|saver, moment| {
                    saver.on_error(&error, moment);
                    Ok(())
                });
                if let Err(other) = told {
                    error.suppress(other);
                }
                self.abort(&error);
                if self.state.is_elastic() && PeerLost::is_in(&error) && self.state.stopping().is_none() {
                    // The ranks that are left have not agreed on it: they do in the next call.
                    self.state.replace_stop(pause);
                }
                Err(error)
            }
        }
    }

    /// Every rank begins the same call, with the same seed. They agree on the steps that they have told.
    fn agree_on_call(&mut self, entry: EntryPoint) -> Result<(), Error> {
        let Some(peers) = self.state.peers().cloned() else { return Ok(()) };
        let call = format!("`{entry:?}` with the seed {}", self.state.seed()).to_lowercase();
        let own = [&self.state.told().to_le_bytes(), call.as_bytes()].concat();
        let at = |cause: BoxError| Caught::Failed(cause).at(&self.state, ErrorKind::Peers);
        let all = peers.gather(&own).map_err(at)?;
        let (told, calls): (Vec<_>, Vec<_>) =
            all.iter().filter_map(|own| own.split_first_chunk::<8>()).unzip();
        let calls: Vec<_> = calls.into_iter().map(String::from_utf8_lossy).collect();
        if let Some(rank) = calls.iter().position(|call| *call != calls[0]) {
            return Err(at(AgreedError::new(format!(
                "rank {rank} calls {}, and rank 0 {}; make the same calls, with the same seed, on all",
                calls[rank], calls[0]
            ))
            .into()));
        }
        // A rank may have come one step further than another. No step is told twice, on none of them.
        let told = told.into_iter().map(|told: &[u8; 8]| u64::from_le_bytes(*told)).max();
        *self.state.told() = told.unwrap_or_default();
        Ok(())
    }

    /// The result of a call that has succeeded here, if it has on every rank.
    pub(super) fn confirm<R>(&self, result: R) -> Result<R, Error> {
        let confirmed = self.state.peers().map_or(Ok(()), |peers| peers.gather(&[]).map(drop));
        confirmed.map(|()| result).map_err(|cause| Caught::Failed(cause).at(&self.state, ErrorKind::Peers))
    }

    /// Ends the call of the others too, unless they have the same error.
    pub(super) fn abort(&self, error: &Error) {
        if let Some(peers) = self.state.peers().filter(|_| !AgreedError::is_in(error)) {
            peers.abort(&format!("{error:#}"));
        }
    }

    /// The report of a call in `phase`, completed by the saver and the callbacks, then sent to these.
    fn report(&mut self, phase: Phase, ended: Ended) -> Result<Report, Error> {
        let mut report = Report {
            phase,
            ended,
            train: self.state.train_progress(),
            eval: self.state.eval_progress(),
            predict: self.state.predict_progress(),
            epochs: std::mem::take(&mut self.epochs),
            notices: std::mem::take(&mut self.notices),
            pending_steps: self.state.pending_steps(),
            bests: Vec::new(),
            saved: None,
        };
        let end = match phase {
            Phase::Train => Event::TrainEnd,
            Phase::Eval => Event::EvalEnd,
            Phase::Predict => Event::PredictEnd,
        };
        if phase == Phase::Train {
            let told = report.notices.len();
            self.with_saver(|saver, moment| {
                saver.sum_up(&mut report, moment);
                Ok(())
            })?;
            self.callbacks.each(&self.state, end, |callback| callback.sum_up(&mut report))?;
            report.notices[told..].iter().for_each(|notice| self.state.notify(notice.clone()));
            loops::tell_notices(self)?;
            // There is nothing left to pause.
            self.state.clear_stop(false);
        }
        self.callbacks.each(&self.state, end, |callback| callback.on_report(&report))?;
        Ok(report)
    }

    /// Adds the metrics of an epoch to the report.
    pub(crate) fn record_epoch(&mut self, phase: Phase, epoch: u64, values: Vec<(Key, f64)>) {
        let train_step = self.state.train_progress().steps;
        self.epochs.push(EpochMetrics { phase, epoch, train_step, values });
    }
}
