//! Signals at random moments of a training run: it stops within one step, and its checkpoint is complete.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use regimen::BoxError;
use regimen::random::Random;

use crate::tally::Tally;
use crate::train::Training;
use crate::trainer::Over;
use crate::walk::now;
use crate::witness::Witness;

const SIGNALS: [&str; 3] = ["TERM", "INT", "USR1"];

/// Step time, long enough that scheduling delays of a busy machine do not matter.
const STEP_MS: u64 = 40;

/// Save interval in steps, long enough that most saves are due to the signal.
const EVERY: u64 = 5;

pub(crate) fn signals(n: u64) -> Result<Tally, BoxError> {
    let dir = Path::new("signals");
    let training = Training { step_ms: STEP_MS, every: EVERY, ..Training::new(dir) };
    let (mut tally, mut witness) = (Tally::new("signals", n), Witness::new(dir));
    let mut random = Random::new(4);
    let mut newest = 0;
    for _ in 0..n {
        let mut trainer = training.start()?;
        trainer.wait_for("from ")?;
        std::thread::sleep(Duration::from_micros(random.below(1_000 * STEP_MS * EVERY)));
        let signal = SIGNALS[random.below(SIGNALS.len() as u64) as usize];
        let twice = random.below(2) == 0;
        let sent = send(signal, trainer.id(), twice)?;
        let over = trainer.end()?;
        let before = newest;
        tally.count(witness.hear(&over).and_then(|()| over.success()).and_then(|()| {
            newest = witness.check()?;
            stopped(&over, sent, before, newest).map_err(|why| format!("SIG{signal}: {why}"))
        }));
    }
    Ok(tally)
}

/// Sends the signal and returns the time after it. `timeout` and launchers send it twice, to a
/// process and to its group.
fn send(signal: &str, process: u32, twice: bool) -> Result<u128, BoxError> {
    let process = process.to_string();
    let again = twice.then_some(&process);
    let status = Command::new("kill").args(["-s", signal, &process]).args(again).status()?;
    if status.success() { Ok(now()) } else { Err(format!("`kill` ended with {status}").into()) }
}

/// At most one step may begin after the signal, and all completed steps must be saved.
fn stopped(over: &Over, sent: u128, before: u64, newest: u64) -> Result<(), String> {
    let begun = |words: &Vec<&str>| words.get(1).and_then(|time| time.parse::<u128>().ok());
    let late = over.words("step").filter_map(|words| begun(&words)).filter(|time| sent < *time).count();
    if 1 < late {
        return Err(format!("{late} steps began after the signal"));
    }
    let last = over.told("step").last().unwrap_or(before);
    if newest != last {
        return Err(format!("step {last} was the last, and the newest checkpoint is of step {newest}"));
    }
    Ok(())
}
