//! Threads as ranks, the wrappers, and the suite of transports.

mod broken;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use broken::{Broken, Defect};
use regimen_core::engine::Bucket;
use regimen_core::peers::{PeerLost, Peers};
use regimen_test::peers::{Collective, Punisher, Punishment, Slow, Threads, on_ranks};
use regimen_test::peers_suite::{checks, failures, run_all};

const LONG: Duration = Duration::from_secs(300);
/// Long enough for ranks that are not late by intention, also on a busy machine.
const SOME: Duration = Duration::from_secs(2);
const SHORT: Duration = Duration::from_millis(100);

fn each(peers: Vec<Arc<Threads>>, wrap: impl Fn(Arc<Threads>) -> Arc<dyn Peers>) -> Vec<Arc<dyn Peers>> {
    peers.into_iter().map(wrap).collect()
}

#[test]
fn threads_pass() {
    run_all(|count| each(Threads::of(count, LONG), |peers| peers));
}

#[test]
fn slow_peers_pass() {
    run_all(|count| {
        each(Threads::of(count, LONG), |peers| Arc::new(Slow::new(peers, Duration::from_micros(1), 1 << 30)))
    });
}

#[test]
fn peers_of_whom_none_is_punished_pass() {
    run_all(|count| each(Threads::of(count, LONG), |peers| Arc::new(Punisher::new(peers))));
}

#[test]
fn the_wrapper_of_defects_passes_without_one() {
    run_all(|count| each(Threads::of(count, LONG), |peers| Arc::new(Broken { peers, defect: Defect::None })));
}

/// A test per defect.
macro_rules! caught {
    ($($test:ident: $defect:ident => [$($check:ident),+];)*) => {
        $(
            #[test]
            fn $test() {
                let broken = |peers| Arc::new(Broken { peers, defect: Defect::$defect }) as Arc<dyn Peers>;
                let failures = failures(|count| each(Threads::of(count, SHORT), broken));
                for check in [$(stringify!($check)),+] {
                    let found = failures.iter().any(|(name, _)| *name == check);
                    assert!(found, "{check} did not see it; {failures:#?}");
                }
            }
        )*

        #[test]
        fn every_check_sees_some_defect() {
            let seen = [$($(stringify!($check)),+),*];
            for (check, _) in checks() {
                assert!(seen.contains(&check), "{check} is not seen to fail");
            }
        }
    };
}

caught! {
    ranks_of_one_index: HasNoIndex => [each_rank_has_its_index];
    bytes_in_the_reverse_order: GathersBackwards =>
        [each_rank_has_its_index, bytes_are_gathered_in_the_order_of_ranks];
    bytes_of_the_last: BroadcastsTheLast =>
        [a_broadcast_is_of_the_first_rank, calls_follow_each_other_at_any_pace];
    a_sum_without_one_rank: SumsWithoutTheLast => [a_sum_is_of_all_ranks];
    a_sum_without_nan: DropsNan => [a_sum_is_not_finite_if_one_is_not];
    a_sum_in_another_order_on_one_rank: SumsInAnotherOrder => [a_sum_has_the_same_bits_on_all_and_each_time];
    a_sum_in_another_order_each_time: SumsInOrderOfArrival => [a_sum_has_the_same_bits_on_all_and_each_time];
    a_commit_that_fails: CommitsNever => [a_commit_succeeds_on_all];
    values_of_the_call_before: LagsBehind => [calls_follow_each_other_at_any_pace];
    lengths_that_are_not_checked: ChecksNoLengths => [calls_that_differ_are_an_error_on_all];
    calls_that_are_named_by_no_rank: NamesNobody => [calls_that_differ_are_an_error_on_all];
    an_abort_that_is_not_seen: AbortsInSilence => [an_abort_ends_the_calls_of_the_others];
    an_abort_that_is_no_loss: HidesTheLoss => [an_abort_ends_the_calls_of_the_others];
}

fn texts<R: std::fmt::Debug>(results: Vec<Result<R, String>>) -> Vec<R> {
    results.into_iter().map(Result::unwrap).collect()
}

#[test]
fn threads_add_up_in_the_order_of_ranks() {
    // Only from the left: 1e8 + -1e8 + 1.
    let sums = on_ranks(Threads::of(3, LONG), |peers| {
        let mut values = [[1e8_f32, -1e8, 1.0][peers.rank().index as usize]];
        peers.sum(Bucket::F32(&mut values)).unwrap();
        values
    });
    assert_eq!(texts(sums), [[1.0]; 3]);
}

#[test]
fn calls_that_differ_are_told_to_every_rank() {
    let errors = on_ranks(Threads::of(3, LONG), |peers| {
        let error = match peers.rank().index {
            0 => peers.sum(Bucket::F32(&mut [0.0; 3])),
            1 => peers.gather(b"bytes").map(drop),
            _ => peers.commit(),
        };
        error.unwrap_err().to_string()
    });
    let text = "the ranks make different calls: sum of 3 f32 on rank 0, gather of 5 bytes on rank 1, commit on rank 2";
    assert_eq!(texts(errors), [text; 3]);
}

#[test]
fn a_bucket_on_a_device_is_refused_and_the_next_sum_is_right() {
    let results = on_ranks(Threads::of(2, LONG), |peers| {
        assert!(!peers.takes_device());
        let slow = Slow::new(peers.clone(), Duration::ZERO, u64::MAX);
        let refused = [&*peers as &dyn Peers, &slow, &Punisher::new(peers.clone())].map(|peers| {
            assert!(!peers.takes_device());
            peers.sum(Bucket::Device(&mut [1.0_f64])).unwrap_err().to_string()
        });
        let mut values = [0.5];
        peers.sum(Bucket::F64(&mut values)).unwrap();
        (refused, values)
    });
    let text = "a bucket on a device is not taken here: an engine passes buckets on a device only to peers whose \
                `takes_device` is true";
    assert_eq!(
        texts(results),
        [([text; 3].map(str::to_owned), [1.0]), ([text; 3].map(str::to_owned), [1.0])]
    );
}

#[test]
fn ranks_that_do_not_come_are_named_to_those_that_wait_and_to_the_late() {
    let errors = on_ranks(Threads::of(4, SOME), |peers| {
        if peers.rank().index % 2 == 1 {
            thread::sleep(SOME + SOME / 2);
        }
        let error = peers.sum(Bucket::F64(&mut [0.0; 2])).unwrap_err();
        assert!(PeerLost::is_in(&*error));
        error.to_string()
    });
    assert_eq!(texts(errors), ["sum of 2 f64: ranks 1, 3 did not come within 2s"; 4]);
}

#[test]
fn the_first_abort_counts() {
    let [first, second] = &Threads::of(2, LONG)[..] else { panic!("two ranks") };
    second.abort("the disk is full");
    first.abort("the other has failed");
    for peers in [first, second] {
        assert_eq!(peers.commit().unwrap_err().to_string(), "rank 1 failed: the disk is full");
    }
}

#[test]
fn a_panic_on_a_rank_is_its_error_and_ends_the_calls_of_the_others() {
    let results = on_ranks(Threads::of(3, LONG), |peers| {
        assert_ne!(peers.rank().index, 1, "on purpose");
        peers.commit().unwrap_err().to_string()
    });
    let panic = "panicked: assertion `left != right` failed: on purpose\n  left: 1\n right: 1";
    let others = format!("rank 1 failed: {panic}");
    assert_eq!(results, [Ok(others.clone()), Err(panic.to_owned()), Ok(others)]);
}

#[test]
fn a_rank_is_killed_at_the_chosen_call_for_ever() {
    let results = on_ranks(Threads::of(2, SOME), |peers| {
        let rank = peers.rank().index;
        let peers = Punisher::new(peers);
        let peers = if rank == 1 { peers.at(Collective::Sum, 2, Punishment::Kill) } else { peers };
        let sum = || peers.sum(Bucket::F64(&mut [0.0])).map_err(|error| error.to_string());
        sum().unwrap();
        peers.commit().unwrap();
        let (dies, dead) = (sum(), sum());
        // A dead rank tells nobody.
        peers.abort("told");
        [dies, dead].map(Result::unwrap_err)
    });
    assert_eq!(texts(results), [["sum of 1 f64: rank 1 did not come within 2s"; 2], ["rank 1 is dead"; 2]]);
}

#[test]
fn a_rank_that_hangs_is_waited_for_as_long_as_the_patience() {
    let mut ranks = Threads::of(2, SHORT).into_iter();
    let (first, second) = (ranks.next().unwrap(), ranks.next().unwrap());
    let hanging = thread::spawn(|| Punisher::new(second).at(Collective::Any, 1, Punishment::Hang).commit());
    assert_eq!(first.commit().unwrap_err().to_string(), "commit: rank 1 did not come within 100ms");
    assert!(!hanging.is_finished());
}

#[test]
fn a_rank_that_is_late_by_less_than_the_patience_is_waited_for() {
    let results = on_ranks(Threads::of(2, LONG), |peers| {
        let late =
            Punisher::new(peers).at(Collective::Gather, 1, Punishment::Delay(Duration::from_millis(20)));
        late.gather(b"a").unwrap()
    });
    assert_eq!(texts(results), [[b"a", b"a"], [b"a", b"a"]]);
}
