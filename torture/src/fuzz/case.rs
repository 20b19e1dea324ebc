//! The worker process: runs cases one after another and reports each outcome on its output.
//!
//! ```text
//! begin SEED READER                                 a case begins
//! end VERDICT SIZE PEAK read|refused TEXT           it is over
//! ```
//!
//! The words are separated by tabs.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use regimen::BoxError;
use regimen::random::Random;

use super::child::{READERS, Verdict};
use super::subject::{all, controls};
use super::trial::{FLOOR, Fault, Trial, note_panics};

/// Runs the cases that `args` describe: subject, folder, first seed, stride, end seed (exclusive)
/// and time limit in milliseconds. At least one case is run.
pub(crate) fn run(args: &[&str]) -> Result<(), BoxError> {
    let [of, folder, first, stride, before, milliseconds] = args else {
        return Err("usage: torture fuzz readers|controls FOLDER FIRST STRIDE BEFORE MILLISECONDS".into());
    };
    let (first, stride, before): (u64, u64, u64) = (first.parse()?, stride.parse()?, before.parse()?);
    let end = Instant::now() + Duration::from_millis(milliseconds.parse()?);
    let folder = Path::new(folder);
    let subjects = if *of == READERS.of { all(folder)? } else { controls() };
    note_panics();
    let mut next = Some(first);
    let mut out = io::stdout().lock();
    while let Some(seed) = next {
        // Hashed twice, so that consecutive seeds are unrelated.
        let mut random = Random::new(Random::new(seed).bits());
        let subject = &subjects[random.below(subjects.len() as u64) as usize];
        writeln!(out, "begin\t{seed}\t{}", subject.name())?;
        let mut trial = Trial::new(folder);
        let (mut verdict, text) = match subject.attempt(&mut random, &mut trial) {
            Ok(()) => (Verdict::Held, String::new()),
            Err(Fault::Panic(text)) => (Verdict::Panic, text),
            Err(Fault::Mismatch(text)) => (Verdict::Mismatch, text),
            Err(Fault::Broken(why)) => return Err(format!("case {seed} cannot be run: {why}").into()),
        };
        let most = subject.multiple().saturating_mul(trial.size).saturating_add(FLOOR);
        if verdict == Verdict::Held && most < trial.peak {
            verdict = Verdict::Memory;
        }
        let (size, peak) = (trial.size, trial.peak);
        let read = if trial.is_read { "read" } else { "refused" };
        // Truncated to one line.
        let text: String = text.chars().take(600).map(|c| if c.is_control() { ' ' } else { c }).collect();
        writeln!(out, "end\t{verdict:?}\t{size}\t{peak}\t{read}\t{text}")?;
        next = seed.checked_add(stride).filter(|&next| next < before && Instant::now() < end);
    }
    Ok(())
}
