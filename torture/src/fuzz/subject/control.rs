//! Readers that break one promise each: the control of the fuzz, which must find every one.
#![allow(clippy::panic, reason = "to panic is one of the promises")]

use regimen::random::Random;

use super::Subject;
use crate::fuzz::trial::{FLOOR, Fault, Trial, demand};

/// One reader for each way to break a promise, and one that breaks none.
pub(in crate::fuzz) fn controls() -> Vec<Box<dyn Subject>> {
    let breaks: [(&'static str, fn()); 7] = [
        ("keeps all", || ()),
        ("panics", panics),
        ("guards a panic", || drop(std::panic::catch_unwind(panics))),
        ("aborts", || std::process::abort()),
        ("overflows", || assert_eq!(deep(u64::MAX), 0)),
        ("hangs", || std::thread::sleep(std::time::Duration::MAX)),
        ("takes memory", || drop(std::hint::black_box(vec![0_u8; 2 * FLOOR]))),
    ];
    let breaks =
        breaks.map(|(name, reads)| -> Box<dyn Subject> { Box::new(Control { name, reads, adds: 0 }) });
    let other: Box<dyn Subject> = Box::new(Control { name: "reads otherwise", reads: || (), adds: 1 });
    breaks.into_iter().chain([other]).collect()
}

struct Control {
    name: &'static str,
    reads: fn(),
    adds: u8,
}

impl Subject for Control {
    fn name(&self) -> &'static str {
        self.name
    }

    fn attempt(&self, random: &mut Random, trial: &mut Trial) -> Result<(), Fault> {
        let byte = random.bits() as u8;
        let read = trial.read(1, || {
            (self.reads)();
            Ok(byte.wrapping_add(self.adds))
        })?;
        demand(read == Ok(byte), || format!("{read:?} is read, not {byte}"))
    }
}

fn panics() {
    panic!("on purpose");
}

/// A frame for each call, however well it is compiled.
fn deep(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 512]);
    if n == 0 { 0 } else { deep(n - 1) + frame[0] }
}
