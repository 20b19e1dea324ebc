//! One test: Burn's CPU generator is one for the whole process.

// The constructors of a fixture cannot fail.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::OnBurn;
use regimen_test::resume_matrix::{Cell, ResumeFixture, run_all};

impl ResumeFixture for OnBurn {}

#[test]
fn burn_resumes_to_the_bit() {
    run_all(&OnBurn { test: "burn_resumes_to_the_bit" }, &Cell::each_stop());
}
