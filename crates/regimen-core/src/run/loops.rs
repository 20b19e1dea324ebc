//! The loops. This is the only place where units are stepped and events are sent.
//!
//! ```text
//! train                                  pass                            epoch
//!   start                                  start                           epoch start, unless it is open
//!   an epoch left open at its end          epoch, unless it is finished    until the data or the cap ends it
//!   until a limit or a stop                end                               an evaluation that is due
//!     an evaluation that is due                                              a limit or a stop leaves it open
//!     cycle end, if it is trained                                            step: fetch, step, count
//!     cycle start, if none is open                                         count the epoch, epoch end
//!     epoch
//!   end
//! ```

use super::limits::Limits;
use super::look_ahead::{self, LookAhead};
use super::passes::{Hook, Pass, PassEvents, TrainPass};
use crate::callback::{Event, Every};
use crate::data::{Data, Epoch, Fetched};
use crate::error::ErrorKind;
use crate::error::guard::{Caught, guard};
use crate::peers::PeerLost;
use crate::state::{Cycle, EntryPoint, Expected, Phase, PhaseState, Progress, Sharing, State};
use crate::text::Count;
use crate::unit::TrainUnit;
use crate::{BoxError, Error, Run};

/// The evaluations that `fit` makes between the steps of training.
pub(crate) struct Evaluations<'e, 'a, U: ?Sized> {
    /// Their cadence.
    pub(crate) every: Every,
    /// Runs one.
    pub(crate) evaluate: &'e mut dyn FnMut(&mut Run<'a, U>) -> Result<(), Error>,
}

/// The next action of training.
enum Next {
    /// The evaluation that is due after an epoch.
    Evaluate,
    EndCycle,
    StartCycle,
    /// An epoch, or the rest of one that is open.
    Epoch,
    /// A limit is reached, or something stopped the run.
    End,
}

/// Trains up to a limit or a stop; `fit` has evaluations, `train` has none.
pub(crate) fn train<'a, U, D>(
    run: &mut Run<'a, U>,
    data: &D,
    limits: &Limits,
    mut evaluations: Option<Evaluations<'_, 'a, U>>,
) -> Result<(), Error>
where
    U: TrainUnit + ?Sized,
    D: Data<Batch = U::Batch> + ?Sized,
{
    start(run, &mut TrainPass, data, limits)?;
    // The end of an epoch follows its last step, even if a stop or an error came in between.
    let PhaseState { epoch_open, last_in_epoch, .. } = *run.state.active_phase_mut();
    if epoch_open && last_in_epoch {
        epoch(run, &mut TrainPass, data, limits, &mut evaluations)?;
    }
    loop {
        match next(run, limits, evaluations.is_some())? {
            Next::Evaluate => {
                if let Some(evaluations) = &mut evaluations {
                    (evaluations.evaluate)(run)?;
                }
            }
            Next::EndCycle => {
                if run.state.end_cycle() {
                    fire(run, Event::CycleEnd)?;
                }
            }
            Next::StartCycle => {
                fire(run, Event::CycleStart)?;
                run.state.cycle = Cycle::Open;
            }
            Next::Epoch => epoch(run, &mut TrainPass, data, limits, &mut evaluations)?,
            Next::End => break,
        }
    }
    if let Some(evaluations) = evaluations {
        notify_never_evaluated(run, evaluations.every);
    }
    end(run, &mut TrainPass)
}

/// The next action of training, from the state alone.
fn next<U: ?Sized>(run: &mut Run<'_, U>, limits: &Limits, evaluates: bool) -> Result<Next, Error> {
    let stops = must_stop(run)?;
    let state = &mut run.state;
    let is_due = evaluates && state.eval_due;
    Ok(if stops {
        Next::End
    } else if is_due && !state.active_phase_mut().epoch_open {
        Next::Evaluate
    } else if state.cycle == Cycle::Trained {
        Next::EndCycle
    } else if limits.reached(state.train_progress()) && !is_due {
        Next::End
    } else if evaluates && state.cycle == Cycle::Closed {
        Next::StartCycle
    } else {
        Next::Epoch
    })
}

/// Whether the run is to stop, on all ranks alike.
fn must_stop<U: ?Sized>(run: &mut Run<'_, U>) -> Result<bool, Error> {
    if run.state.peers().is_none() {
        return Ok(run.state.must_stop());
    }
    guard(|| run.state.agree_to_stop(false)).map_err(|caught| caught.at(&run.state, ErrorKind::Peers))
}

/// An agreement of the ranks in an epoch. Kept out of the way of a process that trains alone.
#[cold]
#[inline(never)]
fn agree<E: Epoch, R>(
    state: &mut State,
    reader: &mut LookAhead<E>,
    on: impl FnOnce(&mut State) -> Result<R, BoxError>,
) -> Result<R, Error> {
    guard(|| on(state)).map_err(|caught| match reader.take_failure() {
        // The cause of the disagreement.
        Some(cause) => cause.at(state, ErrorKind::Data),
        None => caught.at(state, ErrorKind::Peers),
    })
}

/// Adds the notice that `fit` reached its limit before its first evaluation.
fn notify_never_evaluated<U: ?Sized>(run: &mut Run<'_, U>, every: Every) {
    let Progress { epochs, steps, updates, .. } = run.state.train_progress();
    let is_off = every == Every::NEVER || run.state.expected(Phase::Eval).steps_in_epoch == Some(0);
    if !is_off && run.state.stopping().is_none() && run.state.eval_progress().epochs == 0 && steps > 0 {
        run.state.notify(format!(
            "`fit` came to its limit before its first evaluation: it evaluates {every}, and has made {}, {} and {}",
            Count(epochs, "epoch"),
            Count(steps, "step"),
            Count(updates, "update")
        ));
    }
}

/// Runs one pass over `data`: an evaluation or a prediction.
pub(crate) fn pass<'a, U, P, D>(
    run: &mut Run<'a, U>,
    pass: &mut P,
    data: &D,
    limits: &Limits,
) -> Result<(), Error>
where
    U: ?Sized,
    P: Pass<U>,
    D: Data<Batch = P::Batch> + ?Sized,
{
    let outer = run.state.phase();
    run.state.enter(P::PHASE);
    start(run, pass, data, limits)?;
    run.state.drop_outdated_epoch();
    if run.state.is_finished_by_hand() {
        // It is not repeated: its metrics are reported again, and a sink checks its outputs.
        pass.begin(&mut run.state)?;
        let progress = run.state.progress();
        let values = run.state.active_phase_mut().metrics.of_epoch(progress.epochs);
        run.record_epoch(P::PHASE, progress.epochs, values);
    } else if limits.steps_per_epoch == Some(0) {
        run.state.eval_due &= run.state.entry_point() != EntryPoint::Fit;
    } else if !must_stop(run)? {
        pass.begin(&mut run.state)?;
        let made = epoch(run, pass, data, limits, &mut None);
        let settled = pass.settle(&mut run.state);
        made.and(settled)?;
        if run.state.peers().is_some() {
            // A stop at the end of a pass by hand is in the report of each rank.
            must_stop(run)?;
        }
    }
    end(run, pass)?;
    run.state.enter(outer);
    Ok(())
}

fn start<U, P, D>(run: &mut Run<'_, U>, pass: &mut P, data: &D, limits: &Limits) -> Result<(), Error>
where
    U: ?Sized,
    P: Pass<U>,
    D: Data + ?Sized,
{
    let batches = guard(|| Ok(data.batches())).map_err(|caught| caught.at(&run.state, ErrorKind::Data))?;
    run.state.set_batches(batches);
    run.state.expected[P::PHASE as usize] = Expected {
        steps_in_epoch: [batches, limits.steps_per_epoch].into_iter().flatten().min(),
        epochs: limits.epochs,
        steps: limits.steps,
    };
    pass.hook(&mut run.unit, &mut run.state, Hook::Start)?;
    fire(run, P::EVENTS.start)?;
    tell_notices(run)
}

fn end<U: ?Sized, P: Pass<U>>(run: &mut Run<'_, U>, pass: &mut P) -> Result<(), Error> {
    let decided = run.state.stopping().cloned();
    let hook = pass.hook(&mut run.unit, &mut run.state, Hook::End);
    let told = hook.and_then(|()| send(run, P::EVENTS.end));
    if run.state.entry_point().phase() == P::PHASE {
        // The call is over: a stop from an end hook comes too late.
        run.state.replace_stop(decided);
    }
    run.state.forget_media();
    told?;
    save(run, P::EVENTS.end)?;
    tell_notices(run)
}

/// Runs one epoch, or the rest of it, up to its end, a limit or a stop.
fn epoch<'a, U, P, D>(
    run: &mut Run<'a, U>,
    pass: &mut P,
    data: &D,
    limits: &Limits,
    evaluations: &mut Option<Evaluations<'_, 'a, U>>,
) -> Result<(), Error>
where
    U: ?Sized,
    P: Pass<U>,
    D: Data<Batch = P::Batch> + ?Sized,
{
    if !run.state.active_phase_mut().epoch_open {
        pass.hook(&mut run.unit, &mut run.state, Hook::EpochStart)?;
        fire(run, P::EVENTS.epoch_start)?;
        run.state.open_epoch();
    }
    let (at, passed_over) = (run.state.at(), run.state.passed_over());
    let reader = look_ahead::open(data, at, limits.steps_per_epoch, passed_over);
    let mut reader = reader.map_err(|caught| caught.at(&run.state, ErrorKind::Data))?;
    run.state.expected[P::PHASE as usize].steps_in_epoch = reader.steps();
    let eval_every = evaluations.as_ref().map(|evaluations| evaluations.every);
    loop {
        if let Some(evaluations) = evaluations.as_mut().filter(|_| run.state.eval_due) {
            if must_stop(run)? {
                return Ok(());
            }
            (evaluations.evaluate)(run)?;
            continue;
        }
        let progress = run.state.progress();
        let is_over = reader.peek_end(progress.steps_in_epoch);
        let (stops, is_together) = match run.state.peers() {
            None => (run.state.must_stop(), false),
            Some(_) => (agree(&mut run.state, &mut reader, |state| state.agree_to_stop(is_over))?, true),
        };
        if is_over {
            break;
        }
        // A stop waits for the end of steps that are made again: a save before it would have callbacks that have heard
        // of them.
        if stops && !run.state.is_made_again() || limits.reached(progress) {
            return Ok(());
        }
        if is_together {
            begin_together(run);
        }
        let made = step(run, pass, &mut reader, eval_every);
        if is_together {
            end_together(run, progress.samples);
        }
        made?;
    }
    drop(reader);
    complete(run, pass, limits, eval_every)
}

/// A step of several ranks begins. If it is made [again](Run::rewind), the callbacks do not hear of it twice. The
/// saver does: it may not have finished its work on all ranks.
#[cold]
#[inline(never)]
fn begin_together<U: ?Sized>(run: &mut Run<'_, U>) {
    if run.state.is_made_again() {
        run.callbacks.mute();
    }
}

#[cold]
#[inline(never)]
fn end_together<U: ?Sized>(run: &mut Run<'_, U>, samples_before: u64) {
    run.state.count_shares(samples_before);
    run.callbacks.unmute();
}

/// Fetches a batch and makes one step with it. A step that fails has not happened, unless the unit
/// committed it: its logs and counts are taken back, and the next call repeats it.
fn step<U, P, E>(
    run: &mut Run<'_, U>,
    pass: &mut P,
    reader: &mut LookAhead<E>,
    eval_every: Option<Every>,
) -> Result<(), Error>
where
    U: ?Sized,
    P: Pass<U>,
    E: Epoch<Batch = P::Batch>,
{
    let before = run.state.begin_step();
    let fetched = fetch(run, &P::EVENTS, reader).inspect_err(|_| run.state.take_back_step(before))?;
    let result = pass.step(&mut run.unit, &mut run.state, fetched.batch);
    if result.is_err() && !run.state.step_is_committed() {
        run.state.take_back_step(before);
        return result;
    }
    let active = run.state.active_phase_mut();
    active.progress.count_step(fetched.samples);
    active.position = fetched.position;
    if let Some(every) = eval_every {
        // If the end of the epoch brings an evaluation too, there is one, and it comes then.
        run.state.eval_due |= run.state.is_due(every) && !run.state.is_due_at_epoch_end(every);
    }
    let told = match is_spoilt(&result) {
        true => send(run, P::EVENTS.step_end),
        false => fire(run, P::EVENTS.step_end),
    };
    run.state.end_due();
    let told = told.and_then(|()| tell_notices(run));
    first(result, told)
}

/// The first of two failures, with the other in it.
fn first(first: Result<(), Error>, second: Result<(), Error>) -> Result<(), Error> {
    match (first, second) {
        (Ok(()), second) => second,
        (Err(mut first), second) => {
            second.err().into_iter().for_each(|second| first.suppress(second));
            Err(first)
        }
    }
}

/// Fetches a batch, up to the start of its step. Its samples are those of all ranks.
fn fetch<U: ?Sized, E: Epoch>(
    run: &mut Run<'_, U>,
    events: &PassEvents,
    reader: &mut LookAhead<E>,
) -> Result<Fetched<E::Batch>, Error> {
    fire(run, events.fetch_start)?;
    let done = run.state.progress().steps_in_epoch;
    let mut fetched = reader.next(done).map_err(|caught| caught.at(&run.state, ErrorKind::Data))?;
    let active = run.state.active_phase_mut();
    (active.samples_at_hand, active.last_in_epoch) = (fetched.samples, reader.peek_end(done + 1));
    while let Some(notice) = reader.notice() {
        run.state.notify(notice);
    }
    fire(run, events.fetch_end)?;
    if run.state.peers().is_some() {
        // It waits for the slowest rank, which is no time of this fetch.
        let own = fetched.samples;
        fetched.samples = agree(&mut run.state, reader, |state| state.samples_of_ranks(own))?;
    }
    fire(run, events.step_start)?;
    Ok(fetched)
}

/// Counts an epoch whose data or cap came to its end.
fn complete<U: ?Sized, P: Pass<U>>(
    run: &mut Run<'_, U>,
    pass: &mut P,
    limits: &Limits,
    eval_every: Option<Every>,
) -> Result<(), Error> {
    if run.state.progress().steps_in_epoch == 0 && !limits.allow_empty {
        let text = format!("the {} data gave no batch; fill it, or say `allow_empty()`", P::PHASE);
        return Err(Caught::Failed(text.into()).at(&run.state, ErrorKind::Data));
    }
    let before = run.state.before_epoch_end();
    let active = run.state.active_phase_mut();
    active.progress.count_epoch();
    (active.epoch_open, active.last_in_epoch, active.position) = (false, false, None);
    let progress = active.progress;
    match P::PHASE {
        Phase::Train => {
            // Also if `train` ends the epoch of a cycle that `fit` began.
            if run.state.cycle == Cycle::Open {
                run.state.cycle = Cycle::Trained;
            }
            run.state.eval_due |= eval_every.is_some_and(|every| run.state.is_due(every));
        }
        Phase::Eval => run.state.eval_due &= run.state.entry_point() != EntryPoint::Fit,
        Phase::Predict => {}
    }
    run.state.await_metrics_of_ranks();
    let hook = pass.hook(&mut run.unit, &mut run.state, Hook::EpochEnd).and_then(|()| {
        guard(|| run.state.share_metrics()).map_err(|caught| caught.at(&run.state, ErrorKind::Peers))
    });
    if let Some(before) = before.filter(|_| is_of_lost_rank(&hook) && run.state.awaits_metrics_of_ranks()) {
        // It has ended on no rank, and ends again.
        run.state.take_back_epoch_end(before);
        return hook;
    }
    run.state.unmark_epoch();
    if let (Phase::Train, Some(every)) = (P::PHASE, eval_every) {
        // The hook may have made the last update of the epoch.
        run.state.eval_due |= run.state.is_due(every);
    }
    run.state.active_phase_mut().metrics.end_epoch(progress.epochs);
    // The epoch is counted and takes the logs of the callbacks, so they receive its end even if the
    // unit failed.
    // Other ranks are in the agreement on metrics that a hook that failed has not come to.
    let is_spoilt = is_spoilt(&hook) || hook.is_err() && run.state.peers().is_some();
    let told = first(hook, send(run, P::EVENTS.epoch_end));
    let active = run.state.active_phase_mut();
    let values = active.metrics.of_epoch(progress.epochs);
    active.metrics.begin_epoch();
    active.sharing = Sharing::NotDue;
    run.record_epoch(P::PHASE, progress.epochs, values);
    let told = if is_spoilt { told } else { first(told, save(run, P::EVENTS.epoch_end)) };
    run.state.end_due();
    told
}

/// Whether the unit has found a number that is not finite. The state is not saved then, because a roll-back to it
/// would not leave that number.
fn is_spoilt(result: &Result<(), Error>) -> bool {
    result.as_ref().is_err_and(Error::is_not_finite)
}

fn is_of_lost_rank(result: &Result<(), Error>) -> bool {
    result.as_ref().is_err_and(|error| PeerLost::is_in(error))
}

/// Sends an event to the callbacks in order, up to the first that fails, and then to the saver. The end
/// of a step or an epoch is counted, so all receive it even if one fails.
fn fire<U: ?Sized>(run: &mut Run<'_, U>, event: Event) -> Result<(), Error> {
    let told = send(run, event);
    match told.is_ok() || event.ends_step_or_epoch() {
        true => first(told, save(run, event)),
        false => told,
    }
}

/// Sends an event to the callbacks.
fn send<U: ?Sized>(run: &mut Run<'_, U>, event: Event) -> Result<(), Error> {
    run.callbacks.send(event, &mut run.state, &mut run.unit)
}

/// Sends an event to the saver.
fn save<U: ?Sized>(run: &mut Run<'_, U>, event: Event) -> Result<(), Error> {
    if run.saver.as_ref().is_some_and(|saver| saver.events.contains(event)) {
        run.with_saver(|saver, moment| saver.on_event(event, moment))?;
    }
    Ok(())
}

pub(crate) fn tell_notices<U: ?Sized>(run: &mut Run<'_, U>) -> Result<(), Error> {
    let told = run.state.notices().len();
    if told == 0 {
        return Ok(());
    }
    let result = fire(run, Event::Notice);
    run.notices.extend(run.state.take_notices(told));
    result
}
