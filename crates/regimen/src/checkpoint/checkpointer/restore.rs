//! Putting a saved run back: all of it, or nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::run::{Moment, Restored, Which};
use regimen_core::saved::{AppState, StateDict, load_parts, load_parts_except, save_parts};

use super::snapshot::{HYPER_PARAMETERS, RUN};
use crate::checkpoint::format::finite::infinite;
use crate::checkpoint::{Checkpoint, Checkpointer, Checkpoints, Found, Manifest, Snapshot, Which as Wanted};

/// Restores the checkpoint of `which` and goes on as the run that wrote it.
pub(crate) fn restore<U: AppState + ?Sized>(
    saver: &mut Checkpointer,
    which: &Which,
    moment: &mut Moment<'_, '_, U>,
) -> Result<Option<Restored>, BoxError> {
    saver.check()?;
    // What is being written is among what there is to restore.
    if let Some(Err(why)) = saver.background.as_mut().and_then(|background| background.wait()) {
        saver.recent = None;
        moment.state_mut().notify(format!("a checkpoint was not saved: {why}"));
    }
    let Some(Found { checkpoint, content: mut parts, skipped }) = find(saver, which)? else {
        return Ok(None);
    };
    let run = parts.remove(RUN).ok_or_else(|| {
        let path = checkpoint.path().display();
        format!("`{path}` has no part `{RUN}`, so no run can go on from it; take its parts with `Load`")
    })?;
    let saved = hyper_parameters(&run)?;
    let mut differences = differences(&saved, &saver.hyper_parameters);
    if saver.must_match && !differences.is_empty() {
        return Err(format!("hyper-parameters differ: {}", differences.join("; ")).into());
    }
    let left_out = put_back(moment, &parts, &run, &saver.left_out)
        .map_err(|cause| format!("`{}`: {cause}", checkpoint.path().display()))?;
    saver.holds_best = false;
    if !left_out.is_empty() {
        moment.state_mut().set_other_weights();
    }
    differences.iter_mut().for_each(|text| *text = format!("hyper-parameters differ: {text}"));
    differences.extend(left_out);
    differences.iter().for_each(|difference| moment.state_mut().notify(difference.clone()));
    if saver.hyper_parameters.is_empty() {
        saver.hyper_parameters = saved;
    }
    let Manifest { run: id, step, epoch, metrics, .. } = checkpoint.manifest().clone();
    if saver.run.as_ref() != Some(&id) {
        // What is open is open for the run that it was until now.
        saver.background = None;
        saver.run = Some(id);
    }
    parts.insert(RUN.to_owned(), run);
    saver.measured = metrics.clone();
    let snapshot = Arc::new(Snapshot { step, epoch, post_mortem: false, metrics, parts });
    saver.infinite = Some(Arc::new(infinite(&snapshot)));
    // One of another directory is not saved in this one.
    saver.recent = (checkpoint.path().parent() == Some(&*saver.dir)).then_some(snapshot);
    let skipped = skipped.iter().map(ToString::to_string).collect();
    Ok(Some(Restored { step, from: checkpoint.path().display().to_string(), skipped, differences }))
}

/// Puts only the unit's parts of the best checkpoint back.
pub(crate) fn put_best_back<U: AppState + ?Sized>(
    saver: &mut Checkpointer,
    moment: &mut Moment<'_, '_, U>,
) -> Result<(), BoxError> {
    let Some(Found { checkpoint, content: mut parts, skipped }) = find(saver, &Which::Best)? else {
        let best = saver.best.as_ref().map_or("", |(key, _)| key.name());
        return Err(format!("`restore_best_at_end`: no checkpoint has a value of `{best}`").into());
    };
    parts.remove(RUN);
    let told = or_undo(moment, |moment| load_parts_except(moment.unit(), &parts, &saver.left_out))
        .map_err(|cause| format!("`{}`: {cause}", checkpoint.path().display()))?;
    told.into_iter().for_each(|text| moment.state_mut().notify(text));
    // These are not the weights that the run goes on from, so a pass by hand is not saved with them.
    saver.holds_best = true;
    moment.state_mut().set_other_weights();
    for skipped in skipped {
        moment.state_mut().notify(format!("passed over {skipped}"));
    }
    Ok(())
}

/// The checkpoint of `which`, whole and checked. None where there is none of that kind.
fn find(saver: &Checkpointer, which: &Which) -> Result<Option<Found>, BoxError> {
    let there = |checkpoints: Checkpoints, wanted| Ok(checkpoints.load(wanted)?);
    match which {
        Which::Latest => there(saver.checkpoints(), Wanted::Newest),
        Which::Best => match &saver.best {
            Some((key, goal)) => there(saver.checkpoints(), Wanted::Best(key.name(), *goal)),
            None => Err("the best by what? say it with `Checkpointer::keep_min` or `keep_max`".into()),
        },
        Which::Step(step) => match there(saver.checkpoints(), Wanted::Step(*step))? {
            None => Err(format!("`{}` has no checkpoint of step {step}", saver.dir.display()).into()),
            found => Ok(found),
        },
        Which::Path(path) => {
            let checkpoint = Checkpoint::open_on(saver.store_or_disk(), path)?;
            if !checkpoint.manifest().resumable {
                let path = path.display();
                let text =
                    "it was saved on an error and is for the post-mortem only; take its parts with `Load`";
                return Err(format!("`{path}` cannot be resumed from: {text}").into());
            }
            let content = checkpoint.read_all()?;
            Ok(Some(Found { checkpoint, content, skipped: Vec::new() }))
        }
        other => Err(format!("{other:?} is not known to the checkpointer").into()),
    }
}

/// Puts unit and run back to what was saved of them, but for the parts left out. Returns what is not
/// as it was saved.
fn put_back<U: AppState + ?Sized>(
    moment: &mut Moment<'_, '_, U>,
    parts: &BTreeMap<String, StateDict>,
    run: &StateDict,
    left_out: &[String],
) -> Result<Vec<String>, BoxError> {
    moment.check_run_state(run)?;
    or_undo(moment, |moment| {
        let told = load_parts_except(moment.unit(), parts, left_out)?;
        moment.load_run_state(run)?;
        Ok(told)
    })
}

/// Does `change`, and undoes it where it fails half-way: a part may find a mistake only when
/// others have been changed already.
fn or_undo<'a, U: AppState + ?Sized, R>(
    moment: &mut Moment<'_, 'a, U>,
    change: impl FnOnce(&mut Moment<'_, 'a, U>) -> Result<R, BoxError>,
) -> Result<R, BoxError> {
    // A unit that cannot be saved, because an error left it without its module, has nothing to
    // go back to. It can be restored all the same.
    let parts = save_parts(moment.unit()).ok();
    let run = moment.run_state().ok();
    change(moment).map_err(|cause| {
        let parts = parts.map_or(Ok(()), |parts| load_parts(moment.unit(), &parts));
        let run = run.map_or(Ok(()), |run| moment.load_run_state(&run));
        match parts.and(run) {
            Ok(()) => cause,
            Err(undo) => format!("{cause}; and what was there before cannot be put back: {undo}").into(),
        }
    })
}

fn hyper_parameters(run: &StateDict) -> Result<BTreeMap<String, String>, BoxError> {
    let saved = run.under(HYPER_PARAMETERS);
    saved.iter().map(|(name, value)| Ok((name.to_owned(), value.to_text()?))).collect()
}

/// What is not the same in both, one text for each; nothing where none are given now.
fn differences(saved: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    if now.is_empty() {
        return Vec::new();
    }
    let mut all: Vec<&String> = saved.keys().chain(now.keys()).collect();
    all.sort();
    all.dedup();
    let difference = |name: &String| match (saved.get(name), now.get(name)) {
        (Some(saved), Some(now)) if saved == now => None,
        (Some(saved), Some(now)) => Some(format!("`{name}` was {saved} and is {now}")),
        (Some(saved), None) => Some(format!("`{name}` was {saved} and is not given")),
        (None, now) => Some(format!("`{name}` was not given and is {}", now.map_or("", |now| now))),
    };
    all.into_iter().filter_map(difference).collect()
}
