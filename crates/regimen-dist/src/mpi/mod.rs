//! MPI, loaded when the program starts.

mod call;
mod fence;
pub(crate) mod library;
mod state;
mod watch;

use std::env;
use std::fmt;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use regimen_core::BoxError;
use regimen_core::data::Rank;
use regimen_core::engine::Bucket;
use regimen_core::error::Place;
use regimen_core::peers::{PeerLost, Peers};

use self::call::{Call, Kind};
use self::fence::Process;
use self::state::State;
use self::watch::Watch;
use crate::Collective;
use crate::launch::{self, Launch};

/// Processes that MPI connects: Open MPI 4 or 5, MPICH 4 or 5, or any with the standard ABI of MPI 5.
///
/// Before each call the ranks compare what they are about to call, in one small all-reduce. So a call that is not the
/// same on all is an error on all, and [`abort`](Peers::abort) ends all in an orderly way. A sum is `MPI_Allreduce`,
/// in place. Open MPI 4 and 5 and MPICH 4 and 5 return the same bits on every rank, and for every run; others may
/// not, which `AutoUnit::compare_replicas` finds.
///
/// A rank that dies is noticed by its launcher, which ends the job. For a rank that hangs there is a watchdog in each of
/// the others. If a call waits longer than the [patience](Collective::set_patience), it is a [`PeerLost`]. The run on rank 0
/// then saves its post-mortem, and [`abort`](Peers::abort) ends the process: it writes a line to standard error, calls
/// the [closure](Collective::on_hang), and exits with status 86. The drop of the last owner does the same, and so does
/// the watchdog if neither has come within the patience again. The other ranks exit a quarter of the patience later, as
/// launchers end all ranks with the first. If all ranks have begun a call and one hangs before its end, the call
/// cannot return, and the watchdog ends the process without a post-mortem.
///
/// The last owner disconnects, which waits for all ranks too. It does not if a call has failed, if ranks were lost, or
/// during a panic.
///
/// **Elastic ranks.** With `REGIMEN_ELASTIC=1`, under a launcher that lets ranks go on without others
/// (`mpirun --with-ft ulfm` of Open MPI 5), a call that fails on one rank fails on all. The ranks that are left then
/// [close up](Collective::shrink). Each [`commit`](Peers::commit) is an agreement that holds on all of them or on none. A
/// rank that fails by itself is lost to the others like one that dies.
pub struct Mpi {
    rank: Mutex<Rank>,
    is_elastic: bool,
    local_rank: u64,
    // Before the watchdog: it is dropped first, and its end is watched.
    state: Mutex<State>,
    watch: Watch,
}

/// Counts of MPI are 32 bits, and implementations have had faults at 2 GiB.
const LONGEST: usize = 1 << 27;

impl Mpi {
    /// Connects this process by MPI, even if it is the only one. [`init`](crate::init) is meant for programs.
    ///
    /// It is an error if this was called before in this process.
    pub fn load() -> Result<Self, BoxError> {
        Self::start(&Launch::of_this_process()?)
    }

    pub(crate) fn start(launch: &Launch) -> Result<Self, BoxError> {
        let Launch { launcher, rank, local_rank } = *launch;
        let (patience, is_elastic) = (patience()?, is_elastic()?);
        let library = library::load(&names(launch)?, library::open).map_err(|tried| match launcher {
            Some(launcher) => format!(
                "{} has started {} processes, and the library of MPI that connects them is not found: {tried}; \
                 set `REGIMEN_MPI` to the path of the library that belongs to {}",
                launcher.name, rank.count, launcher.name
            ),
            None => format!(
                "the library of MPI is not found: {tried}; install Open MPI or MPICH, or set `REGIMEN_MPI` to the \
                 path of its library"
            ),
        })?;
        let watch = Watch::start(rank.index, patience)?;
        let mut world = {
            let waiting = watch.begin(Call::START);
            waiting.blocks();
            library::start(library)?
        };
        let found = world.rank();
        if found.count != rank.count {
            return Err(match launcher {
                Some(launcher) => format!(
                    "{name} has started {} processes, and MPI has connected {}: its library is of another MPI, or \
                     {name} did not start it, as `srun` does without `--mpi=pmix`; set `REGIMEN_MPI` to the path of \
                     the library that belongs to {name}",
                    rank.count,
                    found.count,
                    name = launcher.name,
                ),
                None => format!(
                    "MPI has connected {} processes, of a launcher that is not known: use mpirun, mpiexec or srun",
                    found.count
                ),
            }
            .into());
        }
        if is_elastic {
            // The process ends here if a rank hangs, as in the start itself.
            let waiting = watch.begin(Call::START);
            waiting.blocks();
            let agreed = if world.can_shrink() { world.agree(true) } else { Ok(false) };
            if agreed != Ok(true) {
                return Err(
                    "`REGIMEN_ELASTIC` is set, and the ranks cannot go on without one: use Open MPI 5, and \
                            start them with `mpirun --with-ft ulfm`"
                        .into(),
                );
            }
        }
        let (lost, processes) = (None, Vec::new());
        let state = State { world, lost, is_elastic, has_agreed: false, processes, longest: LONGEST };
        let mpi = Mpi { rank: Mutex::new(found), is_elastic, local_rank, state: Mutex::new(state), watch };
        if is_elastic {
            // If this fails, so does the next call.
            let _ = mpi.fence();
        }
        Ok(mpi)
    }

    /// Makes `call`, which is `exchange` on all ranks or an error on all.
    fn call<R>(
        &self,
        call: Call,
        exchange: impl FnOnce(&mut State) -> Result<R, String>,
    ) -> Result<R, BoxError> {
        let mut state = self.state();
        if let Some(lost) = &state.lost {
            return Err(PeerLost::new(lost).into());
        }
        let waiting = self.watch.begin(call);
        state.meet(call, "", &waiting)?;
        let exchanged = exchange(&mut state).and_then(|value| match call.kind {
            // An agreement holds on all ranks or on none, whatever this one hears afterwards.
            Kind::Commit => Ok(value),
            _ => state.unless_lost(value),
        });
        exchanged.map_err(|text| state.lose(format!("{call}: {text}")))
    }

    /// Ends the processes on this machine that are no longer among the ranks.
    fn fence(&self) -> Result<(), BoxError> {
        let here = Process::this();
        let all = self.gather(&here.as_ref().map(Process::to_bytes).unwrap_or_default())?;
        let all: Vec<_> = all.iter().map(|bytes| Process::from_bytes(bytes)).collect();
        let mut state = self.state();
        let lost = state.processes.iter().filter(|before| !all.contains(before));
        if let Some(here) = here {
            lost.flatten().for_each(|lost| lost.end(&here));
        }
        state.processes = all;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peers for Mpi {
    fn rank(&self) -> Rank {
        *self.rank.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sum(&self, values: Bucket<'_>) -> Result<(), BoxError> {
        match values {
            Bucket::F32(values) => {
                self.call(Call::sum_f32(values.len()), |State { world, longest, .. }| {
                    values.chunks_mut(*longest).try_for_each(|values| world.sum(Bucket::F32(values)))
                })
            }
            Bucket::F64(values) => {
                self.call(Call::sum_f64(values.len()), |State { world, longest, .. }| {
                    values.chunks_mut(*longest).try_for_each(|values| world.sum(Bucket::F64(values)))
                })
            }
            other => Err(other.refused()),
        }
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, BoxError> {
        self.call(Call::GATHER, |state| state.gather(own))
    }

    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), BoxError> {
        self.call(Call::broadcast(bytes.len()), |State { world, longest, .. }| {
            bytes.chunks_mut(*longest).try_for_each(|bytes| world.broadcast(bytes))
        })
    }

    fn commit(&self) -> Result<(), BoxError> {
        if !self.is_elastic {
            return Ok(());
        }
        self.call(Call::COMMIT, |state| {
            state.has_agreed = true;
            if !state.world.agree(true)? {
                return Err("another rank has noticed a loss".into());
            }
            state.has_agreed = false;
            Ok(())
        })
    }

    fn is_elastic(&self) -> bool {
        self.is_elastic
    }

    fn note_place(&self, place: Place) {
        self.watch.set_place(place);
    }

    fn abort(&self, why: &str) {
        let mut state = self.state();
        if state.lost.is_none() {
            let waiting = self.watch.begin(Call::ABORT);
            // An error, as this rank has failed: that of all further calls.
            let _ = state.meet(Call::ABORT, &format!("rank {} failed: {why}", self.rank().index), &waiting);
        }
        // There is no other way to tell the ranks that wait. The run has saved what it could.
        let lost = state.lost.as_deref().unwrap_or_default();
        self.watch.end_if_gone(&if why.contains(lost) { why.to_owned() } else { format!("{why}; {lost}") });
    }
}

impl Collective for Mpi {
    fn local_rank(&self) -> u64 {
        self.local_rank
    }

    /// Its order of calls is what keeps it from waiting forever. A rank may be in the agreement of a commit, which is
    /// not revoked, while another has failed before it. So each takes part in one more agreement before it shrinks.
    fn shrink(&self) -> Option<Result<Rank, BoxError>> {
        if !self.is_elastic {
            return None;
        }
        let mut state = self.state();
        let waiting = self.watch.begin(Call::SHRINK);
        waiting.blocks();
        state.world.revoke();
        if !state.has_agreed {
            // It cannot hold.
            let _ = state.world.agree(false);
        }
        state.has_agreed = true;
        let rank = match state.world.shrink() {
            Ok(rank) => rank,
            Err(text) => return Some(Err(format!("the ranks that are left cannot close up: {text}").into())),
        };
        (state.lost, state.has_agreed) = (None, false);
        drop((waiting, state));
        *self.rank.lock().unwrap_or_else(PoisonError::into_inner) = rank;
        self.watch.set_rank(rank.index);
        // If another is lost meanwhile, the next call says so, and all close up again.
        let _ = self.fence();
        Some(Ok(rank))
    }

    fn set_patience(&self, patience: Duration) {
        self.watch.set_patience(patience);
    }

    fn on_hang(&self, last: Box<dyn FnOnce(&str) + Send>) {
        self.watch.set_last_words(last);
    }
}

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mpi")
            .field("rank", &self.rank())
            .field("is_elastic", &self.is_elastic)
            .field("local_rank", &self.local_rank)
            .finish_non_exhaustive()
    }
}

impl Drop for Mpi {
    /// Meets the others at their end, so that a rank that fails there, or goes on, is not left waiting.
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.watch.end_if_gone(state.lost.as_deref().unwrap_or_default());
        let waiting = self.watch.begin(Call::END);
        if state.lost.is_none() {
            // There is nobody to tell: the others have the error.
            let _ = state.meet(Call::END, "", &waiting);
            self.watch.end_if_gone(state.lost.as_deref().unwrap_or_default());
        }
        if state.is_elastic && state.lost.is_some() {
            // The others go on.
            state.world.leave();
        }
        // Under way until the world is dropped after this, and the watchdog after it.
        waiting.blocks();
        mem::forget(waiting);
    }
}

/// The names under which the library is looked for.
fn names(launch: &Launch) -> Result<Vec<String>, BoxError> {
    if let Some(path) = env::var_os("REGIMEN_MPI").filter(|path| !path.is_empty()) {
        return Ok(vec![path.to_string_lossy().into_owned()]);
    }
    match launch.launcher {
        None => Ok(launch::ALL.iter().map(file_name).collect()),
        Some(launcher) if launcher.libraries.is_empty() => Err(format!(
            "{name} has started {count} processes, and starts no MPI, which connects them: start the program with \
             `mpirun -n {count}` or srun instead",
            name = launcher.name,
            count = launch.rank.count,
        )
        .into()),
        Some(launcher) => Ok(launcher.libraries.iter().map(file_name).collect()),
    }
}

fn file_name((stem, version): &(&str, &str)) -> String {
    if cfg!(target_os = "macos") { format!("{stem}.{version}.dylib") } else { format!("{stem}.so.{version}") }
}

/// Whether the ranks that are left go on after a loss.
fn is_elastic() -> Result<bool, BoxError> {
    match env::var_os("REGIMEN_ELASTIC") {
        None => Ok(false),
        Some(value) if value == "1" => Ok(true),
        Some(value) if value.is_empty() || value == "0" => Ok(false),
        Some(value) => Err(format!("`REGIMEN_ELASTIC` is {value:?}, and must be 1 or 0").into()),
    }
}

pub(crate) fn patience() -> Result<Duration, BoxError> {
    let Some(value) = env::var_os("REGIMEN_PATIENCE") else { return Ok(Duration::from_secs(600)) };
    let value = value.to_string_lossy();
    let seconds = value.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|seconds| !seconds.is_zero()).ok_or_else(|| {
        format!("`REGIMEN_PATIENCE` is {value:?}, and must be a number of seconds above 0").into()
    })
}

#[cfg(test)]
#[path = "../../tests/it/on_ranks.rs"]
mod on_ranks;

#[cfg(test)]
mod ranks {
    use super::on_ranks::on_ranks;
    use super::*;

    #[test]
    fn a_message_that_is_too_long_is_sent_in_pieces() {
        let ended = on_ranks(3, &[], || {
            let mpi = Mpi::load().unwrap();
            let index = mpi.rank().index as usize;
            // Pieces of one byte per rank in a gather, and of two.
            for longest in [4, 7] {
                mpi.state().longest = longest;
                for length in 0..20 {
                    let mut singles: Vec<f32> = (0..length).map(|i| (i * index) as f32).collect();
                    let mut doubles: Vec<f64> = singles.iter().map(|number| f64::from(*number)).collect();
                    mpi.sum(Bucket::F32(&mut singles)).unwrap();
                    mpi.sum(Bucket::F64(&mut doubles)).unwrap();
                    let expected: Vec<_> = (0..length).map(|i| 3.0 * i as f64).collect();
                    assert_eq!(doubles, expected);
                    assert!(singles.iter().map(|number| f64::from(*number)).eq(expected));

                    let numbered = |rank: usize, length: usize| -> Vec<u8> {
                        (0..length).map(|i| (100 * rank + i) as u8).collect()
                    };
                    let all = mpi.gather(&numbered(index, index * length)).unwrap();
                    assert_eq!(all, [0, 1, 2].map(|rank| numbered(rank, rank * length)));
                    let mut bytes = numbered(index, length);
                    mpi.broadcast(&mut bytes).unwrap();
                    assert_eq!(bytes, numbered(0, length));
                }
            }
        });
        let Some(ended) = ended else { return };
        ended.well();
    }
}
