//! One test: libtorch's CPU generator is one for the whole process.

// The constructors of a fixture cannot fail.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::OnTorch;
use regimen_test::engine_suite::run_all;

#[test]
fn libtorch_passes_the_suite() {
    run_all(&OnTorch::new("libtorch_passes_the_suite"));
}
