//! The contract of [`Engine`], as checks for any engine.
//!
//! Write an [`EngineFixture`] for your engine, and one test that calls [`run_all`]. The checks test the
//! engine alone and through [`AutoUnit`](regimen_core::AutoUnit). Each is known to fail for an engine that
//! breaks its rule.
//!
//! One check starts the test program a second time, to load a checkpoint in a new process. If the library has
//! one generator for the whole process, keep the test alone in its file, so that no other test draws from it.
//!
//! ```no_run
//! use std::ops::Range;
//!
//! use regimen_core::{BoxError, Loss};
//! use regimen_core::engine::Mode;
//! use regimen_test::engine_suite::{EngineFixture, run_all};
//! use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};
//!
//! struct Toy;
//!
//! impl EngineFixture for Toy {
//!     type Engine = ToyEngine<ToyMlp>;
//!     type Batch = (ToyArray, ToyArray);
//!
//!     fn plain(&self) -> Self::Engine {
//!         manual_seed(1);
//!         let mut vars = ToyVars::new();
//!         let mlp = ToyMlp::plain(&mut vars, [1, 4, 1]);
//!         ToyEngine::new(vars, mlp, ToyOptimizer::adam_w(0.0))
//!     }
//!
//!     fn regularized(&self) -> Self::Engine {
//!         manual_seed(1);
//!         let mut vars = ToyVars::new();
//!         let mlp = ToyMlp::regularized(&mut vars, [1, 4, 1], 0.5);
//!         ToyEngine::new(vars, mlp, ToyOptimizer::adam_w(0.0))
//!     }
//!
//!     fn batch(&self, rows: Range<u64>) -> Self::Batch {
//!         let x: Vec<f64> = rows.map(|row| row as f64 / 8.0).collect();
//!         let y: Vec<f64> = x.iter().map(|x| x.sin()).collect();
//!         (ToyArray::new(&[x.len(), 1], &x), ToyArray::new(&[y.len(), 1], &y))
//!     }
//!
//!     fn misshapen(&self) -> Self::Batch {
//!         (ToyArray::new(&[1, 2], &[0.0, 0.0]), ToyArray::new(&[1, 1], &[0.0]))
//!     }
//!
//!     fn loss(&self, _: Mode, mlp: &ToyMlp, (x, y): &Self::Batch) -> Result<Loss<ToyArray>, BoxError> {
//!         Ok(Loss::mean(mlp.forward(x).mean_squared_error(y), x.shape()[0] as f64))
//!     }
//!
//!     // The weights of a toy layer are `[inputs, outputs]`.
//!     fn unit_dimension(&self, _parameter: &str) -> usize {
//!         1
//!     }
//!
//!     fn tolerance(&self) -> f64 {
//!         1e-13
//!     }
//!
//!     fn test_name(&self) -> &str {
//!         "the_toy_engine_passes"
//!     }
//! }
//!
//! #[test]
//! fn the_toy_engine_passes() {
//!     run_all(&Toy);
//! }
//! ```

mod anomalies;
mod averages;
mod clipping;
mod costs;
mod exchange;
mod freezing;
mod gradients;
mod loading;
mod measure;
mod momentum;
mod overlap;
mod panics;
mod precision;
mod randomness;
mod ranks;
mod reads;
mod resume;
mod shares;
mod task;
mod text;
mod unreached;
mod update;
mod variables;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use regimen_core::engine::{Engine, Mode, ToDevice};
use regimen_core::error::WithCauses;
use regimen_core::{BoxError, Loss};

pub use anomalies::what_is_not_finite_is_named;
pub use averages::{averages_agree_with_a_hand_computation, weights_are_copied_blended_and_exchanged};
pub use clipping::{
    clipping_agrees_with_a_hand_computation, clipping_by_units_agrees_with_a_hand_computation,
};
pub use costs::measuring_changes_no_result;
pub use exchange::{
    exchange_hands_out_flat_buckets, exchange_holds_what_some_rank_holds, exchange_takes_up_buffers,
};
pub use freezing::a_frozen_group_stays_as_it_is;
pub use gradients::{
    a_sum_of_terms_has_their_gradients, backward_adds_to_what_is_held, gradients_go_out_and_come_in,
    splitting_a_batch_keeps_its_gradient,
};
pub use loading::{state_goes_out_and_comes_in, what_does_not_fit_is_refused};
pub use momentum::a_step_uses_the_momentum_that_is_set;
pub use overlap::an_exchange_during_backward_leaves_the_same_gradients;
pub use panics::a_panic_in_the_module_is_an_error;
pub use precision::each_precision_trains_or_is_refused;
pub use randomness::{seeding_repeats_dropout, the_evaluation_view_only_looks};
pub use ranks::two_ranks_train_as_one;
pub use reads::{
    a_step_reads_only_what_its_policy_needs, buffers_are_restored, what_is_read_later_is_the_same_and_is_told,
};
pub use resume::a_new_process_continues_with_the_same_bits;
pub use shares::{
    a_step_with_a_share_of_the_gradients_leaves_the_rest, exchange_takes_up_parameters,
    ranks_with_shares_train_as_one,
};
pub use unreached::what_no_backward_pass_reaches_is_named;
pub use update::{a_skipped_update_changes_nothing, a_step_uses_up_the_gradients, rates_go_to_their_groups};
pub use variables::variables_are_those_of_the_module;

/// Number of rows in a fixture's data.
pub const ROWS: u64 = 24;

/// An engine under test, with a module, data and a loss for it.
///
/// The module should have at least three parameters, and the loss should depend on all of them. The optimizer
/// should have state, and each parameter group a parameter.
pub trait EngineFixture: Sync {
    /// The engine.
    type Engine: Engine + 'static;

    /// The input of the loss.
    type Batch: Clone + ToDevice<<Self::Engine as Engine>::Device>;

    /// A new engine, whose module has neither dropout nor batch statistics. Its parameters are
    /// the same each time, in every process.
    fn plain(&self) -> Self::Engine;

    /// A new engine, whose module has dropout, and running statistics if the library has any. Its
    /// parameters are the same each time, in every process.
    fn regularized(&self) -> Self::Engine;

    /// A new engine whose optimizer is SGD with a momentum that can be changed: `v` becomes `momentum * v + g`, `p`
    /// becomes `p - rate * v`, and the first `v` is `g`. The default, `None`, leaves out the check of changes.
    fn with_momentum(&self) -> Option<Self::Engine> {
        None
    }

    /// A new engine with a part that the loss does not depend on, and the names of that part's parameters, in
    /// order. The default, `None`, leaves out the check of the names.
    fn with_unused_part(&self) -> Option<(Self::Engine, Vec<&'static str>)> {
        None
    }

    /// A new engine whose module has a buffer of 64-bit integers. The default, `None`, leaves out the check that
    /// they are rounded.
    fn with_integer_buffer(&self) -> Option<Self::Engine> {
        None
    }

    /// `engine`, set to leave losses on the device until they are read, also on the CPU. The default, `None`,
    /// leaves out the checks of reads.
    fn reading_later(&self, _engine: Self::Engine) -> Option<Self::Engine> {
        None
    }

    /// Number of reads from the device by this thread so far, of one number or many at once. Called with
    /// [`reading_later`](EngineFixture::reading_later) only.
    fn host_reads() -> u64 {
        0
    }

    /// The rows `rows` of the data, which has [`ROWS`] rows, no two alike.
    fn batch(&self, rows: Range<u64>) -> Self::Batch;

    /// A batch of a shape that the module cannot take.
    fn misshapen(&self) -> Self::Batch;

    /// The mean loss over the rows of `batch`, weighted by their number.
    fn loss(
        &self,
        mode: Mode,
        module: &<Self::Engine as Engine>::Module,
        batch: &Self::Batch,
    ) -> Result<Loss<<Self::Engine as Engine>::Scalar>, BoxError>;

    /// The dimension of a parameter of two or more that counts the outputs of its layer: see
    /// [`Engine::clip_gradient_units`]. Default: the first.
    fn unit_dimension(&self, _parameter: &str) -> usize {
        0
    }

    /// Tolerance between two ways to compute one gradient: the norm of the difference over the norm. 2e-6 is
    /// right for single precision, 1e-13 for double.
    fn tolerance(&self) -> f64;

    /// The name of the test that runs the suite, with its modules, as `cargo test` prints it.
    fn test_name(&self) -> &str;

    /// A learning rate with which a dozen updates change the module and do not diverge. Default: 0.01.
    fn learning_rate(&self) -> f64 {
        0.01
    }
}

/// A check: fails with a description.
pub type Check<F> = fn(&F) -> Result<(), BoxError>;

/// Every check by its name.
pub fn checks<F: EngineFixture>() -> Vec<(&'static str, Check<F>)> {
    macro_rules! named {
        ($($check:ident),* $(,)?) => { vec![$((stringify!($check), $check::<F> as Check<F>)),*] };
    }
    named![
        splitting_a_batch_keeps_its_gradient,
        backward_adds_to_what_is_held,
        a_sum_of_terms_has_their_gradients,
        gradients_go_out_and_come_in,
        clipping_agrees_with_a_hand_computation,
        clipping_by_units_agrees_with_a_hand_computation,
        exchange_hands_out_flat_buckets,
        exchange_holds_what_some_rank_holds,
        exchange_takes_up_buffers,
        an_exchange_during_backward_leaves_the_same_gradients,
        two_ranks_train_as_one,
        a_step_with_a_share_of_the_gradients_leaves_the_rest,
        exchange_takes_up_parameters,
        ranks_with_shares_train_as_one,
        a_step_uses_up_the_gradients,
        rates_go_to_their_groups,
        a_step_uses_the_momentum_that_is_set,
        a_skipped_update_changes_nothing,
        a_frozen_group_stays_as_it_is,
        variables_are_those_of_the_module,
        measuring_changes_no_result,
        what_no_backward_pass_reaches_is_named,
        weights_are_copied_blended_and_exchanged,
        averages_agree_with_a_hand_computation,
        each_precision_trains_or_is_refused,
        what_is_not_finite_is_named,
        a_step_reads_only_what_its_policy_needs,
        what_is_read_later_is_the_same_and_is_told,
        buffers_are_restored,
        seeding_repeats_dropout,
        the_evaluation_view_only_looks,
        what_does_not_fit_is_refused,
        state_goes_out_and_comes_in,
        a_panic_in_the_module_is_an_error,
        a_new_process_continues_with_the_same_bits,
    ]
}

/// Runs every check.
///
/// # Panics
///
/// If any fails; the message names each with its error.
#[track_caller]
pub fn run_all<F: EngineFixture>(fixture: &F) {
    let failures = failures(fixture);
    let lines: Vec<String> = failures.iter().map(|(check, wrong)| format!("{check}: {wrong}")).collect();
    assert!(failures.is_empty(), "the engine fails\n{}", lines.join("\n"));
}

/// Runs every check and returns those that fail, with their errors.
pub fn failures<F: EngineFixture>(fixture: &F) -> Vec<(&'static str, String)> {
    if resume::is_second_process(fixture) {
        return Vec::new();
    }
    let mut failures = Vec::new();
    for (name, check) in checks::<F>() {
        match catch_unwind(AssertUnwindSafe(|| check(fixture))) {
            Ok(Ok(())) => {}
            Ok(Err(wrong)) => failures.push((name, WithCauses(&*wrong).to_string())),
            Err(_) => failures.push((name, "panicked, see above".to_owned())),
        }
    }
    failures
}
