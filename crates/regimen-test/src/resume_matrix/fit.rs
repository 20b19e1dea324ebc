//! The run, or a part of it.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use regimen::callback::{EarlyStopping, EmptyDataDetector, LearningRateMonitor, ParameterMonitor};
use regimen::checkpoint::Checkpointer;
use regimen::data::{DataExt, Loader, Sampler, Samples, indices};
use regimen::log::{MemoryLog, MetricLog};
use regimen::schedule::{Cosine, ScheduleExt};
use regimen_core::auto_unit::{Averaging, EVAL_LOSS, GradientScaler, Plateau, Thaw};
use regimen_core::callback::{Callback, Event, Every};
use regimen_core::data::Data;
use regimen_core::engine::Engine;
use regimen_core::error::WithCauses;
use regimen_core::peers::Peers;
use regimen_core::random::{Random, keyed};
use regimen_core::run::{Ended, Report, Saver};
use regimen_core::state::PauseHandle;
use regimen_core::{AutoUnit, BoxError, Fit, Run, State, Task};

use super::by_hand::{continue_prediction, pass_by_hand, predict};
use super::crops::{Armed, Crop, Crops, Seen, join};
use super::doors::{by_fit_loop, by_runner};
use super::{Interface, Leg, ResumeFixture, Trouble};
use crate::engine_suite::ROWS;
use crate::peers::{Threads, on_ranks};

const STEPS: u64 = 60;

/// After steps 12, 24, 36, 48 and 60, and after the epochs that end with steps 14, 28, 42 and 56.
const EVALUATIONS: u64 = 9;

pub(super) const EVAL_STEPS: u64 = 3;

/// Crops of the training data.
pub(super) const CROPS: usize = 10;

/// Steps of the run, including evaluation steps.
pub(super) const CALLS: u64 = STEPS + EVALUATIONS * EVAL_STEPS;

/// Rows of a training batch that ranks share: one or more for each of 4.
const SHARED: u64 = 5;

/// No call waits as long on any machine that passes.
const PATIENCE: Duration = Duration::from_secs(600);

/// The file in which each part records the rows of each step.
pub(super) const ORDER: &str = "order.txt";

/// The file in which each part records the metrics of its finished epochs.
pub(super) const EPOCHS: &str = "epochs.txt";

/// The directory of checkpoints.
pub(super) const CHECKPOINTS: &str = "checkpoints";

/// The folder of event files.
pub(super) const EVENTS: &str = "events";

/// Runs the part `leg` in `dir`, from the newest checkpoint or, if there is none, from the beginning.
pub(super) fn fit<F: ResumeFixture>(fixture: &F, leg: Leg, dir: &Path) -> Result<(), BoxError> {
    let begun = dir.join(ORDER).exists();
    let part = |peers| match fixture.interface() {
        Interface::ByUnit => by_auto_unit(fixture, leg, dir, begun, peers),
        _ if leg.trouble != Trouble::None => Err(format!("{} needs an `AutoUnit`", leg.trouble).into()),
        Interface::ByRunner => by_runner(fixture, leg, dir, begun, peers),
        Interface::ByFitLoop => by_fit_loop(fixture, leg, dir, begun, peers),
    };
    let ranks: Vec<Told> = match leg.ranks {
        0 => vec![part(None)?],
        ranks => {
            let ranks = on_ranks(Threads::of(ranks, PATIENCE), |peers| {
                part(Some(peers)).map_err(|wrong: BoxError| WithCauses(&*wrong).to_string())
            });
            ranks.into_iter().map(|rank| rank.and_then(|rank| rank)).collect::<Result<_, _>>()?
        }
    };
    let (reports, orders): (Vec<_>, Vec<_>) = ranks.into_iter().unzip();
    let order: String = join(orders)?.iter().map(Seen::to_string).collect();
    append(&dir.join(ORDER), &order)?;
    let mut reports = reports.into_iter().flatten();
    let Some(report) = reports.next() else { return Ok(()) };
    if reports.any(|other| told(&other) != told(&report)) {
        return Err("the reports of two ranks differ".into());
    }
    append(&dir.join(EPOCHS), &told(&report))?;
    let (steps, early) = (report.train.steps + report.eval.steps, leg.trouble.ends_early());
    let as_told = match (&report.ended, leg.stop) {
        (Ended::Paused(_), stop) => stop == Some(steps),
        (_, Some(_)) => false,
        // The end of a continued part is compared with its outcome.
        (Ended::Finished(_), None) => begun || early || steps == CALLS,
        (_, None) => begun || fixture.interface() == Interface::ByFitLoop && steps == CALLS,
    };
    if as_told { Ok(()) } else { Err(format!("it ended in another way than scripted: {report:?}").into()) }
}

/// The settings of every run, for [`AutoUnit`].
#[allow(clippy::type_complexity, reason = "an opaque type has no alias")]
pub(super) fn settings<'f, F: ResumeFixture, T: Task<F::Engine>>(
    fixture: &'f F,
) -> Result<impl FnOnce(AutoUnit<F::Engine, T>) -> AutoUnit<F::Engine, T> + use<'f, F, T>, BoxError> {
    let schedule = Cosine::new(fixture.learning_rate(), 40)?.warm_up(4);
    Ok(move |unit: AutoUnit<F::Engine, T>| {
        // The last of several groups; with all groups frozen there would be nothing to train.
        let last_group = unit.engine().groups().iter().skip(1).last().cloned();
        let unit = unit
            .accumulate(3)
            .clip_norm(1.0)
            .learning_rate(schedule)
            .precision(fixture.precision())
            .shard_optimizer(fixture.shards_optimizer())
            .gradient_scaler(GradientScaler::new().growth_interval(5))
            .average(Averaging::ema(0.9).ramp().warm_up(2).every_nth(2).take_buffers())
            .reduce_on_plateau(Plateau::min(EVAL_LOSS).patience(1).factor(0.5).threshold_absolute(0.05));
        match last_group {
            Some(group) => unit.freeze(group, Thaw::AtUpdate(7)),
            None => unit,
        }
    })
}

/// The callbacks of every run.
pub(super) fn callbacks<E: Engine + 'static, T: Task<E>>(
    leg: Leg,
    dir: &Path,
) -> Vec<Box<dyn Callback<AutoUnit<E, T>>>> {
    let each_step = || Every::steps(1).or(Every::epochs(1));
    let patience = if leg.trouble.ends_early() { 2 } else { EVALUATIONS - 1 };
    vec![
        Box::new(LearningRateMonitor::new()),
        Box::new(ParameterMonitor::new()),
        Box::new(EmptyDataDetector::new(2)),
        Box::new(MetricLog::csv(dir.join("metrics.csv")).every(each_step())),
        Box::new(MetricLog::jsonl(dir.join("metrics.jsonl"))),
        Box::new(MetricLog::tensorboard(dir.join(EVENTS)).every(each_step())),
        Box::new(MetricLog::wandb(dir).every(each_step())),
        Box::new(
            MetricLog::wide_csv(dir.join("metrics.wide.csv")).every(Every::steps(4).or(Every::epochs(1))),
        ),
        Box::new(MetricLog::to(MemoryLog::new()).every(Every::steps(5).or(Every::epochs(1)))),
        // No loss decreases by this much. So it stops the run at the third evaluation, or at the
        // last if every earlier one was counted.
        Box::new(EarlyStopping::min(EVAL_LOSS, patience).min_delta(1e9)),
    ]
}

/// The saver of every run.
pub(super) fn saver<F: ResumeFixture>(fixture: &F, dir: &Path) -> impl Saver {
    fixture.saver(Checkpointer::new(dir.join(CHECKPOINTS)).every(Every::steps(25)).keep_last(2))
}

/// An error unless a checkpoint was restored in each process but the first.
pub(super) fn check_restored(restored: bool, begun: bool) -> Result<(), BoxError> {
    let wrong = "no checkpoint was restored, or one was in the first process";
    if restored == begun { Ok(()) } else { Err(wrong.into()) }
}

/// The report of a rank, if there is one, and the rows of each step.
pub(super) type Told = (Option<Report>, Vec<Seen>);

fn by_auto_unit<F: ResumeFixture>(
    fixture: &F,
    leg: Leg,
    dir: &Path,
    begun: bool,
    peers: Option<Arc<dyn Peers>>,
) -> Result<Told, BoxError> {
    let fault = Armed::new(leg.trouble.fault());
    let task = Crops::new(fixture, &fault);
    let engine = if leg.trouble == Trouble::AnyRanks { fixture.plain() } else { fixture.regularized() };
    let mut unit = settings(fixture)?(AutoUnit::new(engine, task))
        .after_backward(fault.hook("after_backward"))
        .before_update(fault.hook("before_update"));
    let early = leg.trouble.ends_early();
    let mut run = Run::new(&mut unit).seed(11);
    for callback in callbacks(leg, dir) {
        run = run.callback(callback);
    }
    run = run.saver(saver(fixture, dir));
    if let Some(peers) = peers {
        run = run.peers(peers);
    }
    if let Some(stop) = leg.stop {
        let handle = run.pause_handle();
        run = run
            .on(Event::TrainStepEnd, stop_after(stop, &handle))
            .on(Event::EvalStepEnd, stop_after(stop, &handle));
    }
    if let Trouble::EndsEarlyAndFails(at) = leg.trouble {
        run = match at {
            46 => run.on(Event::EvalEpochEnd, fail_after(45)),
            _ => run.on(Event::TrainStepEnd, fail_after(at)).on(Event::EvalStepEnd, fail_after(at)),
        };
    }
    check_restored(run.restore_latest()?.is_some(), begun)?;
    let (train, eval) =
        (fixture.data(train_data(fixture, leg, CROPS)), fixture.data(eval_data(fixture, leg)));
    let config = match leg.trouble {
        Trouble::Uncapped => Fit::steps(STEPS).eval_every(Every::steps(12).or(Every::epochs(2))),
        _ if early => Fit::steps(STEPS).steps_per_epoch(6).eval_every(Every::steps(12)),
        _ => limits(),
    };
    let other = fixture.data(eval_data(fixture, leg));
    if leg.trouble == Trouble::ByHand {
        pass_by_hand(&mut run, &other)?;
    }
    if leg.trouble == Trouble::Predicts && begun {
        continue_prediction(&mut run, &other, dir)?;
    }
    let report = match run.fit(&train, &eval, config) {
        Err(_) if matches!(leg.trouble, Trouble::FailsAndEnds(_)) => None,
        Err(_) if fault.has_struck() || matches!(leg.trouble, Trouble::EndsEarlyAndFails(_)) => {
            Some(run.fit(&train, &eval, config)?)
        }
        result => Some(result?),
    };
    if leg.trouble == Trouble::ByHand && leg.stop.is_some() {
        pass_by_hand(&mut run, &other)?;
    }
    if leg.trouble == Trouble::Predicts && leg.stop.is_some() {
        predict(&mut run, &other, dir)?;
    }
    drop(run);
    Ok((report, unit.task().order.clone()))
}

/// The limits of every run whose epochs are capped.
pub(super) fn limits() -> Fit {
    Fit::steps(STEPS).steps_per_epoch(7).eval_every(Every::steps(12).or(Every::epochs(2)))
}

fn steps(state: &State) -> u64 {
    state.train_progress().steps + state.eval_progress().steps
}

/// Fails once, after `at` steps.
fn fail_after<U>(at: u64) -> impl FnMut(&mut State, &mut U) -> Result<(), BoxError> + Send + use<U> {
    let mut waits = true;
    move |state, _| match steps(state) == at && std::mem::take(&mut waits) {
        true => Err("told to fail".into()),
        false => Ok(()),
    }
}

/// Requests a pause after `stop` steps.
pub(super) fn stop_after<U>(
    stop: u64,
    handle: &PauseHandle,
) -> impl FnMut(&mut State, &mut U) + Send + use<U> {
    let handle = handle.clone();
    move |state, _| {
        if steps(state) == stop {
            handle.pause("told to");
        }
    }
}

/// Crops of two to five random rows, in a new order each epoch. Those that ranks share have [`SHARED`] rows.
pub(super) fn train_data<F: ResumeFixture>(
    fixture: &F,
    leg: Leg,
    crops: usize,
) -> impl Data<Batch = (Crop, F::Batch)> {
    let crop = |index: usize, random: &mut Random| {
        let rows = 2 + index as u64 % 4;
        let start = random.below(ROWS - rows + 1);
        (start, start + rows)
    };
    let shared = |seed, epoch, at| {
        let mut random = Random::new(keyed(seed, "crop", epoch, at / SHARED));
        (random.below(ROWS - SHARED + 1) + at % SHARED) as usize
    };
    let crops = match leg.is_shared() {
        false => Loader::collate(indices(crops).transform(crop), only).shuffle(),
        true => Loader::collate(indices(ROWS as usize), joined)
            .sampler(Sampler::keyed(SHARED * crops as u64, shared))
            .batch_size(SHARED as usize),
    };
    let crops = crops.workers(leg.workers).prefetch(leg.prefetch);
    crops.map_batches(|crop| (crop, fixture.batch(crop.0..crop.1)))
}

/// Three crops of five to seven rows, or of six rows if ranks share them.
pub(super) fn eval_data<F: ResumeFixture>(fixture: &F, leg: Leg) -> impl Data<Batch = (Crop, F::Batch)> {
    let crop = |index: usize, _: &mut Random| (8 * index as u64, 9 * index as u64 + 5);
    let crops = match leg.is_shared() {
        false => Loader::collate(indices(EVAL_STEPS as usize).transform(crop), only),
        true => Loader::collate(indices(6 * EVAL_STEPS as usize), joined).batch_size(6),
    };
    let crops = crops.workers(leg.workers).prefetch(leg.prefetch);
    crops.map_batches(|crop| (crop, fixture.batch(crop.0..crop.1)))
}

/// A crop is a whole batch.
fn only(crops: Vec<Crop>) -> Result<Crop, BoxError> {
    crops.first().copied().ok_or_else(|| "a batch without a crop".into())
}

/// Adjoining rows.
fn joined(rows: Vec<usize>) -> Result<Crop, BoxError> {
    let ends = rows.first().zip(rows.last());
    ends.map(|(first, last)| (*first as u64, *last as u64 + 1)).ok_or_else(|| "a batch without a row".into())
}

/// The metrics of every epoch in `report`, one line each, and the end of the run unless it was paused.
fn told(report: &Report) -> String {
    let mut lines: Vec<String> = report.epochs.iter().map(|epoch| format!("{epoch:?}\n")).collect();
    if !matches!(report.ended, Ended::Paused(_)) {
        lines.push(format!("{}\n", report.ended));
    }
    lines.concat()
}

pub(super) fn append(path: &Path, text: &str) -> Result<(), BoxError> {
    let mut file = File::options().create(true).append(true).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
