//! Ranks under a real MPI.

use std::env;
use std::process::{self, Command, Stdio};
use std::time::Duration;

use regimen_core::engine::Bucket;
use regimen_core::peers::{PeerLost, Peers};
use regimen_dist::{
    Collective, Mpi, all_true, any_true, barrier, broadcast, count_true, gather, init, on_first,
};
use regimen_test::peers_suite::checks;

use crate::on_ranks::{Ended, on_ranks};
use crate::without_launcher;

/// Runs `body` on `count` ranks, and returns their end. Returns `None` in the ranks, and without a launcher.
fn with_mpi(count: usize, body: impl FnOnce(Mpi)) -> Option<Ended> {
    on_ranks(count, &[], || body(Mpi::load().unwrap()))
}

/// Runs `body` on 1, 2, 3 and 4 ranks.
fn on_each_count(body: impl Fn(Mpi)) {
    for count in 1..=4 {
        let Some(ended) = with_mpi(count, &body) else { return };
        ended.well();
    }
}

/// Lines of the text that begin with `start`, sorted.
fn lines<'e>(ended: &'e Ended, start: &str) -> Vec<&'e str> {
    let mut lines: Vec<_> = ended.text.lines().filter(|line| line.starts_with(start)).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn ranks_know_their_place() {
    for count in 1..=4 {
        let ended = with_mpi(count, |mpi| {
            let rank = mpi.rank();
            let all = gather(&mpi, &rank.index).unwrap();
            assert_eq!(all, (0..rank.count).collect::<Vec<_>>());
            // All on one machine, in an order that depends on its cores.
            let mut local = gather(&mpi, &mpi.local_rank()).unwrap();
            local.sort_unstable();
            assert_eq!(local, all);
            println!("\nrank {} of {}", rank.index, rank.count);
        });
        let Some(ended) = ended else { return };
        let expected: Vec<_> = (0..count).map(|index| format!("rank {index} of {count}")).collect();
        assert_eq!(lines(&ended, "rank"), expected, "{}", ended.text);
        ended.well();
    }
}

#[test]
fn sums_have_the_same_bits_on_all_ranks() {
    /// Number `i` of a rank: neither they nor their sums are whole.
    fn number(rank: u64, i: usize) -> f64 {
        ((i as f64 + 0.1) * (rank as f64 + 0.7)).sin()
    }
    on_each_count(|mpi| {
        let rank = mpi.rank();
        for length in [0, 1, 1000, 1_000_003] {
            let mut doubles: Vec<f64> = (0..length).map(|i| number(rank.index, i)).collect();
            let mut singles: Vec<f32> = doubles.iter().map(|number| *number as f32).collect();
            mpi.sum(Bucket::F64(&mut doubles)).unwrap();
            mpi.sum(Bucket::F32(&mut singles)).unwrap();
            for i in 0..length {
                let expected: f64 = (0..rank.count).map(|rank| number(rank, i)).sum();
                assert!((doubles[i] - expected).abs() < 1e-14, "{} {expected}", doubles[i]);
                assert!((f64::from(singles[i]) - expected).abs() < 1e-6, "{} {expected}", singles[i]);
            }
            let bits: Vec<u8> = doubles.iter().flat_map(|number| number.to_le_bytes()).collect();
            let bits = bits.into_iter().chain(singles.iter().flat_map(|number| number.to_le_bytes()));
            let all = mpi.gather(&bits.collect::<Vec<_>>()).unwrap();
            assert!(all.iter().all(|bits| *bits == all[0]), "{length}");
        }
    });
}

#[test]
fn the_suite_of_transports_passes() {
    on_each_count(|mpi| {
        for (name, check) in checks() {
            check(&mpi).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    });
}

#[test]
fn values_are_exchanged() {
    on_each_count(|mpi| {
        let rank = mpi.rank();
        let name = |rank: u64| (rank, "x".repeat(rank as usize));
        assert_eq!(gather(&mpi, &name(rank.index)).unwrap(), (0..rank.count).map(name).collect::<Vec<_>>());
        assert_eq!(broadcast(&mpi, &name(rank.index + 1)).unwrap(), (1, "x".to_owned()));
        let only_first = on_first(&mpi, || Ok(name(rank.index + 2))).unwrap();
        assert_eq!(only_first, (2, "xx".to_owned()));
        let failed = on_first(&mpi, || Err::<u8, _>(format!("no file for rank {}", rank.index).into()));
        assert_eq!(failed.unwrap_err().to_string(), "rank 0: no file for rank 0");
        barrier(&mpi).unwrap();
        assert_eq!(count_true(&mpi, rank.index > 0).unwrap(), rank.count - 1);
        assert!(all_true(&mpi, true).unwrap() && any_true(&mpi, true).unwrap());
        assert!(!all_true(&mpi, rank.index != 0).unwrap() && !any_true(&mpi, false).unwrap());
        assert_eq!(any_true(&mpi, rank.index == 2).unwrap(), rank.count > 2);
    });
}

#[test]
fn calls_that_differ_are_an_error_on_all_ranks_and_the_next_calls_work() {
    let ended = with_mpi(3, |mpi| {
        let fails = |call: &dyn Fn() -> Result<(), regimen_core::BoxError>, expected: &str| {
            let error = call().unwrap_err();
            let all = "all must make the same ones in the same order";
            assert_eq!(error.to_string(), format!("the ranks make different calls: {expected}; {all}"));
            assert!(!PeerLost::is_in(&*error));
        };
        let index = mpi.rank().index as usize;
        let is_last = index == 2;
        let sum_f32 = |length| mpi.sum(Bucket::F32(&mut vec![0.0; length]));
        let sum_f64 = |length| mpi.sum(Bucket::F64(&mut vec![0.0; length]));
        fails(
            &|| sum_f32(3 + index),
            "sum of 3 f32 on rank 0, sum of 4 f32 on rank 1, sum of 5 f32 on rank 2",
        );
        fails(
            &|| if is_last { sum_f64(3) } else { sum_f32(3) },
            "sum of 3 f32 on ranks 0 and 1, sum of 3 f64 on rank 2",
        );
        fails(
            &|| if is_last { sum_f64(0) } else { mpi.gather(&[1]).map(|_| ()) },
            "gather on ranks 0 and 1, sum of 0 f64 on rank 2",
        );
        fails(
            &|| mpi.broadcast(&mut vec![0; usize::from(is_last)]),
            "broadcast of 0 bytes on ranks 0 and 1, broadcast of 1 bytes on rank 2",
        );
        sum_f32(3).unwrap();
    });
    let Some(ended) = ended else { return };
    ended.well();
}

#[test]
fn a_rank_that_fails_ends_all_with_its_text() {
    for failing in 0..3 {
        let ended = with_mpi(3, |mpi| {
            let expected = format!("rank {failing} failed: the disk is full");
            barrier(&mpi).unwrap();
            if mpi.rank().index == failing {
                mpi.abort("the disk is full");
                mpi.abort("and something else");
            }
            // Two calls: all further ones fail too.
            for error in [mpi.sum(Bucket::F64(&mut [1.0])).unwrap_err(), barrier(&mpi).unwrap_err()] {
                assert!(PeerLost::is_in(&*error));
                assert_eq!(error.to_string(), expected);
            }
            mpi.abort("too late");
        });
        // In the ranks of the first iteration only.
        let Some(ended) = ended else { return };
        ended.well();
    }
}

#[test]
fn ranks_that_fail_together_have_all_texts() {
    let ended = with_mpi(3, |mpi| {
        let index = mpi.rank().index;
        if index != 1 {
            mpi.abort(&format!("reason {index}"));
        }
        let error = barrier(&mpi).unwrap_err().to_string();
        assert_eq!(error, "rank 0 failed: reason 0; rank 2 failed: reason 2");
    });
    let Some(ended) = ended else { return };
    ended.well();
}

#[test]
fn a_rank_that_ends_early_is_an_error_of_the_others() {
    let ended = with_mpi(3, |mpi| {
        if mpi.rank().index == 1 {
            return;
        }
        let error = barrier(&mpi).unwrap_err();
        assert!(PeerLost::is_in(&*error));
        assert_eq!(
            error.to_string(),
            "the ranks make different calls: broadcast of 0 bytes on ranks 0 and 2, end on rank 1; all must make \
             the same ones in the same order"
        );
        mpi.abort("it is alone");
    });
    let Some(ended) = ended else { return };
    ended.well();
}

#[test]
fn a_rank_that_fails_while_the_others_end_is_not_left_waiting() {
    let ended = with_mpi(3, |mpi| {
        if mpi.rank().index == 1 {
            mpi.abort("the last file is not written");
            assert_eq!(barrier(&mpi).unwrap_err().to_string(), "rank 1 failed: the last file is not written");
        }
    });
    let Some(ended) = ended else { return };
    ended.well();
}

#[test]
fn ranks_end_if_one_hangs() {
    let ended = with_mpi(3, |mpi| {
        mpi.set_patience(Duration::from_secs(2));
        barrier(&mpi).unwrap();
        let index = mpi.rank().index;
        mpi.on_hang(Box::new(move |text| {
            println!("\nlast words of rank {index}: {text}");
            panic!("a closure that fails");
        }));
        if index == 1 {
            kill_in_a_minute();
            signal("-STOP");
        }
        match mpi.sum(Bucket::F32(&mut [0.0; 7])) {
            Ok(()) => println!("\nrank {index} goes on"),
            Err(error) => {
                assert!(PeerLost::is_in(&*error));
                println!("\nerror of rank {index}: {error}");
            }
        }
    });
    let Some(ended) = ended else { return };
    let error = "sum of 7 f32 number 3 has waited 2 s: a rank hangs or is gone";
    let why = |rank| format!("rank {rank}: {error}");
    // MPICH may return the status of a rank that it has killed since.
    assert!([Some(86), Some(9)].contains(&ended.status.code()), "{}", ended.text);
    // The launcher ends the others as soon as one has ended.
    let are_of = |lines: &[&str], expected: [String; 2]| {
        !lines.is_empty() && lines.iter().all(|line| expected.contains(&line.to_string()))
    };
    assert!(are_of(&lines(&ended, "rank"), [why(0), why(2)]), "{}", ended.text);
    let errors = [0, 2].map(|rank| format!("error of rank {rank}: {error}"));
    assert!(are_of(&lines(&ended, "error of"), errors), "{}", ended.text);
    let last = [0, 2].map(|rank| format!("last words of rank {rank}: {}", why(rank)));
    assert!(are_of(&lines(&ended, "last words"), last), "{}", ended.text);
}

#[test]
fn a_rank_that_is_killed_ends_the_job() {
    let ended = with_mpi(3, |mpi| {
        barrier(&mpi).unwrap();
        if mpi.rank().index == 1 {
            signal("-KILL");
        }
        // Far less than the test may take, and the launcher is faster.
        mpi.set_patience(Duration::from_secs(60));
        if barrier(&mpi).is_ok() {
            println!("\nrank {} goes on", mpi.rank().index);
        }
    });
    let Some(ended) = ended else { return };
    assert!(!ended.status.success());
    assert_eq!(lines(&ended, "rank"), <[&str; 0]>::default(), "{}", ended.text);
}

#[test]
fn a_rank_that_panics_ends_the_job() {
    let ended = with_mpi(2, |mpi| {
        assert!(mpi.rank().index == 0, "rank 1 is at a loss");
        let _ = barrier(&mpi);
    });
    let Some(ended) = ended else { return };
    assert!(!ended.status.success());
    assert!(ended.text.contains("rank 1 is at a loss"), "{}", ended.text);
}

#[test]
fn a_second_start_is_refused() {
    let ended = with_mpi(2, |mpi| {
        assert_eq!(
            init().unwrap_err().to_string(),
            "MPI can be started once per process: share the value that was returned first"
        );
        barrier(&mpi).unwrap();
    });
    let Some(ended) = ended else { return };
    ended.well();
}

#[test]
fn ranks_whose_library_is_missing_do_not_train_alone() {
    let ended = on_ranks(2, &[("REGIMEN_MPI", "nowhere/libmpi.so")], || {
        let error = init().unwrap_err().to_string();
        let (launcher, tried) = error.split_once(" has started 2 processes, ").unwrap();
        assert!(["mpirun", "mpiexec"].contains(&launcher));
        assert_eq!(
            tried,
            format!(
                "and the library of MPI that connects them is not found: nowhere/libmpi.so: cannot open shared \
                 object file: No such file or directory; set `REGIMEN_MPI` to the path of the library that belongs \
                 to {launcher}"
            )
        );
    });
    let Some(ended) = ended else { return };
    ended.well();
}

#[test]
fn processes_that_mpi_does_not_connect_do_not_train_alone() {
    let Ok(library) = env::var("REGIMEN_MPI") else { return };
    // As if `srun` had started this process without the MPI of the library.
    let srun = [("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_LOCALID", "0")];
    without_launcher::with(&[&srun[..], &[("REGIMEN_MPI", &library)]].concat(), || {
        assert_eq!(
            init().unwrap_err().to_string(),
            "srun has started 2 processes, and MPI has connected 1: its library is of another MPI, or srun did not \
             start it, as `srun` does without `--mpi=pmix`; set `REGIMEN_MPI` to the path of the library that belongs \
             to srun"
        );
    });
}

/// Has this process, which is to be stopped, killed in a minute. The launcher ends it before, but that of MPICH misses the
/// end of the others now and then.
pub(crate) fn kill_in_a_minute() {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("(sleep 60; kill -s KILL {}) &", process::id())]);
    // The launcher waits for the end of the output.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().unwrap().success());
}

/// Sends a signal to this process.
fn signal(name: &str) {
    let status = Command::new("kill").args([name, &process::id().to_string()]).status();
    assert!(status.unwrap().success());
}
