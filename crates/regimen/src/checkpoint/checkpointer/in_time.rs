//! The save at a pause, and the time that is left for it.

use std::time::Duration;

use regimen_core::BoxError;
use regimen_core::run::Moment;

use super::session::{Session, of_first};
use super::settings::Settings;

impl Session {
    /// Whether a call that is paused ends without a save, because the last one took longer than the time left. Adds the
    /// notice that says so.
    pub(super) fn is_too_late(
        &mut self,
        settings: &Settings,
        moment: &mut Moment<'_>,
    ) -> Result<bool, BoxError> {
        let Some(deadline) = &settings.deadline else { return Ok(false) };
        if moment.state().stopping().is_none_or(|stop| stop.is_final()) {
            return Ok(false);
        }
        self.wait_for_last_save(settings, moment)?;
        // The newest checkpoint is of this step already, or as good as.
        let took = settings.stats.last_took().filter(|_| self.recent.is_none());
        let left = least(moment, deadline.left())?;
        let is_too_late = took.zip(left).is_some_and(|(took, left)| took > left);
        if !of_first(moment, is_too_late)? {
            return Ok(false);
        }
        if let (Some((took, left)), Some(newest)) = (took.zip(left), settings.stats.resumable()) {
            let step = newest.manifest().step;
            moment.state_mut().notify(format!(
                "no save at the pause: the last one took {took:.1?}, and {left:.1?} are left; the newest checkpoint is of \
                 step {step}"
            ));
        }
        Ok(true)
    }
}

/// The least time left over all ranks.
fn least(moment: &Moment<'_>, left: Option<Duration>) -> Result<Option<Duration>, BoxError> {
    let Some(peers) = moment.state().peers() else { return Ok(left) };
    let own = left.map_or(f64::INFINITY, |left| left.as_secs_f64());
    let seconds = peers.gather(&own.to_le_bytes())?.into_iter().filter_map(|bytes| {
        let bytes = <[u8; 8]>::try_from(&bytes[..]).ok()?;
        Some(f64::from_le_bytes(bytes))
    });
    Ok(seconds.min_by(f64::total_cmp).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use regimen_core::callback::{Event, Every};
    use regimen_core::peers::Peers;
    use regimen_core::run::Train;
    use regimen_core::unit::TrainUnit;
    use regimen_core::{BoxError, Run, State};
    use regimen_test::peers::{Threads, on_ranks};

    use crate::checkpoint::{Checkpointer, Checkpoints, SaveStats, SimDisk};
    use crate::preemption::Deadline;
    use crate::saved::{AppState, Parts};

    struct Unit;

    impl TrainUnit for Unit {
        type Batch = u64;

        fn train_step(&mut self, _: &mut State, _: u64) -> Result<(), BoxError> {
            Ok(())
        }
    }

    impl AppState for Unit {
        fn visit(&mut self, _: &mut dyn Parts) -> Result<(), BoxError> {
            Ok(())
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    /// A run of 10 steps that saves at step 3. At the end of step 5 the save has taken 30 minutes, this rank ends
    /// within `left` minutes, and it pauses if it is to.
    fn run(disk: &SimDisk, peers: Option<Arc<dyn Peers>>, left: Option<u64>, pauses: bool) -> Vec<String> {
        let deadline = Deadline::default();
        let saver = Checkpointer::new("/run").store(Arc::new(disk.clone())).in_foreground();
        let saver = saver.every(Every::steps(3)).deadline(deadline.clone());
        let stats = saver.stats();
        let at_step_5 = move |state: &mut State, _: &mut Unit| -> Result<(), BoxError> {
            if state.train_progress().steps == 5 {
                stats.set_took(30 * MINUTE);
                left.into_iter().for_each(|minutes| deadline.end_within(minutes as u32 * MINUTE));
                if pauses {
                    state.pause("SIGTERM");
                }
            }
            Ok(())
        };
        let mut unit = Unit;
        let mut run = Run::new(&mut unit).saver(saver).on(Event::TrainStepEnd, at_step_5);
        if let Some(peers) = peers {
            run = run.peers(peers);
        }
        run.train(&[0; 5], Train::epochs(1)).unwrap().notices
    }

    fn newest(disk: &SimDisk) -> u64 {
        let listing = Checkpoints::on(Arc::new(disk.clone()), "/run").list().unwrap();
        listing.checkpoints.iter().map(|checkpoint| checkpoint.manifest().step).max().unwrap()
    }

    #[test]
    fn the_save_at_a_pause_is_left_out_if_the_last_one_took_longer_than_is_left() {
        let check = |left, pauses, step| {
            let disk = SimDisk::new();
            let notices = run(&disk, None, left, pauses);
            assert_eq!(
                (newest(&disk), notices.len()),
                (step, usize::from(step == 3)),
                "{left:?} {notices:?}"
            );
            notices
        };
        check(None, true, 5);
        check(Some(40), true, 5);
        check(Some(20), false, 5);
        let notices = check(Some(20), true, 3);
        let (start, end) = notices[0].split_once(", and ").unwrap();
        assert_eq!(start, "no save at the pause: the last one took 1800.0s");
        assert_eq!(end.split_once("s ").unwrap().1, "are left; the newest checkpoint is of step 3");
    }

    #[test]
    fn the_earliest_end_of_all_ranks_counts() {
        for (left, step) in [([None, Some(20)], 3), ([Some(40), Some(50)], 5), ([Some(20), None], 3)] {
            let disk = SimDisk::new();
            let ranks = on_ranks(Threads::of(2, MINUTE), |peers| {
                let (left, pauses) = (left[peers.rank().index as usize], peers.rank().index == 1);
                run(&disk, Some(peers), left, pauses).len()
            });
            // Rank 0 has the notice, as it writes.
            assert_eq!((newest(&disk), ranks), (step, vec![Ok(usize::from(step == 3)), Ok(0)]), "{left:?}");
        }
    }

    #[test]
    fn a_save_is_measured() {
        let stats = |saver: &Checkpointer| -> SaveStats { saver.stats() };
        let saver = Checkpointer::new("/run").store(Arc::new(SimDisk::new()));
        let stats = stats(&saver);
        assert_eq!(stats.last_took(), None);
        Run::new(&mut Unit).saver(saver).train(&[0; 5], Train::epochs(1)).unwrap();
        assert!(stats.last_took().is_some());
    }
}
