//! Nanoseconds that logs, a bar, monitors and checkpoints in the background add to a step on the loop's thread.
//!
//! Each figure is the time between two steps of 200 us, less the same with no callback at all. A step without
//! work would wait for the save of the step before.

use std::time::Duration;

use regimen::BoxError;
use regimen::callback::Every;
use regimen_bench::{batteries_run, figure, median, rounds};

const STEPS: usize = 5_000;
const WORK: Duration = Duration::from_micros(200);
const ROUNDS: usize = 7;

fn main() -> Result<(), BoxError> {
    let folder = std::env::current_dir()?.join("batteries");
    let cases = [("none", None), ("every_step", Some(1)), ("every_10_steps", Some(10))];
    let mut contestants = cases.map(|(name, every)| {
        let folder = folder.join(name);
        move || {
            if folder.exists() {
                std::fs::remove_dir_all(&folder)?;
            }
            let seconds = batteries_run(&folder, every.map(Every::steps), Every::steps(100), STEPS, WORK)?;
            Ok::<f64, BoxError>(seconds * 1e9)
        }
    });
    let mut contestants: Vec<_> = contestants.iter_mut().map(|run| run as &mut dyn FnMut() -> _).collect();
    let times = rounds::<BoxError>(ROUNDS, &mut contestants)?;
    let mut medians = times.into_iter().map(median);
    let none = medians.next().unwrap_or_default();
    for ((name, _), time) in cases.into_iter().skip(1).zip(medians) {
        figure(&format!("batteries/{name}"), "ns_per_step", time - none, "ns")?;
    }
    Ok(())
}
