//! A log in memory: its values during and after a run, and its state.

use std::sync::{Arc, Mutex};

use regimen::callback::{Event, Every};
use regimen::log::{MemoryLog, MetricLog, MetricSink};
use regimen::metric::Key;
use regimen::run::Train;
use regimen::saved::{Array, StateDict, Stateful};
use regimen::unit::{EvalUnit, TrainUnit};
use regimen::{BoxError, Fit, Run, State};

/// Logs its batch, under one name in both phases.
struct Unit;

impl TrainUnit for Unit {
    type Batch = f64;
    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(Key::mean("loss"), batch, 1.0);
        Ok(())
    }
}

impl EvalUnit for Unit {
    type Batch = f64;
    fn eval_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        state.log(Key::mean("loss"), batch, 1.0);
        state.log(Key::last("eval/\"odd\"\n"), f64::NAN, 1.0);
        Ok(())
    }
}

const DATA: [f64; 2] = [1.0, 3.0];

fn logged(log: &MemoryLog) -> MetricLog<MemoryLog> {
    MetricLog::to(log.clone()).every(Every::steps(1).or(Every::epochs(1)))
}

fn records(log: &MemoryLog) -> Vec<String> {
    let mut lines = Vec::new();
    log.for_each(|record| lines.push(format!("{record:?}")));
    lines
}

#[test]
fn values_are_read_by_name_during_the_run_and_after_it() {
    let (log, lengths) = (MemoryLog::new(), Arc::new(Mutex::new(Vec::new())));
    let (seen, lengths_seen) = (log.clone(), Arc::clone(&lengths));
    let mut unit = Unit;
    let mut run = Run::new(&mut unit).callback(logged(&log)).on(
        Event::EvalStart,
        move |_: &mut State, _: &mut Unit| {
            lengths_seen.lock().unwrap().push(seen.step_values("loss").len());
        },
    );
    run.fit(&DATA, &[7.0], Fit::epochs(2)).unwrap();
    assert_eq!(*lengths.lock().unwrap(), [2, 4]);
    assert_eq!(log.step_values("loss"), [(1, 1.0), (2, 3.0), (3, 1.0), (4, 3.0)]);
    assert_eq!(log.values("loss"), [(2, 2.0), (2, 7.0), (4, 2.0), (4, 7.0)]);
    assert_eq!(log.values("eval/\"odd\"\n").len(), 2);
    assert_eq!((log.values("los"), log.step_values("eval/\"odd\"\n")), (vec![], vec![]));
    assert_eq!(
        records(&log)[..4],
        [
            "Record { step: 1, phase: Train, name: \"loss\", value: 1.0, epoch: None }",
            "Record { step: 2, phase: Train, name: \"loss\", value: 3.0, epoch: None }",
            "Record { step: 2, phase: Train, name: \"loss\", value: 2.0, epoch: Some(1) }",
            "Record { step: 2, phase: Eval, name: \"loss\", value: 7.0, epoch: Some(1) }",
        ]
    );
}

#[test]
fn a_restored_run_has_the_records_up_to_its_checkpoint() {
    let whole = MemoryLog::new();
    Run::new(&mut Unit).callback(logged(&whole)).fit(&DATA, &[7.0], Fit::epochs(3)).unwrap();
    for saved_at in 0..6 {
        let log = MemoryLog::new();
        let mut unit = Unit;
        let mut run = Run::new(&mut unit).callback(logged(&log));
        run.fit(&DATA, &[7.0], Fit::steps(saved_at)).unwrap();
        let saved = run.run_state().unwrap();
        // Records after the checkpoint are gone, in this process and in another.
        run.fit(&DATA, &[7.0], Fit::steps(6)).unwrap();
        run.load_run_state(&saved).unwrap();
        run.fit(&DATA, &[7.0], Fit::epochs(3)).unwrap();
        let other = MemoryLog::new();
        let mut unit = Unit;
        let mut run = Run::new(&mut unit).callback(logged(&other));
        run.load_run_state(&saved).unwrap();
        run.fit(&DATA, &[7.0], Fit::epochs(3)).unwrap();
        assert_eq!((records(&log), records(&other)), (records(&whole), records(&whole)), "at {saved_at}");
    }
}

#[test]
fn a_state_that_is_damaged_is_an_error_and_changes_nothing() {
    let log = MemoryLog::new();
    Run::new(&mut Unit).callback(logged(&log)).train(&DATA, Train::epochs(1)).unwrap();
    let (saved, before) = (log.state_dict().unwrap(), records(&log));
    let check = |name: &str, array: Array, expected: &str| {
        let mut dict = StateDict::new();
        saved.iter().filter(|(known, _)| *known != name).for_each(|(name, array)| {
            dict.insert(name, array.clone()).unwrap();
        });
        dict.insert(name, array).unwrap();
        let error = log.clone().load_state_dict(&dict).unwrap_err().to_string();
        assert_eq!(log.check_state_dict(&dict).unwrap_err().to_string(), error);
        assert_eq!((&*error, records(&log)), (expected, before.clone()));
    };
    let counts = |row: [u64; 4]| Array::from_slice(&[[0, 0, 1, 0], [0, 0, 2, 0], row].concat());
    check("counts", counts([1, 0, 2, 1]), "memory log: there is no name 1");
    check("counts", counts([0, 3, 2, 1]), "memory log: there is no phase 3");
    check("counts", Array::from_slice(&[0_u64; 5]), "memory log: a row is incomplete");
    check("values", Array::from_slice(&[0.0]), "memory log: 1 values, but 3 rows of counts");
}

#[test]
fn its_name_in_checkpoints_is_that_of_a_log() {
    assert_eq!(MemoryLog::new().name(), "MetricLog(memory)");
}
