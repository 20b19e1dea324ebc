//! Signals at random moments of a training: it stops within a step, and what it saves is whole.

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

/// A step takes so long that it is not the scheduling of a busy machine that is measured.
const STEP_MS: u64 = 40;

/// What is saved is mostly due to the signal, and not to the cadence.
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

/// Sends the signal, and returns when it had been sent. Twice is what `timeout` and launchers do, who
/// send it to a process and to its group.
fn send(signal: &str, process: u32, twice: bool) -> Result<u128, BoxError> {
    let process = process.to_string();
    let again = twice.then_some(&process);
    let status = Command::new("kill").args(["-s", signal, &process]).args(again).status()?;
    if status.success() { Ok(now()) } else { Err(format!("`kill` ended with {status}").into()) }
}

/// At most one step may begin after the signal, and all steps that were made must be saved.
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
