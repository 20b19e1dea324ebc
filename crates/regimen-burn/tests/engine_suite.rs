//! One test: Burn's CPU generator is one for the whole process.

// The constructors of a fixture cannot fail.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::OnBurn;
use regimen_test::engine_suite::run_all;

#[test]
fn burn_passes_the_suite() {
    run_all(&OnBurn::new("burn_passes_the_suite"));
}
