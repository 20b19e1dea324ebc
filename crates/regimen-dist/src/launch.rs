//! How this process was started: its launcher and its rank, as told by the environment.

use std::env;

use regimen_core::BoxError;
use regimen_core::data::Rank;

/// How this process was started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launch {
    /// `None` if nothing started more than this process.
    pub(crate) launcher: Option<&'static Launcher>,
    pub(crate) rank: Rank,
    /// The number of this process on its machine.
    pub(crate) local_rank: u64,
}

/// A program that starts one process per rank, and the variables that it sets in each.
#[derive(Debug)]
pub(crate) struct Launcher {
    pub(crate) name: &'static str,
    /// Those that belong to it. Empty if it starts no MPI.
    pub(crate) libraries: Libraries,
    rank: &'static str,
    count: &'static str,
    /// The first that is set counts.
    local_rank: &'static [&'static str],
}

/// In the order in which they are looked for: a launcher inside a job of Slurm comes before Slurm.
const LAUNCHERS: [&Launcher; 4] = [
    // Open MPI.
    &Launcher {
        name: "mpirun",
        libraries: &[("libmpi", "40"), ("libmpi_abi", "1")],
        rank: "OMPI_COMM_WORLD_RANK",
        count: "OMPI_COMM_WORLD_SIZE",
        local_rank: &["OMPI_COMM_WORLD_LOCAL_RANK"],
    },
    // MPICH and its relatives. Slurm sets the first two as well, if it takes the part of this launcher.
    &Launcher {
        name: "mpiexec",
        libraries: &[("libmpi", "12"), ("libmpich", "12"), ("libmpi_abi", "1")],
        rank: "PMI_RANK",
        count: "PMI_SIZE",
        local_rank: &["MPI_LOCALRANKID", "SLURM_LOCALID"],
    },
    SRUN,
    &Launcher {
        name: TORCHRUN,
        libraries: &[],
        rank: "RANK",
        count: "WORLD_SIZE",
        local_rank: &["LOCAL_RANK"],
    },
];

const TORCHRUN: &str = "torchrun";

/// Libraries of MPI and their versions.
pub(crate) type Libraries = &'static [(&'static str, &'static str)];

/// Those of every MPI: a process without a launcher, or started by `srun`, may have any.
pub(crate) const ALL: Libraries =
    &[("libmpi", "40"), ("libmpi", "12"), ("libmpich", "12"), ("libmpi_abi", "1")];

/// `SLURM_NTASKS` is that of the job, and is also set in a shell of `salloc` and in a script of `sbatch`, where
/// `SLURM_PROCID` is 0. The number of tasks of the step is set by `srun` alone.
const SRUN: &Launcher = &Launcher {
    name: "srun",
    libraries: ALL,
    rank: "SLURM_PROCID",
    count: "SLURM_STEP_NUM_TASKS",
    local_rank: &["SLURM_LOCALID"],
};

impl Launch {
    pub(crate) fn of_this_process() -> Result<Self, BoxError> {
        Environment(|name: &str| env::var_os(name).map(|value| value.to_string_lossy().into_owned())).launch()
    }
}

/// Variables by name.
struct Environment<F>(F);

impl<F: Fn(&str) -> Option<String>> Environment<F> {
    fn launch(&self) -> Result<Launch, BoxError> {
        let mut one = None;
        for launcher in LAUNCHERS.into_iter().filter(|launcher| self.is_set_by(launcher)) {
            let launch = self.launch_by(launcher)?;
            if launch.rank.count > 1 {
                return Ok(launch);
            }
            // Perhaps the process that it started has started others.
            one = one.or(Some(launch));
        }
        Ok(one.unwrap_or(Launch { launcher: None, rank: Rank::default(), local_rank: 0 }))
    }

    fn is_set_by(&self, launcher: &Launcher) -> bool {
        let is_set = |name| (self.0)(name).is_some();
        // `srun torchrun PROGRAM` starts one torchrun per machine, which starts the ranks. So do other launchers. A
        // torchrun of one process starts none: `torchrun mpirun PROGRAM` starts the launcher again if that fails.
        let is_alone = (self.0)("WORLD_SIZE").is_some_and(|count| count == "1");
        if is_set("TORCHELASTIC_RUN_ID") && launcher.name != TORCHRUN && !is_alone {
            return false;
        }
        // By itself, the rank is also set in a job without `srun`.
        is_set(launcher.count) || is_set(launcher.rank) && launcher.name != SRUN.name
    }

    fn launch_by(&self, launcher: &'static Launcher) -> Result<Launch, BoxError> {
        let index = self.number(launcher.rank)?.ok_or_else(|| half(launcher.count, launcher.rank))?;
        let count = self.number(launcher.count)?.ok_or_else(|| half(launcher.rank, launcher.count))?;
        self.below(launcher.rank, index, launcher.count, count)?;
        let names = launcher.local_rank;
        let name = names.iter().find(|name| (self.0)(name).is_some()).unwrap_or(&names[0]);
        let local_rank = match self.number(name)? {
            Some(local) => self.below(name, local, launcher.count, count)?,
            None if count == 1 => 0,
            None => {
                return Err(format!(
                    "`{}` is {count}, and `{name}` is not set: processes on one machine would share a device; \
                     start them with a launcher that sets it, such as mpirun",
                    launcher.count
                )
                .into());
            }
        };
        Ok(Launch { launcher: Some(launcher), rank: Rank { index, count }, local_rank })
    }

    fn below(&self, name: &str, value: u64, limit_name: &str, limit: u64) -> Result<u64, BoxError> {
        if value < limit {
            return Ok(value);
        }
        Err(format!("`{name}` is {value}, and must be below `{limit_name}`, which is {limit}").into())
    }

    fn number(&self, name: &str) -> Result<Option<u64>, BoxError> {
        let Some(value) = (self.0)(name) else { return Ok(None) };
        let number =
            value.parse().map_err(|_| format!("`{name}` is {value:?}, and must be a whole number"))?;
        Ok(Some(number))
    }
}

fn half(set: &str, missing: &str) -> BoxError {
    format!("`{set}` is set and `{missing}` is not: a launcher sets both; unset `{set}` for a single process")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The launch in an environment such as `RANK=1 WORLD_SIZE=2`, as `torchrun: 1 of 2, local 0`, or the error.
    fn found(environment: &str) -> String {
        let get = |name: &str| {
            let mut variables = environment.split(' ').filter_map(|variable| variable.split_once('='));
            variables.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
        };
        match Environment(get).launch() {
            Ok(Launch { launcher, rank, local_rank }) => {
                let name = launcher.map_or("alone", |launcher| launcher.name);
                format!("{name}: {} of {}, local {local_rank}", rank.index, rank.count)
            }
            Err(error) => error.to_string(),
        }
    }

    fn check(table: &[(&str, &str)]) {
        for (environment, expected) in table {
            assert_eq!(found(environment), *expected, "{environment}");
        }
    }

    #[test]
    fn each_launcher_is_known_by_its_variables() {
        check(&[
            ("", "alone: 0 of 1, local 0"),
            (
                "OMPI_COMM_WORLD_RANK=5 OMPI_COMM_WORLD_SIZE=8 OMPI_COMM_WORLD_LOCAL_RANK=1",
                "mpirun: 5 of 8, local 1",
            ),
            (
                "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=1 OMPI_COMM_WORLD_LOCAL_RANK=0",
                "mpirun: 0 of 1, local 0",
            ),
            ("PMI_RANK=2 PMI_SIZE=4 MPI_LOCALRANKID=0", "mpiexec: 2 of 4, local 0"),
            ("PMI_RANK=0 PMI_SIZE=1", "mpiexec: 0 of 1, local 0"),
            ("SLURM_PROCID=3 SLURM_STEP_NUM_TASKS=4 SLURM_LOCALID=1 SLURM_NTASKS=4", "srun: 3 of 4, local 1"),
            ("RANK=11 WORLD_SIZE=16 LOCAL_RANK=3 TORCHELASTIC_RUN_ID=none", "torchrun: 11 of 16, local 3"),
            ("RANK=0 WORLD_SIZE=1", "torchrun: 0 of 1, local 0"),
        ]);
    }

    #[test]
    fn a_job_of_slurm_counts_only_in_steps_of_srun() {
        let salloc = "SLURM_JOB_ID=7 SLURM_NTASKS=4 SLURM_NNODES=1";
        let sbatch = "SLURM_JOB_ID=7 SLURM_NTASKS=4 SLURM_PROCID=0 SLURM_LOCALID=0";
        // A shell inside the allocation is a step of one task, and keeps the number of the job.
        let shell = "SLURM_NTASKS=4 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_STEP_NUM_TASKS=1";
        let ompi = "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK=1";
        check(&[
            (salloc, "alone: 0 of 1, local 0"),
            ("SLURM_JOB_ID=7 SLURM_NTASKS=1", "alone: 0 of 1, local 0"),
            (sbatch, "alone: 0 of 1, local 0"),
            (shell, "srun: 0 of 1, local 0"),
            (&format!("{salloc} {ompi}"), "mpirun: 1 of 2, local 1"),
            (&format!("{sbatch} {ompi}"), "mpirun: 1 of 2, local 1"),
            (&format!("{shell} {ompi}"), "mpirun: 1 of 2, local 1"),
            // `srun --mpi=pmi2`.
            (
                "PMI_RANK=3 PMI_SIZE=4 SLURM_PROCID=3 SLURM_LOCALID=1 SLURM_STEP_NUM_TASKS=4",
                "mpiexec: 3 of 4, local 1",
            ),
            // `srun torchrun`, with one task per machine.
            (
                "SLURM_PROCID=1 SLURM_LOCALID=0 SLURM_STEP_NUM_TASKS=2 \
                 TORCHELASTIC_RUN_ID=7 RANK=11 WORLD_SIZE=16 LOCAL_RANK=3",
                "torchrun: 11 of 16, local 3",
            ),
            // A shell of `srun`, in which ranks are started by hand.
            (&format!("{shell} RANK=1 WORLD_SIZE=2 LOCAL_RANK=1"), "torchrun: 1 of 2, local 1"),
            // `mpirun -n 1 torchrun`.
            (
                "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=1 TORCHELASTIC_RUN_ID=7 RANK=3 WORLD_SIZE=4 LOCAL_RANK=3",
                "torchrun: 3 of 4, local 3",
            ),
            // `torchrun --nproc-per-node 1 --no-python mpirun`, which is started again if a rank fails.
            (
                "TORCHELASTIC_RUN_ID=7 RANK=0 WORLD_SIZE=1 LOCAL_RANK=0 \
                 OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK=1",
                "mpirun: 1 of 2, local 1",
            ),
            ("TORCHELASTIC_RUN_ID=7 RANK=0 WORLD_SIZE=1 LOCAL_RANK=0", "torchrun: 0 of 1, local 0"),
            // A script that sets the variables of torchrun by those of Slurm.
            (
                "SLURM_PROCID=1 SLURM_LOCALID=1 SLURM_STEP_NUM_TASKS=2 RANK=1 WORLD_SIZE=2 LOCAL_RANK=1",
                "srun: 1 of 2, local 1",
            ),
        ]);
    }

    #[test]
    fn an_environment_of_no_launcher_is_refused() {
        check(&[
            (
                "OMPI_COMM_WORLD_RANK=0",
                "`OMPI_COMM_WORLD_RANK` is set and `OMPI_COMM_WORLD_SIZE` is not: a launcher sets both; \
                 unset `OMPI_COMM_WORLD_RANK` for a single process",
            ),
            (
                "WORLD_SIZE=2",
                "`WORLD_SIZE` is set and `RANK` is not: a launcher sets both; unset `WORLD_SIZE` for a single \
                 process",
            ),
            (
                "SLURM_STEP_NUM_TASKS=2",
                "`SLURM_STEP_NUM_TASKS` is set and `SLURM_PROCID` is not: a launcher sets both; unset \
                 `SLURM_STEP_NUM_TASKS` for a single process",
            ),
            ("PMI_RANK=2 PMI_SIZE=2", "`PMI_RANK` is 2, and must be below `PMI_SIZE`, which is 2"),
            ("PMI_RANK=0 PMI_SIZE=0", "`PMI_RANK` is 0, and must be below `PMI_SIZE`, which is 0"),
            ("RANK=-1 WORLD_SIZE=2", "`RANK` is \"-1\", and must be a whole number"),
            ("RANK=0 WORLD_SIZE=", "`WORLD_SIZE` is \"\", and must be a whole number"),
            (
                "RANK=0 WORLD_SIZE=2 LOCAL_RANK=2",
                "`LOCAL_RANK` is 2, and must be below `WORLD_SIZE`, which is 2",
            ),
            (
                "PMI_RANK=0 PMI_SIZE=2",
                "`PMI_SIZE` is 2, and `MPI_LOCALRANKID` is not set: processes on one machine would share a \
                 device; start them with a launcher that sets it, such as mpirun",
            ),
        ]);
    }
}
