#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Profile;
use crate::callback::{Event, Every};
use crate::data::{At, Data, Epoch, Fetched};
use crate::run::{Evaluate, Moment, Restored, Saver, Train, Which};
use crate::unit::{EvalUnit, TrainUnit};
use crate::{BoxError, Callback, Fit, Run, State};

/// A clock that stands still but for work.
#[derive(Clone, Default)]
struct Time(Arc<AtomicU64>);

impl Time {
    fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }

    fn profile(&self) -> Profile {
        let time = self.clone();
        Profile::with_clock(move || Duration::from_secs(time.0.load(Ordering::Relaxed)))
    }
}

/// Batches of which each takes 2 seconds, and the beginning of an epoch 3.
struct Batches(Time, u64);

impl Data for Batches {
    type Batch = u64;

    fn epoch(&self, at: At) -> Result<impl Epoch<Batch = u64>, BoxError> {
        self.0.pass(3);
        Ok(Left(self.0.clone(), self.1 - at.skip))
    }

    fn batches(&self) -> Option<u64> {
        Some(self.1)
    }
}

struct Left(Time, u64);

impl Epoch for Left {
    type Batch = u64;

    fn next(&mut self) -> Option<Result<Fetched<u64>, BoxError>> {
        self.1 = self.1.checked_sub(1)?;
        self.0.pass(2);
        Some(Ok(Fetched::new(self.1, 4)))
    }
}

/// Steps of 10 seconds, of which 7 are forward. Hooks take 1.
struct Slow(Time, Option<u64>);

impl TrainUnit for Slow {
    type Batch = u64;

    fn train_step(&mut self, state: &mut State, batch: u64) -> Result<(), BoxError> {
        state.time("forward", |_| self.0.pass(7));
        if self.1 == Some(batch) {
            // The part is left open.
            state.time("broken", |_| Err::<(), BoxError>("no".into()))?;
        }
        self.0.pass(3);
        Ok(())
    }

    fn on_train_start(&mut self, _: &mut State) -> Result<(), BoxError> {
        self.0.pass(1);
        Ok(())
    }

    fn on_train_epoch_end(&mut self, _: &mut State) -> Result<(), BoxError> {
        self.0.pass(1);
        Ok(())
    }
}

impl EvalUnit for Slow {
    type Batch = u64;

    fn eval_step(&mut self, _: &mut State, _: u64) -> Result<(), BoxError> {
        self.0.pass(5);
        Ok(())
    }

    fn on_eval_start(&mut self, _: &mut State) -> Result<(), BoxError> {
        self.0.pass(1);
        Ok(())
    }
}

/// A callback of 4 seconds per step.
struct Logs(Time);

impl Callback<Slow> for Logs {
    fn on_train_step_end(&mut self, _: &mut State, _: &mut Slow) -> Result<(), BoxError> {
        self.0.pass(4);
        Ok(())
    }
}

/// A saver of 6 seconds at the end of a call, and 1 at its beginning.
struct Saves(Time);

impl Saver for Saves {
    fn begin(&mut self, _: crate::state::Phase, _: &mut Moment<'_>) -> Result<(), BoxError> {
        self.0.pass(1);
        Ok(())
    }

    fn on_event(&mut self, event: Event, _: &mut Moment<'_>) -> Result<(), BoxError> {
        if event == Event::TrainEnd {
            self.0.pass(6);
        }
        Ok(())
    }

    fn restore(&mut self, _: Which<'_>, _: &mut Moment<'_>) -> Result<Option<Restored>, BoxError> {
        Ok(None)
    }
}

/// Blocks that took time: path, count and seconds, one a line.
fn lines(profile: &Profile) -> String {
    let timer = profile.timer();
    let lines = timer.timings().filter(|timing| !timing.total().is_zero()).map(|timing| {
        let (depth, seconds) = (2 * timing.depth(), timing.total().as_secs());
        format!("{:depth$}{} {}x {seconds}\n", "", timing.name(), timing.count())
    });
    lines.collect()
}

/// The sum over blocks of the time that is in no block of theirs, without the calls'.
fn accounted(profile: &Profile) -> Duration {
    let timer = profile.timer();
    let of_depth = |depth| timer.timings().filter(move |timing| timing.depth() == depth);
    let phases = ["training", "evaluation", "prediction"];
    let phase_blocks = of_depth(2).map(|timing| timing.total()).sum::<Duration>();
    let other = of_depth(1).filter(|timing| !phases.contains(&timing.name()));
    phase_blocks + other.map(|timing| timing.total()).sum::<Duration>()
}

impl crate::saved::AppState for Slow {
    fn visit(&mut self, _: &mut dyn crate::saved::Parts) -> Result<(), BoxError> {
        Ok(())
    }
}

#[test]
fn every_second_of_a_fit_is_in_the_block_of_what_took_it() {
    let time = Time::default();
    let profile = time.profile().flops_per_sample(1e3).peak_flops(100.0);
    let (train, valid) = (Batches(time.clone(), 3), Batches(time.clone(), 2));
    let mut unit = Slow(time.clone(), None);
    // A callback and a saver may be given before the probe and after it.
    let run =
        Run::new(&mut unit).callback(Logs(time.clone())).probe(profile.probe()).saver(Saves(time.clone()));
    let mut run =
        run.on(Event::TrainEpochEnd.every(Every::epochs(1)), |_: &mut State, unit: &mut Slow| unit.0.pass(8));
    run.fit(&train, &valid, Fit::epochs(2)).unwrap();
    time.pass(1000);
    run.evaluate(&valid, Evaluate::whole()).unwrap();
    assert_eq!(
        lines(&profile),
        "\
fit 1x 164
  saver 3x 7
  training 1x 121
    start 1x 1
    callbacks 34x 40
      Logs 34x 24
      closure 2x 16
    open data 2x 6
    fetch 6x 12
    step 6x 60
      forward 6x 42
    epoch end 2x 2
  evaluation 2x 36
    start 2x 2
    open data 2x 6
    fetch 4x 8
    step 4x 20
evaluate 1x 19
  saver 2x 1
  evaluation 1x 18
    start 1x 1
    open data 1x 3
    fetch 2x 4
    step 2x 10
"
    );
    assert_eq!(profile.wall(), Duration::from_secs(164 + 19));
    assert_eq!(accounted(&profile), profile.wall());
    assert_eq!(profile.flops_per_second(), Some(6.0 * 4.0 * 1e3 / 121.0));
    assert_eq!(profile.utilisation(), Some(6.0 * 4.0 * 1e3 / 121.0 / 100.0));
}

#[test]
fn a_sentence_says_where_the_time_goes_and_what_would_help() {
    let time = Time::default();
    let profile = time.profile();
    assert_eq!(profile.sentence(), "");
    let mut unit = Slow(time.clone(), None);
    Run::new(&mut unit).probe(profile.probe()).train(&Batches(time.clone(), 3), Train::epochs(2)).unwrap();
    assert_eq!(
        profile.sentence(),
        "22 % of training is waiting for data: more workers, or a prefetch; forward 52 %, the rest of the step 22 %"
    );
    let mut run = Run::new(&mut unit).probe(profile.probe()).callback(Logs(time.clone()));
    run.train(&Batches(time.clone(), 50), Train::epochs(1)).unwrap();
    drop(run);
    assert_eq!(
        profile.sentence(),
        "23 % of training is callbacks: most is `Logs`, which may have a lower cadence; forward 44 %, the rest of the \
         step 19 %, waiting for data 14 %"
    );
}

#[test]
fn after_an_error_the_time_so_far_is_in_the_blocks_and_the_next_call_goes_on() {
    let time = Time::default();
    let profile = time.profile();
    let mut unit = Slow(time.clone(), Some(0));
    let mut run = Run::new(&mut unit).probe(profile.probe());
    let data = Batches(time.clone(), 2);
    run.train(&data, Train::epochs(1)).unwrap_err();
    run.unit_mut().1 = None;
    run.train(&data, Train::epochs(1)).unwrap();
    assert_eq!(
        lines(&profile),
        "\
train 2x 42
  training 2x 42
    start 2x 2
    open data 2x 6
    fetch 3x 6
    step 3x 27
      forward 3x 21
    epoch end 1x 1
"
    );
    assert_eq!(profile.wall(), Duration::from_secs(42));
}

#[test]
fn the_files_have_the_tree_and_the_newest_times() {
    let folder = tempfile::tempdir().unwrap();
    let time = Time::default();
    let profile = time.profile().trace(3);
    let mut unit = Slow(time.clone(), None);
    Run::new(&mut unit).probe(profile.probe()).train(&Batches(time.clone(), 1), Train::epochs(1)).unwrap();
    let read = |file: &str, write: &dyn Fn(&std::path::Path) -> Result<(), BoxError>| -> serde_json::Value {
        let path = folder.path().join(file);
        write(&path).unwrap();
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let tree = read("profile.json", &|path| profile.write_json(path));
    let training = &tree["blocks"][0]["blocks"][0];
    assert_eq!(tree["wall_seconds"], 17.0);
    assert_eq!((&training["name"], &training["seconds"]), (&"training".into(), &17.0.into()));
    let step = training["blocks"].as_array().unwrap().iter().find(|block| block["name"] == "step").unwrap();
    assert_eq!(
        *step,
        serde_json::json!({
            "name": "step", "count": 1, "seconds": 10.0, "p50_seconds": 10.0, "p90_seconds": 10.0,
            "blocks": [{
                "name": "forward", "count": 1, "seconds": 7.0, "p50_seconds": 7.0, "p90_seconds": 7.0
            }]
        })
    );
    let trace = read("trace.json", &|path| profile.write_trace(path));
    let span = |name, ts, dur| serde_json::json!({"name": name, "ph": "X", "pid": 1, "tid": 1, "ts": ts, "dur": dur});
    assert_eq!(
        trace,
        serde_json::json!({"displayTimeUnit": "ms", "traceEvents": [
            span("training", 0.0, 17e6), span("end", 17e6, 0.0), span("train", 0.0, 17e6)
        ]})
    );
    let full = profile.write_json(folder.path().join("missing/profile.json")).unwrap_err().to_string();
    assert!(full.starts_with("cannot write ") && full.contains("missing"), "{full}");
}
