//! A mutation fuzz of everything that takes a file from outside.
//!
//! A case is a function of its seed: a reader, a whole file, a few changes of it. What is legal: any
//! error. What is not:
//!
//! - a panic, also one that a guard made an error of; an end of the process; ten seconds without an
//!   answer;
//! - more memory than a multiple of the file, which each reader states, beside what all may hold;
//! - values that a second reader does not find, and a whole file that is refused.

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

/// So many violations of one kind are told of each reader; all are counted.
const TOLD: u64 = 3;

/// Fuzzes for so many seconds, with as many processes as there are cores.
pub(crate) fn fuzz(seconds: u64) -> Result<Tally, BoxError> {
    let mut tally = fuzz_all(READERS, u64::MAX, Duration::from_secs(seconds))?;
    let folders: Vec<PathBuf> =
        (0..processes()?).map(|process| folder(process).join(sample::FOLDER)).collect();
    match compare(&folders) {
        Compared::NotRun(why) => tally = tally.not_run(format!("tables beside Python's csv: {why}")),
        Compared::Read(alike, others) => {
            println!("tables that Python's csv reads alike: {alike}, otherwise: {}", others.len());
            others.into_iter().for_each(|other| tally.note(Err(other)));
        }
    }
    Ok(tally)
}

/// Fuzzes readers that break a promise each, by so many seeds that each has its turn.
pub(crate) fn control() -> Result<Tally, BoxError> {
    fuzz_all(CONTROLS, 24, Duration::from_secs(600))
}

fn processes() -> Result<u64, BoxError> {
    Ok(std::thread::available_parallelism()?.get() as u64)
}

/// What one of the processes writes to.
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
        let told = table.count(&outcome) <= TOLD;
        tally.count(if told { outcome.verdict() } else { Ok(()) });
    }
    for watcher in watchers {
        watcher.join().map_err(|_| "what watches the fuzz panicked")??;
    }
    println!("{table}");
    tally.expect(table.cases());
    tally.detail = format!("{}, ", table.broken());
    Ok(tally)
}

/// Runs the case of one seed once more, and says what came of it. Its files stay.
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
    println!("what it wrote to the disk is in {}", std::path::absolute(folder)?.display());
    match outcome.verdict() {
        Ok(()) => println!("no violation"),
        Err(violation) => println!("VIOLATION: {violation}"),
    }
    Ok(u8::from(outcome.verdict != Verdict::Held))
}
