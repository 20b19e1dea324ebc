//! Tidy tests: dependencies between crates, forbidden words in sources, and the contents of the
//! documents. Most of these rules are absences.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod arrows;
mod doors;
mod exports;
mod pages;
mod papers;
mod project;
mod sources;
mod torchtnt;
