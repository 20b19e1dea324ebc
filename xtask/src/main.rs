//! Developer tasks of regimen.
//!
//! `cargo xtask ci` runs every check, at home and in CI alike. `cargo xtask bench NAME` runs a
//! benchmark, `cargo xtask torture` runs the torture tests, `cargo xtask libtorch` finds or installs
//! the libtorch for `regimen-torch`, and `cargo xtask new` makes a project that trains a network.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a developer's tool talks to a terminal")]

mod bench;
mod chromium;
mod ci;
mod features;
mod launchers;
mod libtorch;
mod new;
mod outside;
mod peers;
mod pictures;
mod readme;
mod s3;
mod steps;
mod table;
mod tools;
mod torture;
mod workspace;

use std::process::ExitCode;

/// The reason for a failed task, for a developer.
type BoxError = Box<dyn std::error::Error>;

const USAGE: &str = "\
usage: cargo xtask ci [STEP ...]
       cargo xtask bench NAME [--json FILE] [--peers] [--data FOLDER]
       cargo xtask libtorch
       cargo xtask new NAME --engine burn|torch [--path DIR]
       cargo xtask pictures
       cargo xtask torture [--kills N] [--cuts N] [--flips N] [--signals N]
       cargo xtask torture --fuzz SECONDS [--seed N]
       cargo xtask torture --random CASES [--seed N]
       cargo xtask torture --ranks N [--kills N] [--seed N] [--ulfm]

ci       runs every check, or the named steps, and prints a table of results
bench    runs a benchmark: batteries, checkpoint, distributed, engines, learner, loader,
         object-store, overhead, overlap, precision, report
libtorch finds libtorch 2.11 in LIBTORCH or the active Python, or downloads it (545 MB), and
         prints the environment to build on it: eval \"$(cargo xtask libtorch)\"
new      makes a project outside of the clone that trains a small network: in DIR, or beside the clone
pictures runs the examples digits and dashboard and draws the pictures of the README and the guide: docs/pictures/*.svg; and
         those of the report page: docs/pictures/report-*.png
torture  runs the torture tests: kills at random and at every system call, power cuts, damaged files,
         signals; exits 1 if a promise is broken, 2 if something could not be run. With --fuzz first,
         only fuzzes the readers of files, for a number of seconds, or one case by its seed. With
         --random first, only compares runs under random failures with undisturbed runs. With
         --ranks first, only kills ranks of jobs: with --ulfm the others go on in place, and
         otherwise a loop starts the job again

REGIMEN_TARGET=DIR      build folder; default: in the user's cache folder
REGIMEN_LIBTORCH=DIR    installation of libtorch; default: in the user's cache folder
REGIMEN_REQUIRE=all     a check that cannot run is a failure";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["ci", steps @ ..] => ci::run(steps).map(|()| ExitCode::SUCCESS),
        ["bench", name, options @ ..] => bench::run(name, options).map(|()| ExitCode::SUCCESS),
        ["new", args @ ..] => new::new(args).map(|()| ExitCode::SUCCESS),
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

/// Returns `true` if a step that cannot run is a failure: `REGIMEN_REQUIRE=all` in the environment.
fn requires_all() -> bool {
    std::env::var_os("REGIMEN_REQUIRE").is_some_and(|value| value == "all")
}
