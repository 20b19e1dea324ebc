//! One test: libtorch's CPU generator is one for the whole process.

// The constructors of a fixture cannot fail.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::OnTorch;
use regimen_test::resume_matrix::{Cell, ResumeFixture, run_all};

impl ResumeFixture for OnTorch {}

#[test]
fn libtorch_resumes_to_the_bit() {
    run_all(&OnTorch { test: "libtorch_resumes_to_the_bit" }, &Cell::each_stop());
}
