//! The trait of connected processes, and the function that connects them.

use std::sync::Arc;
use std::time::Duration;

use regimen_core::BoxError;
use regimen_core::data::Rank;
use regimen_core::peers::Peers;

use crate::launch::Launch;
use crate::{Mpi, Solo};

/// [Peers](Peers) that a launcher has started, as returned by [`init`].
pub trait Collective: Peers {
    /// The number of this process on its machine, from 0: that of its device.
    fn local_rank(&self) -> u64;

    /// Closes up after a [`PeerLost`](regimen_core::peers::PeerLost): goes on with the ranks that are left, numbered in
    /// the same order, and returns the new rank of this one. Every rank that is left calls it, and it returns on each
    /// when all have called it. Returns `None` if the transport cannot, which is the default.
    /// [`survive`](crate::survive) does it for a run.
    fn shrink(&self) -> Option<Result<Rank, BoxError>> {
        None
    }

    /// Sets how long a call may wait for the other ranks. Afterwards it is an error, and the process ends with status
    /// 86. Rank 0 first saves its post-mortem, for which it has a quarter of the patience. The default is
    /// `REGIMEN_PATIENCE` seconds, or 600.
    ///
    /// It must be longer than anything that one rank does while others wait, such as the last save. Time in which
    /// this process was stopped does not count.
    fn set_patience(&self, patience: Duration);

    /// Sets the closure that is called with a message before the process ends because a call has waited too long.
    /// It replaces the one before.
    ///
    /// It runs on a thread of its own, and has a quarter of the patience. The call may still wait, so a lock that is held
    /// during a call is not free. The closure must not own these peers, which would then never end.
    fn on_hang(&self, last: Box<dyn FnOnce(&str) + Send>);
}

/// Connects the processes that the launcher has started: `mpirun` of Open MPI, `mpiexec` of MPICH, or `srun`.
/// Returns [`Solo`] if there is no launcher, or if it started one process.
///
/// MPI is a library that is loaded here, under its usual names or from the path in `REGIMEN_MPI`. It is an error if
/// this fails, if MPI knows another number of processes than the launcher, or if the launcher starts no MPI, such as
/// torchrun. No rank trains alone by mistake. The last owner is to be dropped on the thread that has called this, as MPI
/// ends there.
pub fn init() -> Result<Arc<dyn Collective>, BoxError> {
    let launch = Launch::of_this_process()?;
    if launch.rank.count == 1 {
        return Ok(Arc::new(Solo));
    }
    Ok(Arc::new(Mpi::start(&launch)?))
}
