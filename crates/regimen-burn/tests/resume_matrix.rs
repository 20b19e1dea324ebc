//! Runs on Burn that are paused and finished in new processes. Computations are in separate processes, each
//! with one test: Burn's CPU generator is one for the whole process.

// The constructors of a fixture cannot fail.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::OnBurn;
use regimen_core::engine::Precision;
use regimen_test::resume_matrix::{Cell, Interface, run_all};

#[test]
fn burn_resumes_to_the_bit() {
    run_all(&OnBurn::new("burn_resumes_to_the_bit"), &Cell::each_stop());
}

/// Every fourth stop.
fn some_cells() -> Vec<Cell> {
    Cell::each_stop().into_iter().step_by(4).collect()
}

#[test]
fn burn_in_bf16_resumes_to_the_bit() {
    run_all(
        &OnBurn { precision: Precision::BF16, ..OnBurn::new("burn_in_bf16_resumes_to_the_bit") },
        &some_cells(),
    );
}

#[test]
fn burn_in_fp16_resumes_to_the_bit() {
    run_all(
        &OnBurn { precision: Precision::F16, ..OnBurn::new("burn_in_fp16_resumes_to_the_bit") },
        &some_cells(),
    );
}

#[test]
fn a_runner_on_burn_resumes_to_the_bit() {
    let fixture = OnBurn::new("a_runner_on_burn_resumes_to_the_bit");
    run_all(&OnBurn { interface: Interface::ByRunner, ..fixture }, &some_cells());
}

#[test]
fn a_fit_loop_on_burn_resumes_to_the_bit() {
    let fixture = OnBurn::new("a_fit_loop_on_burn_resumes_to_the_bit");
    run_all(&OnBurn { interface: Interface::ByFitLoop, ..fixture }, &some_cells());
}
