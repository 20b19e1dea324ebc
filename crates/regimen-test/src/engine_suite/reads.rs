//! The reads of a step from the device, and the later ones.

use regimen_core::auto_unit::{Averaging, NonFinite, TRAIN_LOSS};
use regimen_core::callback::Event;
use regimen_core::engine::{Engine, Mode, Part, Precision, Value};
use regimen_core::run::Train;
use regimen_core::saved::save_parts;
use regimen_core::{BoxError, Run, State};

use super::EngineFixture;
use super::measure::{all_numbers, ensure, ensure_same};
use super::task::{Seen, Unit, backward, batches, forward, unit};

/// Number of measured batches.
const STEPS: u64 = 9;

/// Most reads per step under each setting: 0 by default for an engine that can leave out an update on the
/// device; for the others, the reads that [`NonFinite`] lists.
pub fn a_step_reads_only_what_its_policy_needs<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let Some(mut engine) = fixture.reading_later(fixture.plain()) else { return Ok(()) };
    let loss = forward(fixture, &mut engine, Mode::Train, 0..4)?;
    let Value::Device(scalar) = engine.detach(&loss.mean)? else {
        return Err("an engine that reads later has read a loss".into());
    };
    // An update that cannot be left out on the device needs the read.
    let skips = engine.skip_unless_finite(&scalar)?;
    let by_default = if skips { 0 } else { 1 };
    type Set<'f, F> = fn(Unit<'f, F>) -> Unit<'f, F>;
    let settings: [(&str, Set<'_, F>, u64); 10] = [
        ("by default", |unit| unit, by_default),
        ("if NaN is ignored", |unit| unit.non_finite(NonFinite::Ignore), 0),
        ("with accumulation", |unit| unit.accumulate(2), by_default),
        ("with clipping by norm", |unit| unit.clip_norm(0.1), if skips { 0 } else { 2 }),
        ("with clipping by value", |unit| unit.clip_value(0.1), by_default),
        ("with adaptive clipping", |unit| unit.clip_adaptive(0.01), by_default),
        ("with an average", |unit| unit.average(Averaging::ema(0.9)), by_default),
        ("with skipped updates", |unit| unit.non_finite(NonFinite::Skip), 2),
        ("with skipped updates and clipping", |unit| unit.non_finite(NonFinite::Skip).clip_norm(0.1), 2),
        ("in half precision", |unit| unit.precision(Precision::F16), by_default + 1),
    ];
    for (what, set, expected) in settings {
        let Some(engine) = fixture.reading_later(fixture.plain()) else { return Ok(()) };
        let mut unit = set(unit(fixture, engine));
        let Some(found) = reads(fixture, &mut unit, None)? else { continue };
        let most = expected * (STEPS - 1);
        ensure(found <= most, format!("{} steps {what} read {found} times, and not {most}", STEPS - 1))?;
        ensure(expected == 0 || found > 0, format!("steps {what} read nothing, so nothing is counted"))?;
    }
    // Each look at the loss reads: at every step, or at every fourth.
    for (every, expected) in [(1, STEPS - 1), (4, 2)] {
        let Some(engine) = fixture.reading_later(fixture.plain()) else { return Ok(()) };
        let mut unit = unit(fixture, engine).non_finite(NonFinite::Ignore);
        let found = reads(fixture, &mut unit, Some(every))?.unwrap_or(expected);
        ensure(
            found == expected,
            format!("a look at every {every} steps reads {found} times, not {expected}"),
        )?;
    }
    Ok(())
}

/// Number of reads per step of `unit` after the first, with a look at the loss at the given interval. `None`
/// if the engine refuses the setting.
fn reads<F: EngineFixture>(
    fixture: &F,
    unit: &mut Unit<'_, F>,
    looks_every: Option<u64>,
) -> Result<Option<u64>, BoxError> {
    let seen = Seen::default();
    let at_end = seen.clone();
    let data = batches(fixture, &[2; STEPS as usize + 1]);
    // Without those of the batches, of the first step and of the end.
    let run = Run::new(unit).on(Event::TrainStepEnd, |state: &mut State, _: &mut Unit<'_, F>| {
        if looks_every.is_some_and(|every| state.train_progress().steps.is_multiple_of(every)) {
            let _ = state.metric(TRAIN_LOSS).map(|metric| metric.last_value());
        }
        at_end.push(F::host_reads());
    });
    let result = { run }.train(&data, Train::steps(STEPS));
    let seen = seen.take();
    match (result, &seen[..]) {
        (Err(_), []) => Ok(None),
        (Err(error), _) => Err(error.into()),
        (Ok(_), [first, .., last]) => Ok(Some(last - first)),
        (Ok(_), _) => Err("no step was made".into()),
    }
}

/// An engine that reads later gives the same bits as one that does not: parameters, state of the optimizer
/// and losses, at any interval of looks. A number that is not finite is an error within 64 steps. Until then
/// no parameter moves and nothing is saved.
pub fn what_is_read_later_is_the_same_and_is_told<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let Some(probe) = fixture.reading_later(fixture.plain()) else { return Ok(()) };
    drop(probe);
    let later = || fixture.reading_later(fixture.plain()).unwrap_or_else(|| fixture.plain());
    let trained = |engine: F::Engine, looks: bool| {
        let mut unit = unit(fixture, engine).accumulate(2).clip_norm(0.05);
        let mut run =
            Run::new(&mut unit).on(Event::TrainStepEnd, move |state: &mut State, _: &mut Unit<'_, F>| {
                if looks {
                    let _ = state.metric(TRAIN_LOSS).map(|metric| metric.so_far());
                }
            });
        let data = batches(fixture, &[1, 2, 3, 4, 5]);
        run.train(&data, Train::steps(8))?;
        let state = run.run_state()?;
        let report = run.train(&data, Train::epochs(3))?;
        drop(run);
        let losses: Vec<u64> =
            report.epochs.iter().filter_map(|epoch| epoch.metric(TRAIN_LOSS)).map(f64::to_bits).collect();
        Ok::<_, BoxError>((state, save_parts(&mut unit)?, losses))
    };
    let expected = trained(fixture.plain(), false)?;
    for looks in [false, true] {
        let found = trained(later(), looks)?;
        ensure_same("the state of a run that is read later", &found.0, &expected.0)?;
        for (part, dict) in &expected.1 {
            let read = found.1.get(part).ok_or_else(|| format!("there is no part `{part}`"))?;
            ensure_same(&format!("{part}, read later"), read, dict)?;
        }
        ensure(found.2 == expected.2, format!("losses are {:?}, not {:?}", found.2, expected.2))?;
    }
    told(fixture, later())
}

/// Buffers are as they were remembered: after a restore, and if a number on the device is not finite. One that
/// is finite leaves them alone. The loss has its gradient in each case.
pub fn buffers_are_restored<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let mut engine = fixture.regularized();
    let before = engine.state(Part::Module)?;
    engine.keep_buffers()?;
    let loss = forward(fixture, &mut engine, Mode::Train, 0..4)?.mean;
    engine.restore_buffers(None)?;
    ensure_same("the module after a restore of its buffers", &engine.state(Part::Module)?, &before)?;
    engine.backward(&loss, None).map_err(|cause| format!("backward after a restore of buffers: {cause}"))?;

    let Some(mut engine) = fixture.reading_later(fixture.regularized()) else { return Ok(()) };
    engine.keep_buffers()?;
    let loss = forward(fixture, &mut engine, Mode::Train, 0..4)?.mean;
    let after = engine.state(Part::Module)?;
    let Value::Device(scalar) = engine.detach(&loss)? else {
        return Err("an engine that reads later has read a loss".into());
    };
    if !engine.skip_unless_finite(&scalar)? {
        return Ok(());
    }
    ensure_same("the module after a finite loss", &engine.state(Part::Module)?, &after)?;
    engine.backward(&loss, None).map_err(|cause| format!("backward after a loss left behind: {cause}"))?;
    engine.scale_gradients(f64::NAN)?;
    let Value::Device(norm) = engine.clip_gradient_norm(1.0)? else { return Ok(()) };
    engine.skip_unless_finite(&norm)?;
    ensure_same("the module after a norm that is NaN", &engine.state(Part::Module)?, &before)
}

/// A loss that becomes NaN in step 3 of many.
fn told<F: EngineFixture>(fixture: &F, mut engine: F::Engine) -> Result<(), BoxError> {
    let _ = backward(fixture, &mut engine, 0..2)?;
    engine.discard_gradients();
    let mut unit = unit(fixture, engine);
    let data = batches(fixture, &[2; 12]);
    Run::new(&mut unit).train(&data, Train::steps(3))?;
    let before = save_parts(&mut unit)?;
    // The gradients are NaN too: any use of them would spoil the weights.
    let mut unit = unit.after_backward(|engine, _| engine.scale_gradients(f64::NAN)).clip_norm(1.0);
    let mut run = Run::new(&mut unit);
    let error = run.train(&data, Train::steps(5)).err().ok_or("a norm that is NaN is no error")?;
    let text = format!("{error:#} {:?}", std::error::Error::source(&error).map(ToString::to_string));
    ensure(text.contains("is not finite: its norm is NaN"), format!("the error is: {text}"))?;
    drop(run);
    let after = unit.engine().state(Part::Module)?;
    ensure(all_numbers(&after)?.iter().all(|number| number.is_finite()), "an update was made of NaN")?;
    ensure_same("parameters after updates of NaN", &after, &before["module"])?;
    ensure_same(
        "the optimizer after updates of NaN",
        &unit.engine().state(Part::Optimizer)?,
        &before["optimizer"],
    )
}
