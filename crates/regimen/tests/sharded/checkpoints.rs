//! Checkpoints of ranks with shares, at any number of ranks and without sharding on either side.

use regimen::BoxError;
use regimen::checkpoint::{LoadedCheckpoint, SimDisk};
use regimen::data::Rank;
use regimen::engine::{Engine, Part};
use regimen::run::Train;
use regimen::saved::{load_parts, load_parts_except, save_parts};

use super::{Leg, ROWS, STEPS, check_parts, loader, on, rank_of, run_in_parts, run_of, unit};

#[track_caller]
fn check(legs: &[Leg], alone: &LoadedCheckpoint) {
    check_parts(&run_in_parts(legs), alone, &format!("after {legs:?}"));
}

#[test]
fn four_two_one_and_four_ranks_go_on_from_each_other() {
    let alone = run_in_parts(&[(0, false, None)]);
    for first in 1..STEPS - 2 {
        // With and without sharding on either side of each pause.
        let shards = |leg: u64| first.is_multiple_of(2) || (first / 2 + leg).is_multiple_of(2);
        check(
            &[
                (4, shards(0), Some(first)),
                (2, shards(1), Some(first + 1)),
                (1, shards(2), Some(first + 2)),
                (4, shards(3), None),
            ],
            &alone,
        );
    }
}

#[test]
fn a_program_without_peers_takes_over_and_hands_back() {
    let alone = run_in_parts(&[(0, false, None)]);
    for (before, between, after) in [(true, false, true), (false, true, false), (true, true, true)] {
        check(&[(3, before, Some(5)), (0, between, Some(8)), (2, after, None)], &alone);
    }
}

#[test]
fn as_many_ranks_go_on_to_the_bit() {
    let whole = run_in_parts(&[(3, true, None)]);
    for stop in 1..STEPS {
        assert_eq!(run_in_parts(&[(3, true, Some(stop)), (3, true, None)]).content, whole.content, "{stop}");
        assert_eq!(run_in_parts(&[(3, true, Some(stop)), (3, false, None)]).content, whole.content, "{stop}");
        assert_eq!(run_in_parts(&[(3, false, Some(stop)), (3, true, None)]).content, whole.content, "{stop}");
    }
}

#[test]
fn a_checkpoint_has_the_names_without_sharding() {
    let names = |shards| -> Vec<String> {
        let saved = run_in_parts(&[(4, shards, Some(7))]);
        saved.content["optimizer"].iter().map(|(name, _)| name.to_owned()).collect()
    };
    let shared = names(true);
    assert_eq!(shared, names(false));
    assert!(shared.contains(&"layer-7.weight.first_moment".to_owned()), "{shared:?}");
}

#[test]
fn a_restore_leaves_each_rank_with_its_share_alone() {
    let disk = SimDisk::new();
    let arrays = |ranks, steps, shards| {
        let of_ranks = on(ranks, |peers| {
            let own = if rank_of(&peers) == 0 { disk.clone() } else { SimDisk::new() };
            let mut unit = unit(rank_of(&peers), shards);
            let mut run = run_of(peers, &mut unit, &own);
            run.restore_latest()?;
            if let Some(steps) = steps {
                run.train(&loader(ROWS), Train::steps(steps))?;
            }
            drop(run);
            Ok(unit.engine().state(Part::Optimizer)?.len())
        });
        of_ranks.into_iter().map(Result::unwrap).collect::<Vec<usize>>()
    };
    let whole = arrays(0, Some(8), true)[0];
    for ranks in [2, 3, 4] {
        let shares = arrays(ranks, None, true);
        assert!(shares.iter().all(|&share| 0 < share && share < whole), "{shares:?} of {whole}");
        assert_eq!(shares.iter().sum::<usize>(), whole, "on {ranks} ranks");
        assert_eq!(arrays(ranks, None, false), vec![whole; ranks as usize]);
    }
}

#[test]
fn a_restore_that_is_undone_leaves_each_rank_its_share() {
    let train = |disturbs: bool| {
        let ended = on(3, |peers| -> Result<_, BoxError> {
            let rank = rank_of(&peers);
            let mut unit = unit(rank, true);
            run_of(peers.clone(), &mut unit, &SimDisk::new()).train(&loader(ROWS), Train::epochs(1))?;
            if disturbs {
                let before = save_parts(&mut unit)?;
                let mut other = run_in_parts(&[(2, true, Some(7))]).content;
                other.remove("run");
                load_parts_except(&mut unit, &other, &[], Rank { index: rank % 2, count: 2 })?;
                assert_ne!(save_parts(&mut unit)?, before);
                load_parts(&mut unit, &before)?;
            }
            // A run of its own, which begins with the weights and optimizers as they are.
            run_of(peers, &mut unit, &SimDisk::new()).train(&loader(ROWS), Train::epochs(1))?;
            Ok((unit.engine().state(Part::Module)?, unit.engine().state(Part::Optimizer)?))
        });
        ended.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    assert_eq!(train(true), train(false));
}

#[test]
fn a_dry_run_leaves_the_shares_as_they_were() {
    let states = |dry: bool| {
        let ended = on(3, |peers| -> Result<_, BoxError> {
            let mut unit = unit(rank_of(&peers), true);
            let mut run = run_of(peers, &mut unit, &SimDisk::new());
            run.train(&loader(ROWS), Train::steps(4))?;
            if dry {
                run.dry_run(|mut dry| dry.train(&loader(ROWS), Train::steps(7)).map(drop))??;
            }
            run.train(&loader(ROWS), Train::steps(9))?;
            drop(run);
            Ok((unit.engine().state(Part::Module)?, unit.engine().state(Part::Optimizer)?))
        });
        ended.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    assert_eq!(states(true), states(false));
}
