//! The shape of the project: which crate may know which, what no source may hold, and what the
//! papers must name. Most of these rules are absences.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod arrows;
mod exports;
mod papers;
mod project;
mod sources;
