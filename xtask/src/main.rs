//! Everything a developer of regimen runs.
//!
//! `cargo xtask ci` is the one gate, the same at home and elsewhere; `cargo xtask bench NAME`
//! measures, `cargo xtask torture` kills, cuts off and damages real trainings, and `cargo xtask libtorch`
//! finds or installs what `regimen-torch` is built on.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a developer's tool talks to a terminal")]

mod bench;
mod ci;
mod features;
mod libtorch;
mod peers;
mod pictures;
mod steps;
mod table;
mod tools;
mod torture;
mod workspace;

use std::process::ExitCode;

/// Why a task could not be done, in words for a developer.
type BoxError = Box<dyn std::error::Error>;

const USAGE: &str = "\
usage: cargo xtask ci
       cargo xtask bench NAME [--json FILE] [--peers] [--data FOLDER]
       cargo xtask libtorch
       cargo xtask pictures
       cargo xtask torture [--kills N] [--cuts N] [--flips N] [--signals N]
       cargo xtask torture --fuzz SECONDS [--seed N]
       cargo xtask torture --random CASES [--seed N]

ci       every check of the project; ends with a table of what ran, what did not, and why
bench    measures one thing: checkpoint, engines, loader, overhead, precision
libtorch finds libtorch 2.11, where LIBTORCH says or in the active Python, or downloads it (545 MB),
         and prints what a shell must be told to build on it: eval \"$(cargo xtask libtorch)\"
pictures runs the example digits and draws the pictures of the README: docs/pictures/*.svg
torture  checks what trainings leave on the disk that are killed at random and at every call of the
         system, that lose their power, that are damaged, that are sent signals; exits 1 where a
         promise is broken, 2 where something could not be run. With --fuzz first, only gives readers
         files that were changed at random, for so many seconds, or the one case of a seed. With --random
         first, only sees whether runs that are disturbed at random end as those left alone

REGIMEN_TARGET=DIR      where to build; the user's cache folder by default
REGIMEN_LIBTORCH=DIR    where libtorch is installed; the user's cache folder by default
REGIMEN_REQUIRE=all     what could not be run is a failure";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["ci"] => ci::run().map(|()| ExitCode::SUCCESS),
        ["bench", name, options @ ..] => bench::run(name, options).map(|()| ExitCode::SUCCESS),
        ["libtorch"] => libtorch::libtorch().map(|()| ExitCode::SUCCESS),
        ["pictures"] => pictures::pictures().map(|()| ExitCode::SUCCESS),
        ["torture", options @ ..] => torture::torture(options),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether what cannot be run is a failure: `REGIMEN_REQUIRE=all` in the environment.
fn requires_all() -> bool {
    std::env::var_os("REGIMEN_REQUIRE").is_some_and(|value| value == "all")
}
