//! Control readers, each of which breaks one promise. The fuzz must find every violation.
#![allow(clippy::panic, reason = "a panic is one of the broken promises")]

use regimen::random::Random;

use super::Subject;
use crate::fuzz::trial::{FLOOR, Fault, Trial, demand};

/// One reader per way to break a promise, and one that keeps all.
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

/// One stack frame per call, at any optimization level.
fn deep(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 512]);
    if n == 0 { 0 } else { deep(n - 1) + frame[0] }
}
