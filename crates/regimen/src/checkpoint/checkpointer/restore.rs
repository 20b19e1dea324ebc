//! The restore of a saved run: all of it, or nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::error::WithCauses;
use regimen_core::peers::AgreedError;
use regimen_core::run::{Moment, Restored, Which};
use regimen_core::saved::{SHARE, StateDict, load_parts, load_parts_except, save_parts};

use super::background::Background;
use super::capture::RUN;
use super::finite::infinite;
use super::found::Found;
use super::session::{Session, writes};
use super::settings::Settings;
use crate::checkpoint::error::undone;
use crate::checkpoint::{Manifest, Snapshot};

/// Restores the checkpoint that `which` selects, and goes on as the run that wrote it.
pub(super) fn restore(
    settings: &Settings,
    session: &mut Session,
    which: Which<'_>,
    moment: &mut Moment<'_>,
) -> Result<Option<Restored>, BoxError> {
    settings.check()?;
    // The checkpoint that is being written may be the one to restore.
    if let Some(Err(why)) = session.background.as_mut().and_then(Background::wait) {
        session.recent = None;
        moment.state_mut().notify(format!("a checkpoint was not saved: {why}"));
    }
    let Some(Found { path, manifest, mut parts, skipped }) = Found::find(settings, which, moment)? else {
        return Ok(None);
    };
    let run = parts.remove(RUN).ok_or_else(|| {
        let path = path.display();
        format!("`{path}` has no part `{RUN}`, so no run can go on from it; take its parts with `Load`")
    })?;
    let saved = Moment::saved_state(&run)?;
    let mut differences = moment.state().hyper_parameters().differences(saved.hyper_parameters());
    if settings.must_match && !differences.is_empty() {
        return Err(format!("hyper-parameters differ: {}", differences.join("; ")).into());
    }
    let left_out = put_back(moment, &parts, &run, &settings.left_out).map_err(|cause| fault(&path, cause))?;
    session.holds_best = false;
    if !left_out.is_empty() {
        moment.state_mut().set_other_weights();
    }
    differences.iter_mut().for_each(|text| *text = format!("hyper-parameters differ: {text}"));
    left_out.iter().for_each(|left_out| moment.state_mut().notify(left_out.clone()));
    differences.extend(left_out);
    let Manifest { run: id, step, epoch, metrics, .. } = manifest;
    if session.run.as_ref() != Some(&id) {
        // What is open is open for the run that it was until now.
        session.background = None;
        session.run = Some(id);
    }
    // As in a copy of the unit, which is compared with it.
    parts.values_mut().for_each(|part| drop(part.remove(SHARE)));
    parts.insert(RUN.to_owned(), run);
    session.measured = metrics.clone();
    let snapshot = Arc::new(Snapshot { step, epoch, post_mortem: false, metrics, parts });
    session.infinite = Some(Arc::new(infinite(&snapshot)));
    // One of another directory is not saved in this one.
    let is_of_dir = path.parent() == Some(&*settings.dir);
    session.recent = (is_of_dir && writes(moment)).then_some(snapshot);
    Ok(Some(Restored { step, from: path.display().to_string(), skipped, differences }))
}

/// Puts only the unit's parts of the best checkpoint back.
pub(super) fn put_best_back(
    settings: &Settings,
    session: &mut Session,
    moment: &mut Moment<'_>,
) -> Result<(), BoxError> {
    let found = Found::find(settings, Which::Best, moment)
        .map_err(|cause| format!("`restore_best_at_end`: {}", WithCauses(&*cause)))?;
    let Some(Found { path, mut parts, skipped, .. }) = found else { return Ok(()) };
    parts.remove(RUN);
    let rank = moment.state().rank();
    let notices = or_undo(moment, |moment| {
        let loaded = load_parts_except(moment.unit(), &parts, &settings.left_out, rank);
        agreed(moment, loaded)
    })
    .map_err(|cause| fault(&path, cause))?;
    notices.into_iter().for_each(|text| moment.state_mut().notify(text));
    // These are not the weights that the run goes on from, so a pass by hand is not saved with them.
    session.holds_best = true;
    moment.state_mut().set_other_weights();
    for skipped in skipped {
        moment.state_mut().notify(format!("passed over {skipped}"));
    }
    Ok(())
}

/// The error of a restore of the checkpoint at `path`.
fn fault(path: &Path, cause: BoxError) -> BoxError {
    let text = format!("`{}`: {}", path.display(), WithCauses(&*cause));
    if AgreedError::is_in(&*cause) { AgreedError::new(text).into() } else { text.into() }
}

/// Puts unit and run back to what was saved of them, but for the parts left out. Returns what is not
/// as it was saved.
fn put_back(
    moment: &mut Moment<'_>,
    parts: &BTreeMap<String, StateDict>,
    run: &StateDict,
    left_out: &[String],
) -> Result<Vec<String>, BoxError> {
    let rank = moment.state().rank();
    or_undo(moment, |moment| {
        let checked = moment.check_run_state_of_ranks(run);
        let loaded = checked.and_then(|()| {
            let notices = load_parts_except(moment.unit(), parts, left_out, rank)?;
            moment.load_run_state_of_ranks(run)?;
            Ok(notices)
        });
        agreed(moment, loaded)
    })
}

/// If another rank cannot load, this one is to be as it was too.
fn agreed<R>(moment: &Moment<'_>, loaded: Result<R, BoxError>) -> Result<R, BoxError> {
    match moment.state().peers() {
        None => loaded,
        Some(peers) => peers.agree(loaded),
    }
}

/// Does `change`, and undoes it if it fails half-way: a part may find a mistake only when
/// others have been changed already.
fn or_undo<R>(
    moment: &mut Moment<'_>,
    change: impl FnOnce(&mut Moment<'_>) -> Result<R, BoxError>,
) -> Result<R, BoxError> {
    // A unit that cannot be saved can be restored all the same: an error left it without its module, or it has
    // a loss on the device that is not finite.
    let parts = save_parts(moment.unit());
    let run = moment.run_state();
    change(moment).map_err(|cause| {
        let run = run.and_then(|run| moment.load_run_state(&run));
        match parts {
            Ok(parts) => undone(cause, load_parts(moment.unit(), &parts).and(run)),
            Err(why) => {
                let (cause, why) = (WithCauses(&*cause), WithCauses(&*why));
                format!("{cause}; and there is no copy of the unit before to put back: {why}").into()
            }
        }
    })
}
