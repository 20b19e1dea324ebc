//! The engine suite passes over the toy engine, and fails over every engine with a defect.

mod broken;
mod toy;

use broken::{Broken, BrokenEngine, Defect, READS_FAIL};
use regimen_core::run::Evaluate;
use regimen_core::{AutoUnit, BoxError, Loss, Run, Step, Task};
use regimen_test::engine_suite::{EngineFixture, checks, failures, run_all};
use regimen_test::toy::{ToyArray, ToyMlp};
use toy::Toy;

#[test]
fn the_toy_engine_passes() {
    run_all(&Toy);
}

/// One test for each defect, because the suite starts the test it is in a second time.
macro_rules! caught {
    ($($test:ident: $defect:ident => [$($check:ident),+];)*) => {
        $(
            #[test]
            fn $test() {
                let fixture = Broken { defect: Defect::$defect, test: concat!("engine_suite::", stringify!($test)) };
                let failures = failures(&fixture);
                for check in [$(stringify!($check)),+] {
                    let found = failures.iter().any(|(name, _)| *name == check);
                    assert!(found, "{check} did not see it; {failures:#?}");
                }
            }
        )*

        #[test]
        fn every_check_sees_some_defect() {
            let seen = [$($(stringify!($check)),+),*];
            for (check, _) in checks::<Toy>() {
                assert!(seen.contains(&check), "{check} is not seen to fail");
            }
        }
    };
}

caught! {
    a_seed_that_is_ignored: IgnoresTheSeed => [seeding_repeats_dropout];
    a_seed_that_never_changes: SeedsAlike => [seeding_repeats_dropout];
    a_seed_that_depends_on_the_process: SeedsByProcess => [a_new_process_continues_with_the_same_bits];
    a_factor_that_is_ignored: IgnoresTheFactor =>
        [splitting_a_batch_keeps_its_gradient, backward_adds_to_what_is_held];
    a_sum_without_weights: SumsWithoutWeights => [a_sum_of_terms_has_their_gradients];
    a_sum_that_cuts_graphs: SumsWithoutGraphs => [a_sum_of_terms_has_their_gradients];
    a_sum_of_nothing: SumsNothing => [a_sum_of_terms_has_their_gradients];
    gradients_that_do_not_add_up: ForgetsHeldGradients =>
        [splitting_a_batch_keeps_its_gradient, backward_adds_to_what_is_held];
    a_scale_slightly_off: ScalesSlightlyOff =>
        [splitting_a_batch_keeps_its_gradient, clipping_agrees_with_a_hand_computation];
    a_norm_that_omits_a_parameter: NormOmitsAParameter => [clipping_agrees_with_a_hand_computation];
    a_clamp_from_above_only: ClampsFromAbove => [clipping_agrees_with_a_hand_computation];
    units_of_whole_parameters: ClipsWholeParameters => [clipping_by_units_agrees_with_a_hand_computation];
    units_without_a_floor: ClipsWithoutAFloor => [clipping_by_units_agrees_with_a_hand_computation];
    units_slightly_off: ClipsUnitsSlightlyOff => [clipping_by_units_agrees_with_a_hand_computation];
    units_that_hide_nan: ClipsUnitsToZeroAtNan => [clipping_by_units_agrees_with_a_hand_computation];
    nan_that_is_overlooked: OverlooksNan =>
        [clipping_agrees_with_a_hand_computation, a_skipped_update_changes_nothing];
    gradients_that_are_not_given_but_kept: KeepsGradientsNotGiven => [gradients_go_out_and_come_in];
    gradients_that_cannot_be_set: SetsNoGradients =>
        [gradients_go_out_and_come_in, a_new_process_continues_with_the_same_bits];
    gradients_that_are_not_discarded: DiscardsNothing =>
        [gradients_go_out_and_come_in, a_skipped_update_changes_nothing];
    a_bucket_that_is_too_large: IgnoresTheBucketSize => [exchange_hands_out_flat_buckets];
    buckets_back_to_front: ReversesBuckets => [exchange_hands_out_flat_buckets];
    buckets_that_are_not_read_back: IgnoresTheExchange =>
        [exchange_hands_out_flat_buckets, two_ranks_train_as_one];
    gradients_lost_in_a_failed_exchange: LosesGradientsInExchange => [exchange_hands_out_flat_buckets];
    gradients_of_zeros_that_no_rank_held: HoldsWhatNobodyHeld => [exchange_holds_what_some_rank_holds];
    gradients_of_other_ranks_that_are_dropped: DropsGradientsOfOthers => [exchange_holds_what_some_rank_holds];
    gradients_without_flags: PassesNoFlags =>
        [exchange_hands_out_flat_buckets, exchange_holds_what_some_rank_holds];
    buffers_that_are_not_passed: PassesNoBuffers => [exchange_takes_up_buffers];
    buffers_of_nothing: PassesEmptyBuffers => [exchange_takes_up_buffers];
    buffers_back_to_front: ReversesBuffers => [exchange_takes_up_buffers];
    buffers_that_are_not_taken_up: TakesUpNoBuffers => [exchange_takes_up_buffers];
    buffers_of_an_exchange_that_failed: ChangesBuffersInFailedExchange => [exchange_takes_up_buffers];
    integers_that_are_truncated: TruncatesIntegers => [exchange_takes_up_buffers];
    weights_that_move_with_buffers: MovesWeightsWithBuffers => [exchange_takes_up_buffers];
    gradients_that_are_all_retained: RetainsAllGradients =>
        [a_step_with_a_share_of_the_gradients_leaves_the_rest, ranks_with_shares_train_as_one];
    a_step_that_moves_the_rest: MovesUnreachedParameters => [a_step_with_a_share_of_the_gradients_leaves_the_rest];
    an_overlap_without_the_factor: OverlapsWithoutTheFactor => [an_exchange_during_backward_leaves_the_same_gradients];
    an_overlap_without_the_mean: OverlapsWithoutTheMean => [an_exchange_during_backward_leaves_the_same_gradients];
    an_overlap_over_errors: OverlapsOverErrors => [an_exchange_during_backward_leaves_the_same_gradients];
    parameters_back_to_front: ReversesParameters => [exchange_takes_up_parameters];
    frozen_parameters_that_are_exchanged: ExchangesFrozenParameters => [exchange_takes_up_parameters];
    parameters_that_are_not_taken_up: TakesUpNoParameters =>
        [exchange_takes_up_parameters, ranks_with_shares_train_as_one];
    parameters_of_every_rank: IgnoresOwners => [exchange_takes_up_parameters, ranks_with_shares_train_as_one];
    a_step_that_keeps_the_gradients: StepKeepsGradients => [a_step_uses_up_the_gradients];
    one_rate_for_all_groups: UsesOneRate => [rates_go_to_their_groups];
    any_number_of_rates: TakesAnyRates => [rates_go_to_their_groups];
    a_momentum_that_is_ignored: IgnoresMomentum => [a_step_uses_the_momentum_that_is_set];
    a_momentum_that_restarts: RestartsAtMomentum => [a_step_uses_the_momentum_that_is_set];
    a_momentum_that_cannot_be_zero: LeavesOutNoMomentum => [a_step_uses_the_momentum_that_is_set];
    a_skip_that_moves_parameters: MovesAtNan => [a_skipped_update_changes_nothing];
    dropout_in_evaluation: EvaluatesInTraining => [the_evaluation_view_only_looks];
    gradients_in_evaluation: RecordsEvaluation => [the_evaluation_view_only_looks];
    a_module_left_in_evaluation: StaysInEvaluation =>
        [the_evaluation_view_only_looks];
    checks_that_accept_anything: ChecksNothing => [what_does_not_fit_is_refused];
    a_load_that_changes_half: LoadsHalf => [what_does_not_fit_is_refused];
    an_optimizer_that_is_not_saved: SavesNoOptimizer =>
        [state_goes_out_and_comes_in, what_does_not_fit_is_refused, a_new_process_continues_with_the_same_bits];
    an_optimizer_that_is_not_loaded: LoadsNoOptimizer =>
        [state_goes_out_and_comes_in, a_new_process_continues_with_the_same_bits];
    buffers_that_are_not_saved: SavesNoBuffers =>
        [state_goes_out_and_comes_in, a_new_process_continues_with_the_same_bits];
    gradients_lost_in_a_panic: LosesGradientsInPanic => [a_panic_in_the_module_is_an_error];
    a_precision_that_is_ignored: IgnoresThePrecision => [each_precision_trains_or_is_refused];
    a_precision_that_cannot_be_left: KeepsThePrecision => [each_precision_trains_or_is_refused];
    a_freeze_without_effect: FreezesNothing => [a_frozen_group_stays_as_it_is];
    a_freeze_that_does_not_last: FreezesByRateAlone => [a_frozen_group_stays_as_it_is];
    an_average_that_goes_too_far: BlendsTooFar =>
        [weights_are_copied_blended_and_exchanged, averages_agree_with_a_hand_computation];
    buffers_that_are_not_averaged: BlendsNoBuffers =>
        [weights_are_copied_blended_and_exchanged, averages_agree_with_a_hand_computation];
    weights_that_are_not_exchanged: SwapsNothing =>
        [weights_are_copied_blended_and_exchanged, averages_agree_with_a_hand_computation];
    weights_that_are_copied_over: SwapsOneWay =>
        [weights_are_copied_blended_and_exchanged, averages_agree_with_a_hand_computation];
    a_pass_that_is_forgotten_with_its_gradients: CallsHeldReached => [what_no_backward_pass_reaches_is_named];
    unreached_parameters_that_are_frozen: NamesTheFrozen => [what_no_backward_pass_reaches_is_named];
    zeros_of_an_exchange_taken_for_gradients: ReachesByExchange => [what_no_backward_pass_reaches_is_named];
    a_pass_that_is_said_to_reach_all: ReachesAllAtOnce => [what_no_backward_pass_reaches_is_named];
    a_loss_that_is_read_in_each_step: ReadsEachLoss => [a_step_reads_only_what_its_policy_needs];
    a_norm_that_is_read_in_each_step: ReadsEachNorm => [a_step_reads_only_what_its_policy_needs];
    an_update_that_is_made_of_nan: SkipsNothing => [what_is_read_later_is_the_same_and_is_told];
    frozen_parameters_that_are_listed_as_trained: CallsTheFrozenTrained => [variables_are_those_of_the_module];
    buffers_that_are_not_listed: ListsNoBuffers => [variables_are_those_of_the_module];
    measuring_that_does_not_end: MeasuresForEver => [measuring_changes_no_result];
    measuring_that_changes_gradients: ScalesWhileMeasuring => [measuring_changes_no_result];
    buffers_that_are_not_remembered: KeepsNoBuffers => [buffers_are_restored];
    buffers_that_keep_nan: RestoresNoBuffersAtNan => [buffers_are_restored];
    gradients_that_are_not_handed_out: HidesGradients => [what_is_not_finite_is_named];
}

#[test]
fn the_wrapper_itself_is_sound() {
    run_all(&Broken { defect: Defect::None, test: "engine_suite::the_wrapper_itself_is_sound" });
}

/// The loss of the toy fixture.
struct ToyTask;

impl Task<BrokenEngine> for ToyTask {
    type Batch = <Toy as EngineFixture>::Batch;
    type Output = ();

    fn compute_loss(
        &mut self,
        step: &Step,
        module: &ToyMlp,
        batch: &Self::Batch,
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        Ok((Toy.loss(step.mode, module, batch)?, ()))
    }
}

#[test]
fn an_evaluation_whose_losses_cannot_be_read_is_an_error() {
    let fixture = Broken { defect: Defect::None, test: "" };
    let mut unit = AutoUnit::new(fixture.reading_later(fixture.plain()).unwrap(), ToyTask);
    let mut run = Run::new(&mut unit);
    READS_FAIL.set(true);
    let error = run.evaluate(&[Toy.batch(0..4)], Evaluate::whole()).unwrap_err();
    READS_FAIL.set(false);
    assert_eq!(
        format!("{error:#}"),
        "unit failed in on_eval_epoch_end in eval at epoch 1 step 1: the device is gone"
    );
}

#[test]
fn a_misnamed_test_is_told() {
    let failures = failures(&Broken { defect: Defect::None, test: "no_test_of_this_name" });
    let [(check, wrong)] = &failures[..] else { panic!("{failures:?}") };
    assert_eq!(*check, "a_new_process_continues_with_the_same_bits");
    assert!(wrong.contains("`no_test_of_this_name`"), "{wrong}");
}
