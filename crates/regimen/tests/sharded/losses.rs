//! Shares that no longer are of the ranks of now.

#[path = "../it/left.rs"]
mod left;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use regimen::BoxError;
use regimen::Run;
use regimen::checkpoint::{LoadedCheckpoint, SimDisk};
use regimen::data::Rank;
use regimen::engine::{Bucket, Engine, Part};
use regimen::peers::Peers;
use regimen::run::Train;
use regimen::saved::{load_parts, save_parts, save_parts_of_ranks};

use self::left::Left;
use super::{
    ROWS, check_near, fit, loader, on, pieces, rank_of, run_in_parts, run_of, run_with, saved, unit,
};

const LEFT: &str = "unit failed in on_train_start in train at epoch 0 step 4: the optimizer has the share of rank 1 \
                    of 2, and needs all of it; restore a checkpoint on all ranks";

#[test]
fn a_rank_that_is_left_must_restore_and_then_goes_on() {
    let alone = run_in_parts(&[(0, false, None)]);
    [false, true].into_iter().for_each(|every_rank_writes| check_left(&alone, every_rank_writes));
}

fn check_left(alone: &LoadedCheckpoint, every_rank_writes: bool) {
    let disk = SimDisk::new();
    let ended = on(2, |peers| {
        let left = Arc::new(Left::new(peers.ok_or("alone")?));
        let rank = left.rank().index;
        let mut unit = unit(rank, true);
        // Both write to the same disk.
        let saver = pieces::saver(Arc::new(disk.clone()), every_rank_writes);
        let mut run = run_with(Some(left.clone()), &mut unit, saver);
        run.train(&loader(ROWS), Train::steps(4))?;
        if rank == 0 {
            drop(run);
            left.gather(&[])?;
            return Ok(None);
        }
        left.gather(&[])?;
        left.leave();
        let refused = format!("{:#}", run.train(&loader(ROWS), Train::steps(6)).unwrap_err());
        // As a restore that fails does it.
        let kept = save_parts(run.unit_mut())?;
        load_parts(run.unit_mut(), &kept)?;
        let undone = format!("{:#}", run.train(&loader(ROWS), Train::steps(6)).unwrap_err());
        assert_eq!(undone, refused);
        let not_saved = save_parts_of_ranks(run.unit_mut(), &*left).unwrap_err().to_string();
        run.restore_latest()?;
        fit(&mut run)?;
        Ok(Some((refused, not_saved)))
    });
    let (refused, not_saved) = ended[1].clone().unwrap().unwrap();
    assert_eq!(refused, LEFT);
    let expected = "the part `optimizer` is in shares, and rank 0 of 1 has the share of rank 1 of 2; restore a \
                    checkpoint on all ranks";
    assert_eq!(not_saved, expected);
    for part in ["module", "optimizer"] {
        check_near(&saved(&disk).content[part], &alone.content[part], part);
    }
}

/// Peers of which one fails in the sum of that number, counted from the first commit on.
#[derive(Debug)]
struct FailsAfterCommit(Arc<dyn Peers>, AtomicU64, u64);

impl Peers for FailsAfterCommit {
    fn rank(&self) -> Rank {
        self.0.rank()
    }

    fn sum(&self, values: Bucket<'_>) -> Result<(), BoxError> {
        if self.1.load(Ordering::Relaxed) > 0 && self.1.fetch_add(1, Ordering::Relaxed) == self.2 {
            return Err("the link is broken".into());
        }
        self.0.sum(values)
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, BoxError> {
        self.0.gather(own)
    }

    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), BoxError> {
        self.0.broadcast(bytes)
    }

    fn commit(&self) -> Result<(), BoxError> {
        self.1.fetch_max(1, Ordering::Relaxed);
        self.0.commit()
    }

    fn abort(&self, why: &str) {
        self.0.abort(why);
    }
}

#[test]
fn an_update_without_the_parameters_of_others_must_be_restored() {
    let torn = "an update was made, and its parameters did not come from all ranks; restore a checkpoint on all ranks";
    let ended = on(2, |peers| {
        let peers = peers.ok_or("alone")?;
        let rank = peers.rank().index;
        let fails = if rank == 0 { 3 } else { u64::MAX };
        let broken: Arc<dyn Peers> = Arc::new(FailsAfterCommit(peers.clone(), AtomicU64::new(0), fails));
        let mut unit = unit(rank, true);
        let failed = run_of(Some(broken), &mut unit, &SimDisk::new()).train(&loader(ROWS), Train::steps(4));
        let failed = format!("{:#}", failed.unwrap_err());
        let alone = Run::new(&mut unit).train(&loader(ROWS), Train::steps(4));
        let alone = format!("{:#}", alone.unwrap_err());
        let save = save_parts(&mut unit).map(drop);
        Ok((failed, alone, save.unwrap_err().to_string()))
    });
    for (rank, ended) in ended.into_iter().enumerate() {
        let (failed, alone, save) = ended.unwrap();
        let expected = ["the link is broken", "rank 0 failed: "][rank];
        assert!(failed.contains(expected), "{failed}");
        assert_eq!(alone, format!("unit failed in on_train_start in train at epoch 0 step 0: {torn}"));
        assert_eq!(save, format!("part `optimizer`: {torn}"));
    }
}

#[test]
fn a_checkpoint_of_before_is_loaded_over_a_torn_update() {
    let disk = SimDisk::new();
    let whole = run_in_parts(&[(2, true, None)]);
    let _ = on(2, |peers| {
        let rank = rank_of(&peers);
        let own = if rank == 0 { disk.clone() } else { SimDisk::new() };
        let fails = if rank == 1 { 30 } else { u64::MAX };
        let broken = FailsAfterCommit(peers.ok_or("alone")?, AtomicU64::new(0), fails);
        fit(&mut run_of(Some(Arc::new(broken)), &mut unit(rank, true), &own))
    });
    let ended = on(2, |peers| {
        let own = if rank_of(&peers) == 0 { disk.clone() } else { SimDisk::new() };
        let mut unit = unit(rank_of(&peers), true);
        let mut run = run_of(peers, &mut unit, &own);
        let restored = run.restore_latest()?.map(|restored| restored.step);
        fit(&mut run)?;
        drop(run);
        Ok((restored.is_some(), unit.engine().state(Part::Module)?.len()))
    });
    ended.into_iter().for_each(|ended| assert!(ended.unwrap().0));
    assert_eq!(saved(&disk).content, whole.content);
}
