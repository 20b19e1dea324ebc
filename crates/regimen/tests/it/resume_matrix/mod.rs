//! A run on the toy engine, paused anywhere and finished in new processes, ends with the same bytes;
//! and each thing this depends on is shown to matter.
#![allow(clippy::panic, clippy::unwrap_used)]

mod broken;
mod toy;

use broken::{Broken, Defect};
use regimen::engine::Precision;
use regimen_test::resume_matrix::{Cell, Interface, failures, run_all};
use toy::{TOY, Toy, toy};

#[test]
fn the_toy_engine_resumes_to_the_bit() {
    run_all(&TOY, &Cell::all());
}

#[test]
fn the_toy_engine_in_fp16_resumes_to_the_bit() {
    let fixture = toy("resume_matrix::the_toy_engine_in_fp16_resumes_to_the_bit");
    run_all(&Toy { precision: Precision::F16, ..fixture }, &Cell::each_stop());
}

#[test]
fn losses_that_are_read_later_are_resumed_to_the_bit() {
    let fixture = toy("resume_matrix::losses_that_are_read_later_are_resumed_to_the_bit");
    run_all(&Toy { reads_later: true, ..fixture }, &Cell::each_stop());
}

#[test]
fn a_step_that_fails_while_losses_are_not_read_happens_or_does_not() {
    let fixture = toy("resume_matrix::a_step_that_fails_while_losses_are_not_read_happens_or_does_not");
    run_all(&Toy { reads_later: true, ..fixture }, &Cell::faults());
}

#[test]
fn a_runner_resumes_to_the_bit() {
    let fixture = toy("resume_matrix::a_runner_resumes_to_the_bit");
    run_all(&Toy { interface: Interface::ByRunner, ..fixture }, &Cell::each_stop());
}

#[test]
fn a_fit_loop_resumes_to_the_bit() {
    let fixture = toy("resume_matrix::a_fit_loop_resumes_to_the_bit");
    run_all(&Toy { interface: Interface::ByFitLoop, ..fixture }, &Cell::each_stop());
}

#[test]
fn ranks_of_a_runner_resume_to_the_bit() {
    let fixture = toy("resume_matrix::ranks_of_a_runner_resume_to_the_bit");
    run_all(&Toy { interface: Interface::ByRunner, ..fixture }, &ranks());
}

#[test]
fn ranks_of_a_fit_loop_resume_to_the_bit() {
    let fixture = toy("resume_matrix::ranks_of_a_fit_loop_resume_to_the_bit");
    run_all(&Toy { interface: Interface::ByFitLoop, ..fixture }, &ranks());
}

/// An interruption in addition to a pause, one test for each kind.
macro_rules! untouched {
    ($($test:ident: $cells:ident;)*) => {
        $(
            #[test]
            fn $test() {
                run_all(&toy(concat!("resume_matrix::", stringify!($test))), &Cell::$cells());
            }
        )*
    };
}

untouched! {
    passes_by_hand_touch_nothing: by_hand;
    a_step_that_fails_happens_or_does_not: faults;
    a_window_ends_with_its_epoch_under_another_cap: caps;
    a_final_stop_at_the_end_of_an_epoch_is_exact: final_stops;
    a_prediction_is_continued_and_stays_finished: predictions;
    ranks_resume_to_the_bit: ranks;
    any_number_of_ranks_goes_on: any_ranks;
}

/// Every fourth stop.
fn some_cells() -> Vec<Cell> {
    Cell::each_stop().into_iter().step_by(4).collect()
}

fn by_hand() -> Vec<Cell> {
    Cell::by_hand().into_iter().step_by(4).collect()
}

fn caps() -> Vec<Cell> {
    Cell::caps()
}

fn predictions() -> Vec<Cell> {
    Cell::predictions()
}

/// Some stops, on each number of ranks.
fn ranks() -> Vec<Cell> {
    Cell::ranks().into_iter().step_by(7).collect()
}

/// Some changes of the number of ranks.
fn any_ranks() -> Vec<Cell> {
    Cell::any_ranks().into_iter().filter(|cell| cell.legs.len() == 2).step_by(6).collect()
}

/// Failures after which another process continues.
fn failures_and_restarts() -> Vec<Cell> {
    Cell::faults().into_iter().filter(|cell| cell.legs.len() == 2).step_by(3).collect()
}

fn final_pauses() -> Vec<Cell> {
    Cell::final_stops().into_iter().filter(|cell| cell.legs.len() == 2).collect()
}

/// One test for each defect, because the matrix starts its test again and again. Each must show in the
/// named cells, after a third of the stops or more: a window, for one, is under way at half of them.
macro_rules! caught {
    ($($test:ident: $defect:ident $(of $interface:ident)? in $cells:ident => $seen:literal;)*) => {
        $(
            #[test]
            fn $test() {
                let cells = $cells();
                let interface = interface!($($interface)?);
                let test = concat!("resume_matrix::", stringify!($test));
                let failures = failures(&Broken { defect: Defect::$defect, interface, test }, &cells);
                let seen = failures.iter().filter(|wrong| wrong.contains($seen)).count();
                assert!(cells.len() <= 3 * seen, "{seen} of {} cells: {failures:#?}", cells.len());
            }
        )*
    };
}

macro_rules! interface {
    () => {
        Interface::ByUnit
    };
    ($interface:ident) => {
        Interface::$interface
    };
}

caught! {
    no_seeding_of_steps: NoSeeding in some_cells => "module/hidden.weight differs";
    held_gradients_that_are_lost: NoGradients in some_cells => "optimizer/hidden.weight.first_moment differs";
    data_that_is_not_skipped: NoSkip in some_cells => "order.txt differs";
    metrics_in_flight_that_are_lost: NoMetrics in some_cells => "epochs.txt differs";
    logs_that_begin_anew: NoCallbacks in some_cells => "metrics.csv differs";
    columns_that_begin_anew: NoCallbacks in some_cells => "metrics.wide.csv differs";
    records_of_wandb_that_begin_anew: NoCallbacks in some_cells => "metrics.wandb differs";
    logs_in_memory_that_begin_anew: NoCallbacks in some_cells => "callbacks.MetricLog(memory).state.counts differs";
    a_scale_that_begins_anew: NoScale in some_cells => "auto_unit/skipped differs";
    averages_that_begin_anew: NoAverage in some_cells => "averaged_module/hidden.weight differs";
    a_plateau_that_begins_anew: NoPlateau in some_cells => "auto_unit/plateau.scale differs";
    early_stopping_that_begins_anew: NoCallbacks in some_cells => "callbacks.EarlyStopping(min eval/loss in eval).state.waited differs";
    passes_by_hand_without_the_metrics_in_flight: NoMetrics in by_hand => "epochs.txt differs";
    a_step_that_fails_without_the_window: NoGradients in failures_and_restarts => "optimizer/hidden.weight.first_moment differs";
    another_cap_without_the_window: NoGradients in caps => "optimizer/hidden.weight.first_moment differs";
    a_final_stop_without_what_decides_it: NoCallbacks in final_pauses => "epochs.txt differs";
    predictions_that_begin_anew: NoPasses in predictions => "the predictions are";
    ranks_without_held_gradients: NoGradients in ranks => "optimizer/hidden.weight.first_moment differs";
    ranks_without_the_window: NoWindow in ranks => "auto_unit/updates differs";
    ranks_without_the_metrics_in_flight: NoMetrics in ranks => "epochs.txt differs";
    another_number_of_ranks_without_held_gradients: NoGradients in any_ranks => "optimizer/hidden.weight.first_moment differs";
    another_number_of_ranks_without_the_metrics_in_flight: NoMetrics in any_ranks => "epochs.txt differs";
    metrics_of_epochs_that_begin_anew: NoTask of ByRunner in some_cells => "epochs.txt differs";
    stages_that_begin_anew: NoTask of ByFitLoop in some_cells => "epochs.txt differs";
    best_weights_that_begin_anew: NoCallbacks of ByFitLoop in some_cells => "best.txt differs";
    a_runner_without_held_gradients: NoGradients of ByRunner in some_cells => "optimizer/hidden.weight.first_moment differs";
}

#[test]
fn the_wrapper_itself_is_sound() {
    let fixture = Broken {
        defect: Defect::None,
        interface: Interface::ByUnit,
        test: "resume_matrix::the_wrapper_itself_is_sound",
    };
    assert_eq!(failures(&fixture, &some_cells()), [""; 0]);
}

#[test]
fn a_misnamed_test_is_told() {
    let failures = failures(
        &Broken { defect: Defect::None, interface: Interface::ByUnit, test: "no_test_of_this_name" },
        &[],
    );
    let [wrong] = &failures[..] else { panic!("{failures:?}") };
    assert!(wrong.contains("`no_test_of_this_name`"), "{wrong}");
}
