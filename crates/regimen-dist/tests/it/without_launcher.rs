//! Processes that no launcher of MPI has started.

use std::env;
use std::process::Command;
use std::thread;

use regimen_dist::{Mpi, init};

/// Runs `body` in another process with these variables, under the name of the calling test.
pub(crate) fn with(variables: &[(&str, &str)], body: impl FnOnce()) {
    const IS_INNER: &str = "REGIMEN_TEST_IS_INNER";
    if env::var_os(IS_INNER).is_some() {
        return body();
    }
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", thread::current().name().unwrap(), "--nocapture"]).env(IS_INNER, "1");
    // Those of a launcher that has started this test.
    let others = env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        let launchers = [
            "OMPI_",
            "PMI_",
            "SLURM_",
            "TORCHELASTIC_",
            "REGIMEN_MPI",
            "REGIMEN_PATIENCE",
            "REGIMEN_ELASTIC",
        ];
        launchers.iter().any(|start| name.starts_with(start)) || ["RANK", "WORLD_SIZE"].contains(&&*name)
    });
    for name in others {
        command.env_remove(name);
    }
    let output = command.envs(variables.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_process_without_a_launcher_is_alone() {
    with(&[], || assert_eq!(format!("{:?}", init().unwrap()), "Solo"));
}

#[test]
fn one_process_of_a_launcher_needs_no_mpi() {
    let variables = [
        ("OMPI_COMM_WORLD_RANK", "0"),
        ("OMPI_COMM_WORLD_SIZE", "1"),
        ("OMPI_COMM_WORLD_LOCAL_RANK", "0"),
        ("REGIMEN_MPI", "nowhere/libmpi.so"),
    ];
    with(&variables, || assert_eq!(format!("{:?}", init().unwrap()), "Solo"));
}

#[test]
fn processes_of_torchrun_are_told_to_use_another_launcher() {
    with(&[("RANK", "1"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")], || {
        assert_eq!(
            init().unwrap_err().to_string(),
            "torchrun has started 4 processes, and starts no MPI, which connects them: start the program with \
             `mpirun -n 4` or srun instead"
        );
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_library_that_is_missing_is_named() {
    with(&[("REGIMEN_MPI", "nowhere/libmpi.so")], || {
        assert_eq!(
            Mpi::load().unwrap_err().to_string(),
            "the library of MPI is not found: nowhere/libmpi.so: cannot open shared object file: No such file or \
             directory; install Open MPI or MPICH, or set `REGIMEN_MPI` to the path of its library"
        );
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_library_that_is_not_of_mpi_is_refused() {
    with(&[("REGIMEN_MPI", "libc.so.6")], || {
        let error = Mpi::load().unwrap_err().to_string();
        assert!(error.contains("undefined symbol: MPI_Init_thread"), "{error}");
    });
}

#[test]
fn patience_is_a_number_of_seconds() {
    for patience in ["0", "-1", "soon", ""] {
        with(&[("REGIMEN_PATIENCE", patience)], || {
            let patience = env::var("REGIMEN_PATIENCE").unwrap();
            assert_eq!(
                Mpi::load().unwrap_err().to_string(),
                format!("`REGIMEN_PATIENCE` is {patience:?}, and must be a number of seconds above 0")
            );
        });
    }
}

#[test]
fn ranks_are_elastic_or_not() {
    with(&[("REGIMEN_ELASTIC", "perhaps")], || {
        assert_eq!(
            Mpi::load().unwrap_err().to_string(),
            "`REGIMEN_ELASTIC` is \"perhaps\", and must be 1 or 0"
        );
    });
}
