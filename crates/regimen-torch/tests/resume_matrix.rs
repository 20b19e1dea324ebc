//! Runs on libtorch that are paused and finished in new processes. Computations are in separate processes,
//! each with one test: libtorch's CPU generator is one for the whole process.

// The constructors of a fixture cannot fail.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::OnTorch;
use regimen_core::engine::Precision;
use regimen_test::resume_matrix::{Cell, Interface, run_all};

#[test]
fn libtorch_resumes_to_the_bit() {
    run_all(&OnTorch::new("libtorch_resumes_to_the_bit"), &Cell::each_stop());
}

/// Every fourth stop.
fn some_cells() -> Vec<Cell> {
    Cell::each_stop().into_iter().step_by(4).collect()
}

#[test]
fn libtorch_in_bf16_resumes_to_the_bit() {
    run_all(
        &OnTorch { precision: Precision::BF16, ..OnTorch::new("libtorch_in_bf16_resumes_to_the_bit") },
        &some_cells(),
    );
}

#[test]
fn libtorch_in_fp16_resumes_to_the_bit() {
    run_all(
        &OnTorch { precision: Precision::F16, ..OnTorch::new("libtorch_in_fp16_resumes_to_the_bit") },
        &some_cells(),
    );
}

#[test]
fn a_runner_on_libtorch_resumes_to_the_bit() {
    let fixture = OnTorch::new("a_runner_on_libtorch_resumes_to_the_bit");
    run_all(&OnTorch { interface: Interface::ByRunner, ..fixture }, &some_cells());
}

#[test]
fn a_fit_loop_on_libtorch_resumes_to_the_bit() {
    let fixture = OnTorch::new("a_fit_loop_on_libtorch_resumes_to_the_bit");
    run_all(&OnTorch { interface: Interface::ByFitLoop, ..fixture }, &some_cells());
}
