//! Two processes on one run directory: the second is refused with a message that names the first.

use regimen::BoxError;

use crate::tally::Tally;
use crate::train::Training;

pub(crate) fn writers() -> Result<Tally, BoxError> {
    let mut tally = Tally::new("second writers refused", 1);
    let training = Training { step_ms: 10, ..Training::new("writers") };
    let mut first = training.start()?;
    // Training takes the lock at its start, so the first save shows that it is held.
    first.wait_for("saved ")?;
    let second = training.run()?;
    let name = format!("process {} on ", first.id());
    first.kill()?;
    let refused = second.status.code() == Some(1) && second.errors.contains(&name);
    tally.count(match refused {
        true => Ok(()),
        false => Err(format!("the second ended with {} and said: {}", second.status, second.errors.trim())),
    });
    Ok(tally)
}
