//! SIGKILL at random moments of a training run that saves at every step.

use std::path::Path;
use std::time::Duration;

use regimen::BoxError;
use regimen::random::Random;

use crate::tally::Tally;
use crate::train::Training;
use crate::witness::Witness;

/// Maximum lifetime of a process: long enough for some saves, short enough to die often at start-up
/// or in a restore.
const LIFETIME_MS: u64 = 100;

pub(crate) fn kills(n: u64) -> Result<Tally, BoxError> {
    let dir = Path::new("kills");
    let training = Training::new(dir);
    let (mut tally, mut witness) = (Tally::new("kills", n), Witness::new(dir));
    let mut random = Random::new(1);
    for _ in 0..n {
        let trainer = training.start()?;
        std::thread::sleep(Duration::from_micros(random.below(1_000 * LIFETIME_MS)));
        let over = trainer.kill()?;
        tally.count(witness.hear(&over).and_then(|()| witness.check().map(drop)));
    }
    tally.note(goes_on(&training, &mut witness)?);
    tally.detail = format!("{} saves acknowledged, ", witness.acknowledged());
    Ok(tally)
}

/// Resumes the training for two more steps.
pub(crate) fn goes_on(training: &Training, witness: &mut Witness) -> Result<Result<(), String>, BoxError> {
    let steps = match witness.check() {
        Ok(newest) => newest + 2,
        Err(violation) => return Ok(Err(violation)),
    };
    let over = Training { steps, ..training.clone() }.run()?;
    let heard = witness.hear(&over).and_then(|()| over.success()).and_then(|()| witness.check());
    Ok(heard.and_then(|newest| match newest == steps {
        true => Ok(()),
        false => Err(format!("a restart ended with a checkpoint of step {newest}, not of step {steps}")),
    }))
}
