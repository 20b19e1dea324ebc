//! Calls of a run that outlive ranks.

use regimen_core::error::{ErrorKind, Place};
use regimen_core::peers::PeerLost;
use regimen_core::state::{EntryPoint, EpochSamples};
use regimen_core::{BoxError, Error, Run};

use crate::{Collective, gather};

/// Makes `call`, such as `run.fit(..)`, and makes it again on the ranks that are left whenever one is lost.
///
/// The ranks that are left [close up](Collective::shrink), each [goes back](Run::rewind) to where all can go on, and they
/// compare their [places](Run::standing). If these differ, or one cannot go on, all restore the latest checkpoint. Every
/// batch is still trained on once, in the same order; only the shares of the ranks change. So the losses are those of a
/// run of which no rank was lost, up to the rounding of sums.
///
/// A notice says how many ranks were lost, where the run goes on, and how many samples the training metrics of the epoch
/// under way lack: those that the lost ranks had seen. The value that is returned is that of the last call, so a
/// report lists the epochs since the last loss.
///
/// Every rank calls it, with the `peers` of the run. If they cannot close up, an error is returned at once: start the program
/// again, and restore. So it is with an error that is not of a lost rank, and with a prediction, whose outputs a lost
/// rank may have written.
///
/// ```no_run
/// use regimen_core::data::Data;
/// use regimen_core::run::Fit;
/// use regimen_core::unit::{EvalUnit, TrainUnit};
/// use regimen_core::{BoxError, Run};
/// use regimen_dist::{init, survive};
///
/// # fn example<U: TrainUnit<Batch = u64> + EvalUnit<Batch = u64>>(unit: &mut U, data: &[u64]) -> Result<(), BoxError> {
/// let peers = init()?;
/// let mut run = Run::new(unit).peers(peers.clone());
/// let report = survive(&*peers, &mut run, |run| run.fit(data, data, Fit::epochs(10)))?;
/// # drop(report);
/// # Ok(())
/// # }
/// ```
///
/// ```sh
/// mpirun -n 4 --with-ft ulfm -x REGIMEN_ELASTIC=1 PROGRAM
/// ```
pub fn survive<'a, U: ?Sized, R>(
    peers: &dyn Collective,
    run: &mut Run<'a, U>,
    mut call: impl FnMut(&mut Run<'a, U>) -> Result<R, Error>,
) -> Result<R, Error> {
    let mut done = None;
    loop {
        let lost = match call(run) {
            Ok(value) => {
                let value = done.take().unwrap_or(value);
                match peers.commit() {
                    Ok(()) => return Ok(value),
                    // The others may not have come so far. They need this rank, for which nothing is left to do.
                    Err(cause) => {
                        done = Some(value);
                        error_of_peers(run, cause)
                    }
                }
            }
            Err(error) => error,
        };
        let is_elastic = run.state().peers().is_some_and(|peers| peers.is_elastic());
        if !PeerLost::is_in(&lost) || !is_elastic || run.state().entry_point() == EntryPoint::Predict {
            return Err(lost);
        }
        close_up(peers, run, lost)?;
    }
}

/// Goes on with the ranks that are left, until none is lost meanwhile.
fn close_up<U: ?Sized>(peers: &dyn Collective, run: &mut Run<'_, U>, mut lost: Error) -> Result<(), Error> {
    loop {
        let before = peers.rank().count;
        match peers.shrink() {
            None => return Err(lost),
            Some(shrunk) => shrunk.map_err(|cause| error_of_peers(run, cause))?,
        };
        if peers.rank().count == before {
            // It would come again.
            return Err(lost);
        }
        let again = run.rewind();
        match meet(peers, run, &Loss { before, again, cause: &lost }) {
            Err(error) if PeerLost::is_in(&error) => lost = error,
            met => return met,
        }
    }
}

/// The loss of ranks, as one that is left knows it.
struct Loss<'l> {
    /// Ranks before it.
    before: u64,
    /// Training steps that are made again.
    again: u64,
    cause: &'l Error,
}

/// Has all ranks go on from the same place.
fn meet<U: ?Sized>(peers: &dyn Collective, run: &mut Run<'_, U>, loss: &Loss<'_>) -> Result<(), Error> {
    let samples = run.state().epoch_samples();
    let samples = samples.map(|EpochSamples { of_all, of_this_rank }| (of_all, of_this_rank));
    let places = gather(peers, &(run.standing(), samples)).map_err(|cause| error_of_peers(run, cause))?;
    let (places, samples): (Vec<_>, Vec<_>) = places.into_iter().unzip();
    let is_alike = places.iter().all(|place| place.is_some() && *place == places[0]);
    let Loss { before, again, cause } = loss;
    let left = peers.rank().count;
    let mut notice = format!("{} of {before} ranks lost, {left} go on ", before.saturating_sub(left));
    if is_alike {
        notice += &format!("after step {}", run.state().train_progress().steps);
        if *again > 0 {
            notice += &format!(" ({again} of the steps behind it were made before)");
        }
        notice += &missing(&samples);
    } else {
        let restored = run.restore_latest()?.ok_or_else(|| {
            let text = "ranks were lost, and those that are left cannot go on from the same place: there is no checkpoint";
            error_of_peers(run, text.into())
        })?;
        notice += &format!("from the checkpoint of step {}", restored.step);
    }
    run.notify(format!("{notice}: {cause:#}"));
    Ok(())
}

/// The part of the notice about metrics that the lost ranks had.
fn missing(samples: &[Option<(u64, u64)>]) -> String {
    let known: Option<Vec<(u64, u64)>> = samples.iter().copied().collect();
    let Some(known) = known else {
        return "; the training metrics of this epoch lack the samples of the lost ranks".to_owned();
    };
    let (of_all, left) = (known[0].0, known.iter().map(|(_, own)| own).sum::<u64>());
    match of_all.saturating_sub(left) {
        0 => String::new(),
        lost => format!("; the training metrics of this epoch lack {lost} of its {of_all} samples so far"),
    }
}

fn error_of_peers<U: ?Sized>(run: &Run<'_, U>, cause: BoxError) -> Error {
    let (state, progress) = (run.state(), run.state().progress());
    let place = Place { phase: Some(state.phase()), epoch: progress.epochs, step: progress.steps };
    Error::new(ErrorKind::Peers, place, cause)
}
