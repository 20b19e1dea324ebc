//! The resume matrix of ranks with shares.

#[allow(dead_code, unreachable_pub, reason = "shared with the matrix of every other run")]
#[path = "../it/resume_matrix/toy.rs"]
mod toy;

use regimen_test::resume_matrix::{Cell, run_all};
use toy::{Toy, toy};

#[test]
fn ranks_with_shares_resume_to_the_bit() {
    let fixture = toy("matrix::ranks_with_shares_resume_to_the_bit");
    let cells: Vec<Cell> = Cell::ranks().into_iter().step_by(7).collect();
    run_all(&Toy { shards_optimizer: true, ..fixture }, &cells);
}

/// The run that is not interrupted has no peers, and so no shares.
#[test]
fn any_number_of_ranks_with_shares_goes_on() {
    let fixture = toy("matrix::any_number_of_ranks_with_shares_goes_on");
    let cells: Vec<Cell> = Cell::any_ranks().into_iter().step_by(6).collect();
    run_all(&Toy { shards_optimizer: true, ..fixture }, &cells);
}
