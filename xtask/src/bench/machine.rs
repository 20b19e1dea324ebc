//! The machine: its load, and the time of its processors that other work takes. Linux alone tells.

use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::BoxError;

/// How long is waited for the load to fall, which our own compiling has raised.
const PATIENCE: Duration = Duration::from_secs(120);

/// The average load of the last minute, in running programs.
pub(crate) fn load() -> Result<f64, BoxError> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}

/// The same, once it has fallen to `most` or [`PATIENCE`] is over.
pub(crate) fn quiet_load(most: f64) -> Result<f64, BoxError> {
    let begun = Instant::now();
    loop {
        let load = load()?;
        if load <= most || begun.elapsed() > PATIENCE {
            return Ok(load);
        }
        println!("waiting for a load of {most} or less: it is {load}");
        thread::sleep(Duration::from_secs(15));
    }
}

/// Processor time since the machine has started, in ticks, which are the same for all fields.
#[derive(Debug)]
pub(crate) struct Ticks {
    /// Of all processors, idle or not.
    all: f64,
    /// In which they worked, or worked for other machines on the same hardware.
    busy: f64,
    /// Of this process and of its children that have ended.
    own: f64,
}

impl Ticks {
    pub(crate) fn now() -> Result<Self, BoxError> {
        let (machine, own) = (fs::read_to_string("/proc/stat")?, fs::read_to_string("/proc/self/stat")?);
        Ok(Ticks::parse(&machine, &own).ok_or("the system does not report the time of its processors")?)
    }

    fn parse(machine: &str, own: &str) -> Option<Self> {
        let numbers = |text: &str| text.split_whitespace().map_while(|word| word.parse().ok()).collect();
        // User, nice, system, idle, waiting for disks, interrupts of two kinds, stolen; then those of guests, which
        // the first two include.
        let fields: Vec<f64> = numbers(machine.strip_prefix("cpu ")?);
        let fields = fields.get(..8)?;
        let all = fields.iter().sum::<f64>();
        // The name of the program, in brackets, may have blanks. The state after it is a letter.
        let own: Vec<f64> = numbers(own.rsplit_once(") ")?.1.get(1..)?);
        Some(Ticks { all, busy: all - fields[3] - fields[4], own: own.get(10..14)?.iter().sum() })
    }

    /// The share of the machine, from 0 to 1, that other work has taken since `before`. Children must have ended.
    pub(crate) fn others_since(&self, before: &Ticks) -> f64 {
        let others = (self.busy - before.busy) - (self.own - before.own);
        // The two are not counted at the same moments.
        (others / (self.all - before.all)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_neither_idle_nor_of_this_process_is_of_others() {
        let ticks = |machine: &str, own: &str| Ticks::parse(machine, own).unwrap();
        let before = ticks(
            "cpu  100 0 10 800 50 0 5 35 0 0\ncpu0 ...",
            "7 (a (b) c) S 1 7 7 0 -1 4 9 9 9 9 10 1 20 2 20 0",
        );
        assert_eq!((before.all, before.busy, before.own), (1000.0, 150.0, 33.0));
        // 200 more in all, of which 100 were idle, 70 of this process and its children, and 10 stolen.
        let after = ticks(
            "cpu  180 0 20 890 60 0 5 45 0 0\ncpu0 ...",
            "7 (a (b) c) R 1 7 7 0 -1 4 9 9 9 9 15 6 70 12 20 0",
        );
        assert_eq!(after.others_since(&before), 0.15);
        assert!(Ticks::parse("cpu 1 2", "7 (a) S 1").is_none());
    }

    #[test]
    fn this_machine_tells_its_time_and_its_load() {
        if cfg!(target_os = "linux") {
            let before = Ticks::now().unwrap();
            assert!(before.all >= before.busy && before.busy > 0.0);
            assert!(load().unwrap() >= 0.0);
        }
    }
}
