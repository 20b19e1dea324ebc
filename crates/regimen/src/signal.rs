//! Signals of a terminal, a scheduler or a cloud that pause a run.

#[cfg(unix)]
pub(crate) mod unix;

use std::io;

use regimen_core::state::PauseHandle;

/// Pauses a run on a signal to the process, until it is dropped.
///
/// SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 ask the run to pause with the signal's name as the reason:
/// the step under way is finished, the saver saves, and the report says
/// [`Paused("SIGTERM")`](regimen_core::run::Ended::Paused). A second SIGINT ends the process at once,
/// with exit status 130; a checkpoint half written then is not there, those before are.
///
/// The same signal within half a second is one: `timeout`, terminals and launchers deliver it to a
/// process and to its group, and so twice.
///
/// Among several [ranks](regimen_core::Run::peers) a signal to one of them pauses all, at the same step.
///
/// SLURM and others send SIGUSR1 some time ahead if asked to (`--signal=B:USR1@120`), so that the
/// save fits between it and the end. [`Preemption`](crate::preemption::Preemption) in place of this also knows the time
/// left, and the notices of a cloud.
///
/// Dropping it restores the default actions of the signals: Ctrl-C ends the process again. A program
/// that handles these signals itself calls [`PauseHandle::pause`] from there instead of this. On
/// systems other than Unix it does nothing.
///
/// ```
/// use regimen::signal::Signals;
/// # use regimen::{BoxError, Run};
/// # use regimen::run::{Report, Train};
/// # use regimen::unit::TrainUnit;
/// # fn example<U: TrainUnit<Batch = u64>>(mut run: Run<'_, U>, data: Vec<u64>) -> Result<Report, BoxError> {
/// let _signals = Signals::pause(&run.pause_handle())?;
/// let report = run.train(&data, Train::epochs(10))?;
/// # Ok(report)
/// # }
/// ```
#[derive(Debug)]
#[must_use = "signals do what they did before when it is dropped"]
pub struct Signals {
    #[cfg(unix)]
    _watch: unix::Watch,
}

impl Signals {
    /// Pauses the run of `handle`. An error if a handler cannot be registered or a thread not be started.
    pub fn pause(handle: &PauseHandle) -> io::Result<Self> {
        #[cfg(unix)]
        {
            let run = handle.clone();
            Ok(Signals { _watch: unix::Watch::start(move |name| run.pause(name))? })
        }
        #[cfg(not(unix))]
        {
            let _ = handle;
            Ok(Signals {})
        }
    }
}
