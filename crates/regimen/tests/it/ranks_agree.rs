//! Ranks end together: at the same step with the same reason, or each with an error that names the rank and the cause.
//!
//! No test here asserts a time. A rank that waited for another one until its patience ended would say so in its error.
#![allow(clippy::panic, reason = "a unit is told to panic")]

use std::sync::Arc;
use std::time::Duration;

use regimen::auto_unit::{GradientScaler, NonFinite, TRAIN_SKIPPED};
use regimen::callback::{EarlyStopping, Event, Events, Every, TimeLimit};
use regimen::engine::{Engine as _, Part, Precision};
use regimen::log::{AnomalyLog, AnomalyRule};
use regimen::metric::Key;
use regimen::peers::Peers;
use regimen::run::{Ended, Evaluate, Moment, Report, Restored, Saver, Train, Which};
use regimen::saved::{AppState, Parts};
use regimen::unit::{EvalUnit, TrainUnit};
use regimen::{AutoUnit, BoxError, Error, Fit, Loss, Run, State, Step, Task};
use regimen_test::peers::{Threads, on_ranks};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};
use regimen_test::{Act, BadData, Recorder, Transcript};

/// No call waits as long on any machine that passes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

const TRAIN: Key = Key::mean("train/value");
const EVAL: Key = Key::mean("eval/value");

/// Logs what its batches say: the value of all ranks, and the distance of each rank from it.
struct Told {
    rank: u64,
    act: Option<(&'static str, u64, Act)>,
}

impl Told {
    fn hook(&mut self, hook: &'static str, n: u64) -> Result<(), BoxError> {
        match self.act {
            Some((at, nth, Act::Fail)) if (at, nth) == (hook, n) => Err("told to fail".into()),
            Some((at, nth, Act::Panic)) if (at, nth) == (hook, n) => panic!("told to panic"),
            _ => Ok(()),
        }
    }
}

impl TrainUnit for Told {
    type Batch = [f64; 2];

    fn train_step(&mut self, state: &mut State, [value, apart]: [f64; 2]) -> Result<(), BoxError> {
        state.log(TRAIN, value + (self.rank as f64 - 1.0) * apart, 1.0);
        self.hook("step", state.train_progress().steps + 1)
    }

    fn on_train_start(&mut self, _: &mut State) -> Result<(), BoxError> {
        self.hook("start", 1)
    }

    fn on_train_epoch_end(&mut self, state: &mut State) -> Result<(), BoxError> {
        self.hook("epoch end", state.train_progress().epochs)
    }
}

impl EvalUnit for Told {
    type Batch = [f64; 2];

    fn eval_step(&mut self, state: &mut State, [value, apart]: [f64; 2]) -> Result<(), BoxError> {
        state.log(EVAL, value + (self.rank as f64 - 1.0) * apart, 1.0);
        self.hook("eval step", state.eval_progress().steps + 1)
    }
}

impl AppState for Told {
    fn visit(&mut self, _: &mut dyn Parts) -> Result<(), BoxError> {
        Ok(())
    }
}

type ToldRun = Run<'static, Told>;

const BATCHES: [[f64; 2]; 4] = [[1.0, 0.0]; 4];

/// Runs on three ranks, and returns the step and the end of each, or its error.
fn on_three(
    act: Option<(u64, &'static str, u64, Act)>,
    call: impl Fn(u64, ToldRun) -> Result<Report, Error> + Sync,
) -> [Result<(u64, Ended), String>; 3] {
    let ended = on_ranks(Threads::of(3, PATIENCE), |peers| {
        let rank = peers.rank().index;
        let act = act.filter(|(of, ..)| *of == rank).map(|(_, hook, n, act)| (hook, n, act));
        let run = Run::owned(Told { rank, act }).peers(peers as Arc<dyn Peers>);
        let report = call(rank, run).map_err(|error| format!("{error:#}"))?;
        Ok((report.train.steps, report.ended))
    });
    let ended = ended.into_iter().map(|ended| ended.and_then(|ended| ended));
    ended.collect::<Vec<_>>().try_into().unwrap()
}

/// Fits 3 epochs of 4 steps, and checks the end of each rank.
#[track_caller]
fn check_end(step: u64, ended: Ended, change: impl Fn(u64, ToldRun) -> ToldRun + Sync) {
    let found = on_three(None, |rank, run| change(rank, run).fit(&BATCHES, &BATCHES[..2], Fit::epochs(3)));
    assert_eq!(found, [(); 3].map(|()| Ok((step, ended.clone()))));
}

fn paused(reason: &str) -> Ended {
    Ended::Paused(reason.to_owned())
}

fn finished(reason: &str) -> Ended {
    Ended::Finished(reason.to_owned())
}

/// Asks for a stop on one rank, at the end of its `n`-th training step.
fn stops(run: ToldRun, n: u64, stop: impl Fn(&mut State) + Send + 'static) -> ToldRun {
    run.on(Event::TrainStepEnd, move |state: &mut State, _: &mut Told| {
        if state.train_progress().steps == n {
            stop(state);
        }
    })
}

#[test]
fn a_stop_on_one_rank_is_one_of_all_with_its_reason() {
    check_end(12, Ended::Complete, |_, run| run);
    // A signal, or another thread.
    check_end(7, paused("SIGTERM"), |rank, run| match rank {
        2 => stops(run, 7, |state| state.pause_handle().pause("SIGTERM")),
        _ => run,
    });
    check_end(3, paused("of rank 1"), |rank, run| match rank {
        0 => run,
        _ => stops(run, 3, move |state| state.pause(format!("of rank {rank}"))),
    });
    check_end(8, finished("of rank 2"), |rank, run| match rank {
        2 => stops(run, 8, |state| state.finish("of rank 2")),
        _ => stops(run, 8, move |state| state.pause(format!("of rank {rank}"))),
    });
    // Asked for before the first step, and in an evaluation.
    check_end(0, paused("before"), |rank, run| {
        if rank == 1 {
            run.pause_handle().pause("before");
        }
        run
    });
    check_end(4, paused("evaluation"), |rank, run| match rank {
        1 => run.on(Event::EvalStepEnd, |state: &mut State, _: &mut Told| state.pause("evaluation")),
        _ => run,
    });
}

#[test]
fn a_pause_at_the_end_of_a_pass_by_hand_is_in_the_report_of_each_rank() {
    let found = on_three(None, |rank, run| {
        let run = run.on(Event::EvalEpochEnd, move |state: &mut State, _: &mut Told| {
            if rank == 2 {
                state.pause("at its end");
            }
        });
        let mut run = run;
        run.evaluate(&BATCHES, Evaluate::whole())
    });
    assert_eq!(found, [(); 3].map(|()| Ok((0, paused("at its end")))));
}

#[test]
fn the_clock_of_the_first_rank_ends_the_time() {
    let limit = |own| {
        move |rank, run: ToldRun| {
            run.callback(TimeLimit::new(if rank == own {
                Duration::ZERO
            } else {
                Duration::from_secs(86_400)
            }))
        }
    };
    check_end(0, paused("time limit of 0 s reached"), limit(0));
    check_end(12, Ended::Complete, limit(2));
}

/// Batches of which each epoch has the next value, over all ranks alike and apart by `apart`.
fn epochs(values: [f64; 4], apart: f64) -> impl Fn(u64) -> Vec<[f64; 2]> {
    move |epoch| vec![[values[epoch as usize], apart]; 2]
}

#[test]
fn early_stopping_judges_the_value_of_all_ranks_at_the_end_of_an_epoch() {
    // The values of ranks 0 and 2 are 100 apart from the mean, and fall and rise.
    let told = epochs([3.0, 2.0, 2.0, 1.0], 0.0);
    let found = on_three(None, |rank, run| {
        let mut run = run.callback(EarlyStopping::min(EVAL, 1));
        let mut report = None;
        for epoch in 0..4 {
            let mut eval = told(epoch);
            // Rank 2 alone never improves, and rank 0 always does.
            eval.iter_mut().for_each(|batch| batch[1] = if rank == 1 { 0.0 } else { epoch as f64 });
            report = Some(run.fit(&BATCHES, &eval, Fit::epochs(epoch + 1))?);
        }
        report.ok_or_else(|| Error::config("no epoch"))
    });
    let reason = "early stopping: eval/value has not improved on 2 in 1 check";
    assert_eq!(found, [(); 3].map(|()| Ok((12, finished(reason)))));
}

#[test]
fn early_stopping_judges_the_share_of_the_first_rank_at_steps() {
    let fall = |falls: u64| {
        move |rank, run: ToldRun| -> Result<Report, Error> {
            let value = |step: usize| if rank == falls { -(step as f64) } else { 5.0 };
            let batches: Vec<[f64; 2]> = (0..12).map(|step| [value(step), 0.0]).collect();
            let rule =
                EarlyStopping::min(TRAIN, 3).phase(regimen::state::Phase::Train).every(Every::steps(2));
            run.callback(rule).train(&batches, Train::epochs(1))
        }
    };
    assert_eq!(on_three(None, fall(0)), [(); 3].map(|()| Ok((12, Ended::Complete))));
    let reason = "early stopping: train/value has not improved on 5 in 3 checks";
    assert_eq!(on_three(None, fall(1)), [(); 3].map(|()| Ok((8, finished(reason)))));
}

#[test]
fn an_anomaly_in_the_share_of_one_rank_pauses_all() {
    let found = on_three(None, |rank, mut run| {
        let rule = AnomalyRule::above(TRAIN, 10.0).pause();
        run = run.callback(AnomalyLog::new().rule(rule).every(Every::steps(1)));
        let value = if rank == 1 { 11.0 } else { 1.0 };
        run.train(&[[1.0, 0.0], [value, 0.0], [1.0, 0.0]], Train::epochs(2))
    });
    let reason = "anomaly: `train/value` is 11, above 10 in step 2";
    assert_eq!(found, [(); 3].map(|()| Ok((2, paused(reason)))));
}

/// Checks that rank `of` ends with the error `own`, and the others with one at `place` that has it.
#[track_caller]
fn check_errors(found: [Result<(u64, Ended), String>; 3], of: usize, own: &str, place: &str) {
    for (rank, found) in found.into_iter().enumerate() {
        let expected = match rank == of {
            true => own.to_owned(),
            false => format!("{place}: rank {of} failed: {own}"),
        };
        assert_eq!(found, Err(expected), "rank {rank}");
    }
}

#[track_caller]
fn check_act(act: (u64, &'static str, u64, Act), own: &str, place: &str) {
    let found = on_three(Some(act), |_, mut run| run.fit(&BATCHES, &BATCHES[..2], Fit::epochs(2)));
    check_errors(found, act.0 as usize, own, place);
}

#[test]
fn an_error_or_a_panic_of_the_unit_on_one_rank_ends_all_with_its_cause() {
    check_act(
        (1, "step", 3, Act::Fail),
        "unit failed in train_step in train at epoch 0 step 2: told to fail",
        "agreement of the ranks failed in train at epoch 0 step 3",
    );
    check_act(
        (2, "step", 5, Act::Panic),
        "unit panicked in train_step in train at epoch 1 step 4: told to panic",
        "agreement of the ranks failed in train at epoch 1 step 5",
    );
    check_act(
        (0, "eval step", 2, Act::Fail),
        "unit failed in eval_step in eval at epoch 0 step 1: told to fail",
        "agreement of the ranks failed in eval at epoch 0 step 2",
    );
    check_act(
        (0, "start", 1, Act::Fail),
        "unit failed in on_train_start in train at epoch 0 step 0: told to fail",
        "agreement of the ranks failed in train at epoch 0 step 0",
    );
    check_act(
        (1, "epoch end", 2, Act::Panic),
        "unit panicked in on_train_epoch_end in train at epoch 2 step 8: told to panic",
        "agreement of the ranks failed in train at epoch 2 step 8",
    );
}

#[test]
fn an_error_or_a_panic_of_a_callback_on_one_rank_ends_all_with_its_cause() {
    let check = |event: Event, act: Act, own: &str, place: &str| {
        let found = on_three(None, |rank, run| {
            let recorder = Recorder::new(&Transcript::new()).events(Events::of(&[event]));
            let recorder = if rank == 1 { recorder.at(event, 1, act) } else { recorder };
            run.callback(recorder).fit(&BATCHES, &BATCHES[..2], Fit::epochs(2))
        });
        check_errors(found, 1, own, place);
    };
    check(
        Event::TrainStepEnd,
        Act::Fail,
        "callback cb failed at train step end in train at epoch 0 step 1: told to fail",
        "agreement of the ranks failed in train at epoch 0 step 1",
    );
    check(
        Event::EvalEpochEnd,
        Act::Panic,
        "callback cb panicked at eval epoch end in eval at epoch 1 step 2: told to panic",
        "agreement of the ranks failed in eval at epoch 1 step 2",
    );
    check(
        Event::TrainEnd,
        Act::Fail,
        "callback cb failed at train end in train at epoch 2 step 8: told to fail",
        "agreement of the ranks failed in train at epoch 2 step 8",
    );
}

#[test]
fn an_error_or_a_panic_of_the_data_on_one_rank_ends_all_with_its_cause() {
    type Bad = BadData<[[f64; 2]; 4]>;
    let check = |bad: fn(Bad) -> Bad, own: &str, place: &str| {
        let found = on_three(None, |rank, mut run| {
            let data = BadData::new(BATCHES);
            run.train(&if rank == 2 { bad(data) } else { data }, Train::epochs(2))
        });
        check_errors(found, 2, own, place);
    };
    check(
        |data| data.fail_at(2),
        "data failed in train at epoch 0 step 1: told to fail",
        "agreement of the ranks failed in train at epoch 0 step 1",
    );
    check(
        |data| data.panic_at(3),
        "data panicked in train at epoch 0 step 2: told to panic",
        "agreement of the ranks failed in train at epoch 0 step 2",
    );
    check(
        |data| data.fail_epoch_at(2),
        "data failed in train at epoch 1 step 4: told to fail",
        "agreement of the ranks failed in train at epoch 1 step 4",
    );
}

#[test]
fn data_that_is_one_batch_shorter_on_one_rank_is_an_error_on_all() {
    for claims in [true, false] {
        let found = on_three(None, |rank, mut run| {
            let batches = BATCHES[..if rank == 1 { 3 } else { 4 }].to_vec();
            let data = BadData::new(batches);
            run.train(&if claims { data } else { data.claim(None) }, Train::epochs(2))
        });
        for (rank, found) in found.into_iter().enumerate() {
            let here = if rank == 1 { "is one of them" } else { "has more batches" };
            let expected = format!(
                "agreement of the ranks failed in train at epoch 0 step 2: the epoch is over on 1 of 3 ranks, and \
                 rank {rank} {here}; give every rank as many batches"
            );
            assert_eq!(found, Err(expected));
        }
    }
}

/// A saver that fails at the end of a step.
struct BadSaver {
    fails: bool,
}

impl Saver for BadSaver {
    fn on_event(&mut self, event: Event, moment: &mut Moment<'_>) -> Result<(), BoxError> {
        let due = event == Event::TrainStepEnd && moment.state().train_progress().steps == 2;
        if self.fails && due { Err("told to fail".into()) } else { Ok(()) }
    }

    fn restore(&mut self, _: Which<'_>, _: &mut Moment<'_>) -> Result<Option<Restored>, BoxError> {
        if self.fails { Err("told to fail".into()) } else { Ok(None) }
    }
}

#[test]
fn an_error_of_the_saver_on_one_rank_ends_all_with_its_cause() {
    for of in 0..3 {
        let found = on_three(None, |rank, run| {
            run.saver(BadSaver { fails: rank == of }).train(&BATCHES, Train::epochs(1))
        });
        let own = "state failed in train at epoch 0 step 2: told to fail";
        check_errors(found, of as usize, own, "agreement of the ranks failed in train at epoch 0 step 2");
        let found = on_three(None, |rank, run| {
            let mut run = run.saver(BadSaver { fails: rank == of });
            run.restore_latest()?;
            run.train(&BATCHES, Train::epochs(1))
        });
        let own = "state failed in train at epoch 0 step 0: told to fail";
        check_errors(found, of as usize, own, "agreement of the ranks failed in train at epoch 0 step 0");
    }
}

/// Fits the mean of a batch to 0.
struct Mean;

type Engine = ToyEngine<ToyMlp>;

impl Task<Engine> for Mean {
    type Batch = ToyArray;
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        net: &ToyMlp,
        x: &ToyArray,
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        let output = net.forward(x);
        Ok((Loss::mean(output.mul(&output).mean(), x.shape()[0] as f64), ()))
    }
}

/// The end of a rank: updates, updates that were skipped, the value of `TRAIN_SKIPPED`, the scale, and the module.
type Trained = (u64, u64, Option<f64>, Option<f64>, regimen::saved::StateDict);

/// Trains 6 steps on three ranks. The input of rank 1 in the third step is `input`.
fn trained(
    input: f64,
    settings: impl Fn(u64, AutoUnit<Engine, Mean>) -> AutoUnit<Engine, Mean> + Sync,
) -> [Result<Trained, String>; 3] {
    let trained = on_ranks(Threads::of(3, PATIENCE), |peers| {
        let rank = peers.rank().index;
        manual_seed(7);
        let mut vars = ToyVars::new();
        let net = ToyMlp::plain(&mut vars, [1, 3, 1]);
        let unit =
            AutoUnit::new(ToyEngine::new(vars, net, ToyOptimizer::sgd(0.5)), Mean).learning_rate(0.125);
        let mut unit = settings(rank, unit);
        let batch = |step| {
            let value = if (rank, step) == (1, 2) { input } else { 1.0 + step as f64 };
            ToyArray::new(&[rank as usize + 1, 1], &vec![value; rank as usize + 1])
        };
        let batches: Vec<ToyArray> = (0..6).map(batch).collect();
        let mut run = Run::new(&mut unit).peers(peers as Arc<dyn Peers>);
        let report = run.train(&batches, Train::epochs(1)).map_err(|error| format!("{error:#}"))?;
        drop(run);
        let module = unit.engine().state(Part::Module).map_err(|error| error.to_string())?;
        let skipped = report.metric(TRAIN_SKIPPED);
        Ok((report.train.updates, unit.skipped(), skipped, unit.gradient_scale(), module))
    });
    let trained = trained.into_iter().map(|trained| trained.and_then(|trained| trained));
    trained.collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn a_loss_that_is_not_finite_on_one_rank_is_skipped_by_all() {
    for accumulate in [1, 2] {
        let found = trained(f64::NAN, |_, unit| unit.non_finite(NonFinite::Skip).accumulate(accumulate));
        let (updates, skipped, logged, scale, module) = found[0].clone().unwrap();
        assert_eq!((updates, skipped, logged, scale), (6 / accumulate - 1, 1, Some(1.0), None));
        found.into_iter().for_each(|other| assert_eq!(other.unwrap().4, module));
    }
}

#[test]
fn a_loss_that_is_not_finite_on_one_rank_is_an_error_on_all() {
    let found = trained(f64::NAN, |_, unit| unit.non_finite(NonFinite::Error));
    let own = "unit failed in train_step in train at epoch 0 step 2: the loss is not finite: NaN";
    for (rank, found) in found.into_iter().enumerate() {
        let expected = match rank {
            1 => own.to_owned(),
            _ => format!("unit failed in train_step in train at epoch 0 step 2: rank 1 failed: {own}"),
        };
        assert_eq!(found.map(drop), Err(expected));
    }
}

#[test]
fn an_overflow_in_half_precision_on_one_rank_is_skipped_by_all_and_lowers_the_scale_of_all() {
    let found = trained(1.0, |rank, unit| {
        let mut step = 0;
        let overflow = move |engine: &mut Engine, _: &mut State| {
            step += 1;
            if (rank, step) == (1, 3) { engine.scale_gradients(f64::INFINITY) } else { Ok(()) }
        };
        let scaler = GradientScaler::new().initial(64.0).back_off(0.25);
        unit.precision(Precision::F16).gradient_scaler(scaler).after_backward(overflow)
    });
    let (updates, skipped, logged, scale, module) = found[0].clone().unwrap();
    assert_eq!((updates, skipped, logged, scale), (5, 1, Some(1.0), Some(16.0)));
    found.into_iter().for_each(|other| assert_eq!(other.unwrap().4, module));
}
