//! The loops. This is the only place where units are stepped and events are sent.
//!
//! ```text
//! train: start, then until a limit or a stop       once: start, epoch, end
//!   1. an evaluation that is due
//!   2. cycle end, if the cycle is trained
//!   3. cycle start, if none is open                epoch: epoch start, unless it is open
//!   4. epoch                                         until the data or the cap ends it
//! end                                                  1. an evaluation that is due
//!                                                      2. a limit or a stop leaves it open
//!                                                      3. fetch, step, count
//!                                                    count the epoch, epoch end
//! ```

use crate::guard::{Caught, guard};
use crate::limits::Limits;
use crate::passes::{Hook, Pass, TrainPass};
use crate::reader::Reader;
use crate::state::{Cycle, Expected};
use crate::{At, Data, Epoch, EpochMetrics, Error, Event, Every, Phase, Run, Source, TrainUnit};

/// Runs one evaluation, or none where there is nothing to evaluate.
pub(crate) type Evaluation<'e, 'a, U> = &'e mut dyn FnMut(&mut Run<'a, U>) -> Result<(), Error>;

/// Trains up to a limit or a stop. `eval_every` is given by `fit` only.
pub(crate) fn train<'a, U, D>(
    run: &mut Run<'a, U>,
    data: &D,
    limits: &Limits,
    eval_every: Option<Every>,
    evaluate: Evaluation<'_, 'a, U>,
) -> Result<(), Error>
where
    U: TrainUnit + ?Sized,
    D: Data<Batch = U::Batch> + ?Sized,
{
    let pass = &mut TrainPass;
    start(run, pass, data, limits)?;
    while !run.state.must_stop() {
        if eval_every.is_some() && run.state.eval_due {
            evaluate(run)?;
        } else if eval_every.is_some() && run.state.cycle == Cycle::Trained {
            run.state.cycle = Cycle::Closed;
            fire(run, Event::CycleEnd)?;
        } else if limits.reached(run.state.train()) {
            break;
        } else if eval_every.is_some() && run.state.cycle == Cycle::Closed {
            fire(run, Event::CycleStart)?;
            run.state.cycle = Cycle::Open;
        } else {
            epoch(run, pass, data, limits, eval_every, evaluate)?;
        }
    }
    end(run, pass)
}

/// Makes one pass over `data`: an evaluation or a prediction.
pub(crate) fn once<'a, U, P, D>(
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
    if limits.steps_per_epoch == Some(0) {
        run.state.eval_due &= P::PHASE != Phase::Eval;
    } else if !run.state.must_stop() {
        epoch(run, pass, data, limits, None, &mut |_| Ok(()))?;
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
    let batches = guard(|| Ok(data.batches())).map_err(|caught| caught.at(&run.state, Source::Data))?;
    run.state.expected[P::PHASE as usize] = Expected {
        steps_in_epoch: [batches, limits.steps_per_epoch].into_iter().flatten().min(),
        epochs: limits.epochs,
        steps: limits.steps,
    };
    pass.hook(run.unit, &mut run.state, Hook::Start)?;
    fire(run, P::EVENTS.start)?;
    tell_notices(run)
}

fn end<U: ?Sized, P: Pass<U>>(run: &mut Run<'_, U>, pass: &mut P) -> Result<(), Error> {
    pass.hook(run.unit, &mut run.state, Hook::End)?;
    fire(run, P::EVENTS.end)?;
    tell_notices(run)
}

/// Makes one epoch, or what is left of it, up to its end, a limit or a stop.
fn epoch<'a, U, P, D>(
    run: &mut Run<'a, U>,
    pass: &mut P,
    data: &D,
    limits: &Limits,
    eval_every: Option<Every>,
    evaluate: Evaluation<'_, 'a, U>,
) -> Result<(), Error>
where
    U: ?Sized,
    P: Pass<U>,
    D: Data<Batch = P::Batch> + ?Sized,
{
    if !run.state.here().epoch_open {
        pass.hook(run.unit, &mut run.state, Hook::EpochStart)?;
        fire(run, P::EVENTS.epoch_start)?;
        run.state.here().epoch_open = true;
    }
    let progress = run.state.active();
    let position = run.state.here().position.clone();
    let at = At {
        epoch: progress.epochs,
        skip: progress.steps_in_epoch,
        position: position.as_ref(),
        seed: run.state.seed(),
        rank: run.state.rank(),
    };
    let reader = Reader::open(data, at, limits.steps_per_epoch);
    let mut reader = reader.map_err(|caught| caught.at(&run.state, Source::Data))?;
    run.state.expected[P::PHASE as usize].steps_in_epoch = reader.steps();
    loop {
        if eval_every.is_some() && run.state.eval_due {
            if run.state.must_stop() {
                return Ok(());
            }
            evaluate(run)?;
            continue;
        }
        let progress = run.state.active();
        if reader.is_over(progress.steps_in_epoch) {
            break;
        }
        if limits.reached(progress) || run.state.must_stop() {
            return Ok(());
        }
        step(run, pass, &mut reader, eval_every)?;
    }
    drop(reader);
    complete(run, pass, limits, eval_every)
}

/// Fetches a batch and makes one step with it.
fn step<U, P, E>(
    run: &mut Run<'_, U>,
    pass: &mut P,
    reader: &mut Reader<E>,
    eval_every: Option<Every>,
) -> Result<(), Error>
where
    U: ?Sized,
    P: Pass<U>,
    E: Epoch<Batch = P::Batch>,
{
    fire(run, P::EVENTS.fetch_start)?;
    let done = run.state.active().steps_in_epoch;
    let fetched = reader.next(done).map_err(|caught| caught.at(&run.state, Source::Data))?;
    run.state.here().last_in_epoch = reader.is_over(done + 1);
    while let Some(notice) = reader.notice() {
        run.state.notify(notice);
    }
    fire(run, P::EVENTS.fetch_end)?;

    fire(run, P::EVENTS.step_start)?;
    let before = run.state.active();
    pass.step(run.unit, &mut run.state, fetched.batch)?;
    let here = run.state.here();
    here.progress.step(fetched.samples);
    here.position = fetched.position;
    let after = here.progress;
    if eval_every.is_some_and(|every| every.due_after_step(before, after)) {
        run.state.eval_due = true;
    }
    fire(run, P::EVENTS.step_end)?;
    tell_notices(run)
}

/// Counts an epoch whose data or cap came to its end.
fn complete<U: ?Sized, P: Pass<U>>(
    run: &mut Run<'_, U>,
    pass: &mut P,
    limits: &Limits,
    eval_every: Option<Every>,
) -> Result<(), Error> {
    if run.state.active().steps_in_epoch == 0 && !limits.allow_empty {
        let text = format!("the {} data gave no batch; fill it, or say `allow_empty()`", P::PHASE);
        return Err(Caught::Failed(text.into()).at(&run.state, Source::Data));
    }
    let here = run.state.here();
    here.progress.epoch();
    (here.epoch_open, here.last_in_epoch, here.position) = (false, false, None);
    let progress = here.progress;
    if let Some(every) = eval_every {
        run.state.cycle = Cycle::Trained;
        run.state.eval_due |= every.due_after_epoch(progress);
    }
    if P::PHASE == Phase::Eval {
        run.state.eval_due = false;
    }
    let hook = pass.hook(run.unit, &mut run.state, Hook::EpochEnd);
    let values = run.state.here().metrics.end_epoch(progress.epochs);
    let train_step = run.state.train().steps;
    run.epochs.push(EpochMetrics { phase: P::PHASE, epoch: progress.epochs, train_step, values });
    hook?;
    fire(run, P::EVENTS.epoch_end)
}

/// Sends an event: to the callbacks in order, up to the first that fails, and then to the saver.
fn fire<U: ?Sized>(run: &mut Run<'_, U>, event: Event) -> Result<(), Error> {
    run.callbacks.send(event, &mut run.state, run.unit)?;
    if run.saver.as_ref().is_some_and(|(events, _)| events.contains(event)) {
        run.with_saver(|saver, moment| saver.on_event(event, moment))?;
    }
    Ok(())
}

fn tell_notices<U: ?Sized>(run: &mut Run<'_, U>) -> Result<(), Error> {
    let told = run.state.notices().len();
    if told == 0 {
        return Ok(());
    }
    let result = fire(run, Event::Notice);
    run.state.forget_notices(told);
    result
}
