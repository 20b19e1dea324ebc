//! Power cuts at random moments of a training run that saves at every step.

use std::path::Path;
use std::time::Duration;

use regimen::BoxError;
use regimen::random::Random;

use crate::kills::goes_on;
use crate::tally::Tally;
use crate::train::{How, Training};
use crate::volume::Volume;
use crate::witness::Witness;

/// Minimum uptime before a cut; up to as much again is added at random. This is shorter than the
/// file system's own write-back interval.
const UPTIME_MS: u64 = 50;
const UPTIME_MORE_MS: u64 = 400;

pub(crate) fn cuts(n: u64) -> Result<Tally, BoxError> {
    let mut tally = Tally::new("cuts", n);
    if n == 0 {
        return Ok(tally);
    }
    let volume = match Volume::new(Path::new("cuts")) {
        Ok(volume) => volume,
        Err(why) => return Ok(tally.not_run(format!("no ext4 on a loop device: {why}"))),
    };
    let training = Training::new(volume.root().join("run"));
    let (mut witness, mut random) = (Witness::new(&training.dir), Random::new(2));
    for _ in 0..n {
        tally.count(cut(&volume, &training, &mut witness, &mut random)?);
    }
    tally.note(goes_on(&training, &mut witness)?);
    tally.note(control(&volume, &mut random)?);
    tally.detail = format!("{} saves acknowledged, ", witness.acknowledged());
    Ok(tally)
}

fn cut(
    volume: &Volume,
    training: &Training,
    witness: &mut Witness,
    random: &mut Random,
) -> Result<Result<(), String>, BoxError> {
    let trainer = training.start()?;
    std::thread::sleep(Duration::from_micros(1_000 * UPTIME_MS + random.below(1_000 * UPTIME_MORE_MS)));
    volume.cut()?;
    let over = trainer.kill()?;
    volume.remount()?;
    Ok(witness.hear(&over).and_then(|()| witness.check().map(drop)))
}

/// Control: a training run that never syncs must lose acknowledged checkpoints. If it loses none,
/// the cuts do nothing.
fn control(volume: &Volume, random: &mut Random) -> Result<Result<(), String>, BoxError> {
    let training = Training { how: How::Unsynced, ..Training::new(volume.root().join("control")) };
    let mut witness = Witness::new(&training.dir);
    let outcome = cut(volume, &training, &mut witness, random)?;
    Ok(match (outcome, witness.acknowledged()) {
        (Err(_), _) => Ok(()),
        (Ok(()), 0) => Err("the control acknowledged no save and proves nothing".into()),
        (Ok(()), _) => Err("a training run that never syncs lost nothing: the cuts have no effect".into()),
    })
}
