//! Measures against the packages of Python that define them, and against values computed by hand.
//!
//! Tests whose names begin with `reference_` need the packages of `requirements.txt`, and check nothing
//! without them.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

mod confusion;
mod curves;
mod labels;
mod language;
mod parts;
mod probabilities;
mod ranks;
mod reference;
mod regression;
mod running;
mod text;
