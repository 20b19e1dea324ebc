//! The history of a `FitLoop`: its runs and their values.

use regimen::callback::Event;
use regimen::checkpoint::Checkpointer;
use regimen::fitloop::{DryRun, FitLoop, History, RunHistory, RunStatus, Set, record};
use regimen::run::Evaluate;
use regimen::saved::{Array, StateDict, load_parts, save_parts};
use regimen::{BoxError, State};
use regimen_test::toy::host_reads;

use crate::fitloop::{Trainer, Unit, bare, cause, classifier, criterion, engine, forward, loader};

/// A trainer of two steps per epoch whose stages return numbers that are known: `n` is 0, 1, 2, .. at the steps, 10 per
/// epoch at the ends, and minus the epoch at the starts.
fn counting<'a>() -> Trainer<'a> {
    bare()
        .train_data(loader(0, 8))
        .valid_data(loader(0, 4))
        .test_data(loader(0, 4))
        .step(|s| {
            let output = s.output();
            Ok((s.loss(&output)?, record! { n: s.step().index as f64 }))
        })
        .epoch_start(|s| Ok(record! { begun: -(s.epoch() as f64) }))
        .epoch_end(|s| Ok(record! { end: 10.0 * s.epoch() as f64 }))
}

/// Status, starts, steps and ends of each run over `set`.
type Found<'h> = (RunStatus, Option<&'h [f64]>, Option<&'h [f64]>, Option<&'h [f64]>);

fn found(history: &History, set: Set) -> Vec<Found<'_>> {
    let values = |run: &RunHistory| run.status();
    let of = |run| (values(run), run.epoch_start("begun"), run.step("n"), run.epoch_end("end"));
    history.of(set).iter().map(of).collect()
}

#[test]
fn values_are_found_by_set_run_stage_and_name() {
    let mut trainer = counting();
    assert!(Set::ALL.iter().all(|&set| trainer.history().of(set).is_empty()));
    trainer.fit(2).unwrap();
    trainer.test().unwrap();
    trainer.fit(1).unwrap();
    let check = |set, expected: &[[&[f64]; 3]]| {
        let expected = expected
            .iter()
            .map(|[starts, steps, ends]| (RunStatus::Complete, Some(*starts), Some(*steps), Some(*ends)));
        assert_eq!(found(trainer.history(), set), expected.collect::<Vec<_>>(), "{set:?}");
    };
    check(
        Set::Train,
        &[[&[-1.0, -2.0], &[0.0, 1.0, 2.0, 3.0], &[10.0, 20.0]], [&[-3.0], &[4.0, 5.0], &[30.0]]],
    );
    check(Set::Valid, &[[&[-1.0, -2.0], &[0.0, 1.0], &[10.0, 20.0]], [&[-3.0], &[2.0], &[30.0]]]);
    check(Set::Test, &[[&[-1.0], &[0.0], &[10.0]]]);
    let run = &trainer.history().of(Set::Train)[1];
    assert_eq!(run.names().into_iter().collect::<Vec<_>>(), ["begun", "end", "loss", "n"]);
    assert_eq!([run.get("n"), run.get("begun"), run.get("f1")], [Some(&[4.0, 5.0][..]), Some(&[-3.0]), None]);
}

#[test]
fn a_name_of_several_stages_is_that_of_the_ends_of_epochs() {
    let mut trainer = counting().epoch_end(|_| Ok(record! { loss: 7.0, begun: 8.0 }));
    trainer.fit(1).unwrap();
    let run = trainer.history().of(Set::Train).last().unwrap();
    assert_eq!((run.get("loss"), run.step("loss").map(<[f64]>::len)), (Some(&[7.0][..]), Some(2)));
    assert_eq!((run.get("begun"), run.epoch_start("begun")), (Some(&[8.0][..]), Some(&[-1.0][..])));
}

#[test]
fn without_stages_the_metrics_of_the_epochs_are_kept() {
    let mut trainer = bare().train_data(loader(0, 8)).metric("half", |_, _| 0.5);
    trainer.fit(3).unwrap();
    let run = trainer.history().of(Set::Train).last().unwrap();
    assert_eq!(run.epoch_end("half"), Some(&[0.5; 3][..]));
    assert_eq!(run.step("half"), Some(&[0.5; 6][..]));
    assert_eq!(run.epoch_end("loss").map(<[f64]>::len), Some(3));
}

/// In the original the second run is number 0 of a name that the first one lacks.
#[test]
fn a_name_that_a_later_run_adds_has_the_number_of_that_run() {
    let mut trainer = counting().epoch_end(|s| {
        let record = record! { old: 1.0 };
        Ok(if s.epoch() == 2 { record.with("new", 2.0) } else { record })
    });
    trainer.fit(1).unwrap();
    trainer.fit(1).unwrap();
    let of =
        |name| trainer.history().of(Set::Train).iter().map(|run| run.epoch_end(name)).collect::<Vec<_>>();
    assert_eq!(of("old"), [Some(&[1.0][..]), Some(&[1.0])]);
    assert_eq!(of("new"), [None, Some(&[2.0][..])]);
}

/// In the original the steps of the third run are number 1.
#[test]
fn a_run_without_the_values_of_steps_moves_no_other() {
    let mut trainer = counting();
    trainer.fit(1).unwrap();
    trainer = trainer.track_steps(false);
    trainer.fit(1).unwrap();
    trainer = trainer.track_steps(true);
    trainer.fit(1).unwrap();
    let steps = trainer.history().of(Set::Train).iter().map(|run| run.step("n")).collect::<Vec<_>>();
    assert_eq!(steps, [Some(&[0.0, 1.0][..]), None, Some(&[4.0, 5.0])]);
}

/// In the original the values of the next run are appended to those of the broken one.
#[test]
fn a_run_that_failed_is_aborted_and_the_next_call_begins_its_own() {
    let mut fails = true;
    let mut trainer = counting().epoch_end_on(Set::Train, move |s| {
        if s.epoch() == 2 && std::mem::take(&mut fails) {
            return Err("no luck".into());
        }
        Ok(record! { end: 10.0 * s.epoch() as f64 })
    });
    assert_eq!(cause(&trainer.fit(3).unwrap_err()), "no luck");
    let aborted =
        [(RunStatus::Aborted, Some(&[-1.0, -2.0][..]), Some(&[0.0, 1.0, 2.0, 3.0][..]), Some(&[10.0][..]))];
    assert_eq!(found(trainer.history(), Set::Train), aborted);
    trainer.fit(3).unwrap();
    let complete = (RunStatus::Complete, Some(&[-3.0][..]), Some(&[4.0, 5.0][..]), Some(&[30.0][..]));
    assert_eq!(found(trainer.history(), Set::Train), [aborted[0], complete]);
    // The validation of the second epoch was due.
    let valid = trainer.history().of(Set::Valid).iter().map(|run| (run.status(), run.epoch_end("end")));
    assert_eq!(
        valid.collect::<Vec<_>>(),
        [(RunStatus::Aborted, Some(&[10.0][..])), (RunStatus::Complete, Some(&[20.0, 30.0]))]
    );
}

#[test]
fn a_test_that_failed_or_was_paused_is_aborted() {
    let mut calls = 0;
    let mut trainer = counting()
        .epoch_end_on(Set::Test, move |_| {
            calls += 1;
            if calls == 1 { Err("no luck".into()) } else { Ok(record! { end: f64::from(calls) }) }
        })
        .test_data(loader(0, 12));
    trainer.test().unwrap_err();
    trainer.pause_handle().pause("later");
    trainer.test().unwrap();
    trainer.test().unwrap();
    let runs = trainer.history().of(Set::Test).iter().map(|run| (run.status(), run.epoch_end("end")));
    // The one that was paused before its first step has not begun.
    assert_eq!(
        runs.collect::<Vec<_>>(),
        [(RunStatus::Aborted, None), (RunStatus::Complete, Some(&[2.0][..]))]
    );
}

#[test]
fn a_fit_that_was_paused_goes_on_with_its_run() {
    for stop in 1..=6 {
        let pause = move |state: &mut State, _: &mut Unit| {
            if state.train_progress().steps == stop {
                state.pause("stop");
            }
        };
        let mut trainer = counting().on(Event::TrainStepEnd, pause);
        trainer.fit(3).unwrap();
        assert_eq!(
            trainer.history().of(Set::Train)[0].status(),
            RunStatus::Open,
            "stopped after step {stop}"
        );
        trainer.fit(3).unwrap();
        let mut whole = counting();
        whole.fit(3).unwrap();
        for set in Set::ALL {
            assert_eq!(
                found(trainer.history(), set),
                found(whole.history(), set),
                "stopped after step {stop}"
            );
        }
    }
}

/// All runs with their values.
fn all(history: &History) -> String {
    format!("{history:?}")
}

const EMPTY: &str = "History { runs: [[], [], []] }";

#[test]
fn a_fit_that_was_restored_from_any_step_has_the_history_of_one_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let new = || classifier().train_data(loader(0, 12).shuffle());
    let mut whole = new();
    whole.fit(3).unwrap();
    for stop in 1..=9 {
        let saved = || new().saver(Checkpointer::new(folder.path().join(stop.to_string())));
        let pause = move |state: &mut State, _: &mut Unit| {
            if state.train_progress().steps == stop {
                state.pause("stop");
            }
        };
        saved().on(Event::TrainStepEnd, pause).fit(3).unwrap();
        let mut restored = saved();
        restored.restore_latest().unwrap().unwrap();
        restored.fit(3).unwrap();
        assert_eq!(all(restored.history()), all(whole.history()), "stopped after step {stop}");
        drop(restored);
        // A checkpoint of the end has the complete run.
        let mut ended = saved();
        ended.restore_latest().unwrap().unwrap();
        assert_eq!(all(ended.history()), all(whole.history()));
        // The next fit is another run.
        ended.fit(1).unwrap();
        assert_eq!(ended.history().of(Set::Train).len(), 2);
    }
}

/// Reads from the device in an epoch of 5 steps.
fn reads(tracks_steps: bool) -> u64 {
    let trainer = FitLoop::new(engine().reads_later(), forward, criterion).train_data(loader(0, 20));
    let mut trainer = trainer.track_steps(tracks_steps);
    let before = host_reads();
    trainer.fit(1).unwrap();
    assert_eq!(trainer.history().of(Set::Train)[0].step("loss").is_some(), tracks_steps);
    host_reads() - before
}

#[test]
fn the_values_of_steps_are_read_with_those_of_the_epoch() {
    assert_eq!(reads(true), reads(false));
}

#[test]
fn checks_and_evaluations_by_hand_are_no_runs() {
    let mut trainer = counting();
    trainer.fit(1).unwrap();
    let before = all(trainer.history());
    trainer.sanity_check(DryRun::epochs(2).steps(1)).unwrap();
    trainer.runner().evaluate(&loader(0, 4), Evaluate::whole()).unwrap();
    assert_eq!(all(trainer.history()), before);
}

#[test]
fn a_history_that_was_cleared_begins_with_run_0() {
    let mut trainer = counting();
    trainer.fit(1).unwrap();
    trainer.test().unwrap();
    trainer.history_mut().clear();
    assert_eq!(all(trainer.history()), EMPTY);
    trainer.fit(1).unwrap();
    assert_eq!(trainer.history().of(Set::Train).len(), 1);
    assert_eq!(trainer.history().of(Set::Train)[0].epoch_end("end"), Some(&[20.0][..]));
}

/// Saves a trainer, changes its part `task`, and loads that into another one.
fn reloaded(change: impl FnOnce(&mut StateDict)) -> Result<String, BoxError> {
    let mut trainer = counting();
    trainer.fit(1).unwrap();
    let mut parts = save_parts(trainer.runner().unit_mut()).unwrap();
    let task = parts.get_mut("task").unwrap();
    change(task);
    let mut other = counting();
    load_parts(other.runner().unit_mut(), &parts)?;
    Ok(all(other.history()))
}

#[test]
fn a_checkpoint_without_a_history_loads() {
    let older = reloaded(|task| {
        task.remove("history.index").unwrap();
        task.remove("history.values").unwrap();
    });
    assert_eq!(older.unwrap(), EMPTY);
}

#[test]
fn a_damaged_history_is_an_error() {
    let check = |name: &str, array: Array, expected: &str| {
        let error = reloaded(|task| {
            task.remove(name).unwrap();
            task.insert(name, array).unwrap();
        });
        let error = error.unwrap_err();
        assert!(error.to_string().ends_with(expected), "{error}");
    };
    check("history.values", Array::from_slice(&[1.0]), "values of the history are missing");
    check("history.index", Array::from_text("[[], []"), "EOF while parsing a list at line 1 column 7");
    let run = r#"{"status":"complete","epoch_start":{},"step":{},"epoch_end":{}}"#;
    let index = format!("[[{run}],[],[]]");
    check(
        "history.index",
        Array::from_text(&index),
        "the runs of training and of validation differ in number",
    );
}
