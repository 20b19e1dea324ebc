//! Torture tests: real training processes, checked by their run directories, and in-memory runs
//! under random failures.
//!
//! Run by `cargo xtask torture`, in an empty folder. Exits 1 if a promise is broken, and 2 if
//! something could not be run.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a developer's tool talks to a terminal")]

mod cuts;
mod elastic;
mod faults;
mod flips;
mod fuzz;
mod kills;
mod random;
mod signals;
mod strace;
mod tally;
mod train;
mod trainer;
mod unsynced;
mod volume;
mod walk;
mod witness;
mod writers;

use std::process::ExitCode;

use regimen::BoxError;

use tally::Tally;

/// Counts allocations for the fuzz, which limits the memory of a reader.
#[global_allocator]
static ALLOCATOR: fuzz::Counting = fuzz::Counting;

/// Number of cases per kind of torture.
#[derive(Debug)]
struct Options {
    kills: u64,
    cuts: u64,
    flips: u64,
    signals: u64,
    /// In seconds.
    fuzz: u64,
    random: u64,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["train", rest @ ..] => train::train(rest).map(|()| 0),
        ["rank", rest @ ..] => elastic::rank(rest).map(|()| 0),
        ["fuzz", rest @ ..] => fuzz::run_cases(rest).map(|()| 0),
        ["--control"] => fuzz::control().map(|tally| show_alone(&tally)),
        ["--fuzz", _, "--seed", seed] => fuzz::repeat(seed),
        ["--random", _, "--seed", seed] => {
            number("--seed", seed).map(|seed| show_alone(&random::again(seed)))
        }
        ["--ranks", ranks, rest @ ..] => elastic_by(ranks, rest).map(|tally| show_alone(&tally)),
        // Separate from the disk tortures, which take a quarter of an hour.
        ["--fuzz", _] => {
            Options::parse(&args).and_then(|options| fuzz::fuzz(options.fuzz)).map(|tally| show_alone(&tally))
        }
        ["--random", _] => Options::parse(&args).map(|options| show_alone(&random::random(options.random))),
        _ => Options::parse(&args).and_then(|options| torture(&options)),
    };
    match done {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs everything, and returns the exit status.
fn torture(options: &Options) -> Result<u8, BoxError> {
    let mut status = 0;
    let mut show = |tally: Tally| {
        println!("{tally}");
        status = match tally.status() {
            0 => status,
            broken @ 1 => broken,
            not_run => {
                if status == 0 {
                    not_run
                } else {
                    status
                }
            }
        };
    };
    show(random::random(options.random));
    show(kills::kills(options.kills)?);
    for tally in faults::faults()? {
        show(tally);
    }
    show(cuts::cuts(options.cuts)?);
    show(flips::flips(options.flips)?);
    show(signals::signals(options.signals)?);
    show(writers::writers()?);
    if options.fuzz != 0 {
        show(fuzz::fuzz(options.fuzz)?);
    }
    Ok(status)
}

/// Kills ranks as `args` say: `--kills N [--seed N] [--ulfm]`.
fn elastic_by(ranks: &str, mut args: &[&str]) -> Result<Tally, BoxError> {
    let (ranks, mut kills, mut seed, mut is_elastic) = (number("--ranks", ranks)?, 100, 1, false);
    if ranks < 2 {
        return Err("`--ranks`: give 2 or more".into());
    }
    loop {
        match args {
            [] => return elastic::elastic(ranks, kills, is_elastic, seed),
            ["--ulfm", rest @ ..] => (is_elastic, args) = (true, rest),
            ["--kills", n, rest @ ..] => (kills, args) = (number("--kills", n)?, rest),
            ["--seed", n, rest @ ..] => (seed, args) = (number("--seed", n)?, rest),
            [other, ..] => return Err(format!("`{other}`: unknown option of `--ranks`").into()),
        }
    }
}

fn show_alone(tally: &Tally) -> u8 {
    println!("{tally}");
    tally.status()
}

fn number(name: &str, n: &str) -> Result<u64, BoxError> {
    n.parse().map_err(|_| format!("`{name} {n}`: not a number").into())
}

impl Options {
    fn parse(mut args: &[&str]) -> Result<Self, BoxError> {
        let mut options =
            Options { kills: 1_000, cuts: 100, flips: 10_000, signals: 200, fuzz: 600, random: 100_000 };
        loop {
            let (name, n, rest) = match args {
                [] => return Ok(options),
                [name, n, rest @ ..] => (*name, *n, rest),
                [name] => return Err(format!("`{name}` needs a number").into()),
            };
            let count = match name {
                "--kills" => &mut options.kills,
                "--cuts" => &mut options.cuts,
                "--flips" => &mut options.flips,
                "--signals" => &mut options.signals,
                "--fuzz" => &mut options.fuzz,
                "--random" => &mut options.random,
                _ => return Err(format!("`{name}`: unknown option").into()),
            };
            *count = number(name, n)?;
            args = rest;
        }
    }
}
