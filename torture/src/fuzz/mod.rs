//! Mutation fuzzing of every reader of external files.
//!
//! A case is a function of its seed: a reader, a valid file and a few mutations. Any error is
//! allowed. Violations are:
//!
//! - a panic (caught ones included), an end of the process, or ten seconds without a result;
//! - more memory than a multiple of the file, which each reader states, plus a common allowance;
//! - values that differ from those of a second reader, or a valid file that is refused.

mod case;
mod child;
mod corpus;
mod gzip;
mod memory;
mod mutate;
mod sample;
mod subject;
mod table;
mod trial;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use regimen::BoxError;

pub(crate) use self::case::run as run_cases;
pub(crate) use self::memory::Counting;

use self::child::{CONTROLS, Fuzzed, Outcome, READERS, Verdict, watch};
use self::sample::{Compared, compare};
use self::table::Table;
use crate::tally::Tally;

const DIR: &str = "fuzz";

/// Violations of one kind that are printed per reader; all are counted.
const SHOWN: u64 = 3;

/// Fuzzes for this many seconds, with one process per core.
pub(crate) fn fuzz(seconds: u64) -> Result<Tally, BoxError> {
    let mut tally = fuzz_all(READERS, u64::MAX, Duration::from_secs(seconds))?;
    let folders: Vec<PathBuf> =
        (0..processes()?).map(|process| folder(process).join(sample::FOLDER)).collect();
    match compare(&folders) {
        Compared::NotRun(why) => tally = tally.not_run(format!("tables compared with Python's csv: {why}")),
        Compared::Read(alike, others) => {
            println!("tables that Python's csv reads alike: {alike}, differently: {}", others.len());
            others.into_iter().for_each(|other| tally.note(Err(other)));
        }
    }
    Ok(tally)
}

/// Fuzzes the control readers, each of which breaks one promise, with enough seeds for each to run.
pub(crate) fn control() -> Result<Tally, BoxError> {
    fuzz_all(CONTROLS, 24, Duration::from_secs(600))
}

fn processes() -> Result<u64, BoxError> {
    Ok(std::thread::available_parallelism()?.get() as u64)
}

/// The output folder of a process.
fn folder(process: u64) -> PathBuf {
    Path::new(DIR).join(process.to_string())
}

fn fuzz_all(fuzzed: Fuzzed, before: u64, time: Duration) -> Result<Tally, BoxError> {
    let (mut tally, mut table) = (Tally::new("fuzz", 0), Table::default());
    let processes = processes()?;
    let end = Instant::now() + time;
    let (outcomes, heard) = mpsc::channel();
    let watchers: Vec<_> = (0..processes)
        .map(|process| {
            let (outcomes, folder) = (outcomes.clone(), folder(process));
            std::thread::spawn(move || {
                watch(fuzzed, &folder, process..before, processes, end, &outcomes)
                    .map_err(|error| error.to_string())
            })
        })
        .collect();
    drop(outcomes);
    for outcome in heard {
        let is_shown = table.count(&outcome) <= SHOWN;
        tally.count(if is_shown { outcome.verdict() } else { Ok(()) });
    }
    for watcher in watchers {
        watcher.join().map_err(|_| "a watcher thread of the fuzz panicked")??;
    }
    println!("{table}");
    tally.expect(table.cases());
    tally.detail = format!("{}, ", table.broken());
    Ok(tally)
}

/// Runs the case of one seed again and prints the outcome. Its files are kept.
pub(crate) fn repeat(seed: &str) -> Result<u8, BoxError> {
    let seed: u64 = seed.parse().map_err(|_| format!("`--seed {seed}`: not a number"))?;
    let (outcomes, heard) = mpsc::channel();
    let folder = Path::new(DIR).join("repeated");
    watch(
        READERS,
        &folder,
        seed..seed.saturating_add(1),
        1,
        Instant::now() + Duration::from_secs(1),
        &outcomes,
    )?;
    drop(outcomes);
    let outcome: Outcome = heard.recv().map_err(|_| "the case was not run")?;
    let read = if outcome.is_read { "read" } else { "refused" };
    println!(
        "case {seed}: {}, {read}, {} bytes of memory for {}",
        outcome.reader, outcome.peak, outcome.size
    );
    println!("its files are in {}", std::path::absolute(folder)?.display());
    match outcome.verdict() {
        Ok(()) => println!("no violation"),
        Err(violation) => println!("VIOLATION: {violation}"),
    }
    Ok(u8::from(outcome.verdict != Verdict::Held))
}
