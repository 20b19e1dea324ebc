//! Executes a case in as many processes as it has restarts. A process is a unit and a run, and
//! inherits only saved state.

use std::collections::BTreeMap;

use regimen::auto_unit::EVAL_LOSS;
use regimen::callback::{EarlyStopping, Event};
use regimen::run::{Ended, Report};
use regimen::saved::{AppState, StateDict, load_parts, save_parts};
use regimen::state::Phase;
use regimen::unit::{EvalUnit, PredictUnit, TrainUnit};
use regimen::{BoxError, Error, Run};

use super::auto::auto;
use super::case::{Act, Between, Call, Case, Item};
use super::data::Batches;
use super::outcome::Outcome;
use super::plain::Plain;
use super::recorder::{MemorySaver, Recorder, Trouble};
use super::world::{At, Place, Saved, Shared};

/// More calls than a terminating case makes.
const CALLS: usize = 200;

/// The trait of units under test.
pub(super) trait Subject:
    TrainUnit<Batch = Item> + EvalUnit<Batch = Item> + PredictUnit<Batch = Item, Output = u64> + AppState
{
}

impl<U> Subject for U where
    U: TrainUnit<Batch = Item> + EvalUnit<Batch = Item> + PredictUnit<Batch = Item, Output = u64> + AppState
{
}

/// The end of a process.
enum End {
    Done(Outcome),
    /// A restart, from a saved state or from the beginning.
    Restart(Option<Saved>),
}

/// Executes `case`, undisturbed or disturbed.
pub(super) fn drive(case: &Case, disturbed: bool) -> Result<Outcome, String> {
    let shared = Shared::new(case, disturbed);
    let mut from = None;
    loop {
        let end = if case.settings.plain {
            process(&mut Plain::new(case.settings.accumulate, &shared), case, &shared, from)
        } else {
            process(&mut auto(case, &shared).map_err(text)?, case, &shared, from)
        };
        match end? {
            End::Done(outcome) => return Ok(outcome),
            End::Restart(saved) => from = saved,
        }
    }
}

fn process<U: Subject>(
    unit: &mut U,
    case: &Case,
    shared: &Shared,
    from: Option<Saved>,
) -> Result<End, String> {
    let mut run = Run::new(unit).seed(case.seed % 3);
    if let Some(patience) = case.settings.early_stopping {
        // No loss decreases by this much.
        run = run.callback(EarlyStopping::min(EVAL_LOSS, patience).min_delta(1e9));
    }
    let saver = MemorySaver { shared: shared.clone(), every: case.save_every, events: 0 };
    let run = run.callback(Recorder(shared.clone())).callback(Trouble(shared.clone())).saver(saver);
    let mut process = Process { run, case, shared: shared.clone() };
    process.restore(from).map_err(|cause| format!("a restart: {cause}"))?;
    process.calls()
}

/// A unit and a run between two restarts.
pub(super) struct Process<'c, 'u, U> {
    pub(super) run: Run<'u, U>,
    case: &'c Case,
    pub(super) shared: Shared,
}

impl<U: Subject> Process<'_, '_, U> {
    fn restore(&mut self, from: Option<Saved>) -> Result<(), BoxError> {
        self.shared.lock().handle = Some(self.run.pause_handle());
        let Some(Saved { mut parts, run, at }) = from else {
            self.shared.lock().at = At::default();
            return Ok(());
        };
        if self.case.forgetful {
            let fresh = save_parts(self.run.unit_mut())?;
            parts.extend(fresh.into_iter().filter(|(name, _)| name == "auto_unit"));
        }
        load_parts(self.run.unit_mut(), &parts)?;
        self.run.load_run_state(&run)?;
        self.shared.lock().at = at;
        Ok(())
    }

    fn saved(&mut self) -> Result<(BTreeMap<String, StateDict>, StateDict), BoxError> {
        Ok((save_parts(self.run.unit_mut())?, self.run.run_state()?))
    }

    fn calls(mut self) -> Result<End, String> {
        for _ in 0..CALLS {
            let call = self.shared.lock().at.call;
            if let Some(between) = self.between(call) {
                match between {
                    Between::Restart => {
                        let (parts, run) = self.saved().map_err(text)?;
                        let at = self.shared.lock().at.clone();
                        return Ok(End::Restart(Some(Saved { parts, run, at })));
                    }
                    Between::RestartFromSaved => return Ok(End::Restart(self.shared.lock().saved.clone())),
                    Between::Part(steps) => {
                        if let Some(call) = self.case.calls.get(call) {
                            let steps = self.run.state().train_progress().steps + steps;
                            self.call(*call, Some(steps))?;
                        }
                    }
                    Between::Evaluate(batches, resumable) => self.begin(false, batches, resumable)?,
                    Between::Predict(batches, resumable) => self.begin(true, batches, resumable)?,
                    Between::Resume => self.resume()?,
                }
            } else if let Some(call) = self.case.calls.get(call) {
                if self.call(*call, None)? {
                    self.shared.lock().at.call += 1;
                }
            } else {
                return self.end();
            }
        }
        Err("it does not come to its end".into())
    }

    /// The next action before `call`, if any.
    fn between(&self, call: usize) -> Option<Between> {
        let mut world = self.shared.lock();
        if world.between == call {
            world.between += 1;
            world.queue.extend(self.case.between.get(call)?);
        }
        world.queue.pop_front()
    }

    fn end(mut self) -> Result<End, String> {
        let (parts, run) = self.saved().map_err(text)?;
        let left_alone = self.shared.is_left_alone();
        let world = self.shared.lock();
        if let Some(wrong) = world.wrong.first() {
            return Err(wrong.clone());
        }
        if left_alone {
            paired(&world.cycles)?;
        }
        Outcome::new(parts, run, world.seen.clone(), world.at.ended.clone()).map(End::Done)
    }

    pub(super) fn data<'d>(&self, items: &'d [Item], turn: u64) -> Batches<'d> {
        Batches { items, reading: self.case.settings.reading, turn, shared: self.shared.clone() }
    }

    /// Calls `fit` or `train` for at most `steps` steps in total. Returns `true` if the call ended.
    fn call(&mut self, call: Call, steps: Option<u64>) -> Result<bool, String> {
        let settings = &self.case.settings;
        let train = self.data(&self.case.train, 1);
        let waiting = self.before(false);
        let result = match call.fit(settings, steps) {
            Some(fit) => self.run.fit(&train, &self.data(&self.case.eval, 1), fit),
            None => self.run.train(&train, call.train(settings, steps)),
        };
        let report = self.after(result, Phase::Train, waiting)?;
        let Some(report) = report else { return Ok(false) };
        let mut world = self.shared.lock();
        for epoch in &report.epochs {
            let bits = epoch.values.iter().map(|(key, value)| (key.name().to_owned(), value.to_bits()));
            if world.seen.epochs.get(&(epoch.phase, epoch.epoch)) != Some(&bits.collect()) {
                return Err(format!("the report says {epoch:?}, but callbacks saw another value"));
            }
        }
        // The end of a partial call is not compared.
        if steps.is_none() {
            world.at.ended = report.ended.to_string();
        }
        Ok(true)
    }

    /// Records the start of a call. Returns `true` if a pause is already requested.
    pub(super) fn before(&self, by_hand: bool) -> bool {
        let mut world = self.shared.lock();
        world.by_hand = by_hand;
        world.struck.clear();
        self.run.pause_handle().is_asked()
    }

    /// Returns the report of a call that ended. Returns an error if it ended for a reason that did
    /// not occur.
    pub(super) fn after(
        &self,
        result: Result<Report, Error>,
        phase: Phase,
        mut stopped: bool,
    ) -> Result<Option<Report>, String> {
        let world = self.shared.lock();
        let failed = world.struck.iter().find(|(_, act)| *act != Act::Stop);
        // A request after the last hook has no effect.
        stopped |= world.struck.iter().any(|(place, act)| *act == Act::Stop && !place.is_last(phase));
        match result {
            Err(error) if failed.is_none() => Err(format!("a call failed by itself: {error:#}")),
            Err(_) => Ok(None),
            Ok(report) => match (&report.ended, failed) {
                // An error in read-ahead is reported when its batch is due.
                (ended, Some((place, _))) if !matches!(place, Place::Data("next")) => {
                    Err(format!("the failure at {place} was lost: {ended}"))
                }
                (Ended::Paused(_), _) if stopped => Ok(None),
                (Ended::Paused(_), _) => {
                    let places: Vec<String> =
                        world.struck.iter().map(|(place, _)| place.to_string()).collect();
                    Err(format!("a call was paused only by a stop at its end: {places:?}"))
                }
                _ => Ok(Some(report)),
            },
        }
    }
}

/// Returns an error unless the events of cycles alternate.
fn paired(cycles: &[Event]) -> Result<(), String> {
    let turns = [Event::CycleStart, Event::CycleEnd].into_iter().cycle();
    let alternate = turns.zip(cycles).all(|(expected, event)| expected == *event);
    if alternate { Ok(()) } else { Err(format!("cycles begin and end as {cycles:?}")) }
}

fn text(error: BoxError) -> String {
    format!("{error:#}")
}
