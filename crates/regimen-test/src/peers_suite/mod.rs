//! The contract of [`Peers`], as checks for any transport.
//!
//! A [`Check`] is a program that every rank runs at the same time. If the ranks are threads, one test calls
//! [`run_all`]. If they are processes, each process runs the [`checks`] in order, and aborts at the first error:
//!
//! ```no_run
//! # use regimen_core::{BoxError, peers::Peers};
//! # fn on_this_rank(peers: &dyn Peers) -> Result<(), BoxError> {
//! for (name, check) in regimen_test::peers_suite::checks() {
//!     check(peers).inspect_err(|error| peers.abort(&format!("{name}: {error}")))?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The last check ends with lost peers. Each is known to fail for a transport that breaks its rule, most of them with
//! three ranks or more.

mod calls;
mod loss;
mod sums;

use std::sync::Arc;

use regimen_core::BoxError;
use regimen_core::error::WithCauses;
use regimen_core::peers::Peers;

use crate::peers::on_ranks;

pub use calls::{
    a_broadcast_is_of_the_first_rank, a_commit_succeeds_on_all, bytes_are_gathered_in_the_order_of_ranks,
    calls_follow_each_other_at_any_pace, calls_that_differ_are_an_error_on_all, each_rank_has_its_index,
};
pub use loss::an_abort_ends_the_calls_of_the_others;
pub use sums::{
    a_sum_has_the_same_bits_on_all_and_each_time, a_sum_is_not_finite_if_one_is_not, a_sum_is_of_all_ranks,
};

/// A check, run by every rank at the same time: fails with a description.
pub type Check = fn(&dyn Peers) -> Result<(), BoxError>;

/// Every check by its name.
pub fn checks() -> Vec<(&'static str, Check)> {
    macro_rules! named {
        ($($check:ident),* $(,)?) => { vec![$((stringify!($check), $check as Check)),*] };
    }
    named![
        each_rank_has_its_index,
        bytes_are_gathered_in_the_order_of_ranks,
        a_broadcast_is_of_the_first_rank,
        a_sum_is_of_all_ranks,
        a_sum_is_not_finite_if_one_is_not,
        a_sum_has_the_same_bits_on_all_and_each_time,
        a_commit_succeeds_on_all,
        calls_follow_each_other_at_any_pace,
        calls_that_differ_are_an_error_on_all,
        an_abort_ends_the_calls_of_the_others,
    ]
}

/// Runs every check on 1, 2, 3 and 5 ranks that are threads. `ranks` makes that many new ones, in their order.
///
/// # Panics
///
/// If any fails; the message names each with its error.
#[track_caller]
pub fn run_all(ranks: impl Fn(u64) -> Vec<Arc<dyn Peers>>) {
    let failures = failures(ranks);
    let lines: Vec<String> = failures.iter().map(|(check, wrong)| format!("{check}: {wrong}")).collect();
    assert!(failures.is_empty(), "the transport fails\n{}", lines.join("\n"));
}

/// Runs every check as [`run_all`] does, and returns those that fail, with the error of each rank.
pub fn failures(ranks: impl Fn(u64) -> Vec<Arc<dyn Peers>>) -> Vec<(&'static str, String)> {
    let mut failures = Vec::new();
    for (name, check) in checks() {
        for count in [1, 2, 3, 5] {
            let results = on_ranks(ranks(count), |peers| {
                check(&*peers).map_err(|wrong| {
                    let wrong = WithCauses(&*wrong).to_string();
                    peers.abort(&wrong);
                    wrong
                })
            });
            for (rank, result) in results.into_iter().enumerate() {
                if let Err(wrong) = result.and_then(|checked| checked) {
                    failures.push((name, format!("rank {rank} of {count}: {wrong}")));
                }
            }
        }
    }
    failures
}

/// An error that says `wrong`, unless `right`.
fn ensure(right: bool, wrong: impl Into<String>) -> Result<(), BoxError> {
    if right { Ok(()) } else { Err(wrong.into().into()) }
}
