//! Runs that lose a rank in any of their calls to the others, go back and go on.
//!
//! The peers are this rank and a twin that does the same, so nothing is lost with a rank but the call. Then a run that
//! goes on must end with the bits of the undisturbed one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use regimen_core::auto_unit::{Averaging, EVAL_LOSS, Plateau, StepResults};
use regimen_core::callback::{Event, Every, Ranks};
use regimen_core::data::Rank;
use regimen_core::engine::Bucket;
use regimen_core::peers::{PeerLost, Peers};
use regimen_core::run::{Fit, Moment, Restored, Saver, Which};
use regimen_core::saved::{AppState, Parts, StateDict, Stateful, load_parts, save_parts};
use regimen_core::state::{EpochSamples, Phase};
use regimen_core::{AutoUnit, BoxError, Callback, Loss, Run, State, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};

/// The first rank of two, of which one call fails.
#[derive(Debug)]
struct Twin {
    calls: AtomicU64,
    fails_at: u64,
    is_broken: AtomicBool,
    is_elastic: bool,
    /// The numbers of the calls that hold on all ranks or on none.
    commits: Mutex<BTreeSet<u64>>,
}

impl Twin {
    fn new(fails_at: u64, is_elastic: bool) -> Arc<Self> {
        let (calls, is_broken, commits) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::default());
        Arc::new(Twin { calls, fails_at, is_broken, is_elastic, commits })
    }

    fn call(&self) -> Result<(), BoxError> {
        if self.calls.fetch_add(1, Ordering::Relaxed) + 1 == self.fails_at {
            self.is_broken.store(true, Ordering::Relaxed);
        }
        match self.is_broken.load(Ordering::Relaxed) {
            true => Err(PeerLost::new("rank 1 is gone").into()),
            false => Ok(()),
        }
    }
}

impl Peers for Twin {
    fn rank(&self) -> Rank {
        Rank { index: 0, count: 2 }
    }

    fn sum(&self, values: Bucket<'_>) -> Result<(), BoxError> {
        self.call()?;
        match values {
            Bucket::F32(values) => values.iter_mut().for_each(|value| *value *= 2.0),
            Bucket::F64(values) => values.iter_mut().for_each(|value| *value *= 2.0),
            other => return Err(other.refused()),
        }
        Ok(())
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, BoxError> {
        self.call().map(|()| vec![own.to_vec(); 2])
    }

    fn broadcast(&self, _: &mut [u8]) -> Result<(), BoxError> {
        self.call()
    }

    fn commit(&self) -> Result<(), BoxError> {
        self.commits.lock().unwrap().insert(self.calls.load(Ordering::Relaxed) + 1);
        self.call()
    }

    fn is_elastic(&self) -> bool {
        self.is_elastic
    }

    fn abort(&self, _: &str) {}
}

type Batch = (ToyArray, ToyArray);

/// With a state that counts steps, if it has one.
#[derive(Default)]
struct Regression(Option<Seen>);

struct Seen(u64);

impl Stateful for Seen {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("steps", self.0)?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.0 = dict.count("steps")?;
        Ok(())
    }
}

impl Task<ToyEngine<ToyMlp>> for Regression {
    type Batch = Batch;
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        module: &ToyMlp,
        (x, y): &Batch,
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        let loss = module.forward(x).mean_squared_error(y);
        Ok((Loss::mean(loss, x.shape()[0] as f64), ()))
    }

    fn on_train_step_end(&mut self, _: &mut State, _: &Batch, _: StepResults<()>) -> Result<(), BoxError> {
        self.0.iter_mut().for_each(|seen| seen.0 += 1);
        Ok(())
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        self.0.as_mut().map(|seen| seen as &mut dyn Stateful)
    }
}

fn batches(count: usize) -> Vec<Batch> {
    let batch = |n: usize| {
        let x: Vec<f64> = (0..6).map(|i| ((7 * n + i) as f64).sin()).collect();
        let y: Vec<f64> = x.chunks(2).map(|x| x[0] * x[1]).collect();
        (ToyArray::new(&[3, 2], &x), ToyArray::new(&[3, 1], &y))
    };
    (0..count).map(batch).collect()
}

/// A kind of run.
#[derive(Clone, Copy, Default)]
struct Setting {
    accumulate: u64,
    has_buffers: bool,
    averages_epochs: bool,
    has_task_state: bool,
    eval_every_steps: Option<u64>,
}

/// Everything that a run leaves behind.
#[derive(Debug, Default, PartialEq)]
struct Ended {
    parts: BTreeMap<String, StateDict>,
    /// Events with the steps of the training, and the values of epochs.
    heard: Vec<String>,
    progress: String,
}

/// A run of which a call failed.
struct Outcome {
    /// `Err` if it cannot go on.
    ended: Result<Ended, &'static str>,
    /// Its place after it went back.
    standing: Option<String>,
    peers: Arc<Twin>,
}

/// A run whose call `fails_at` fails.
fn run(setting: Setting, fails_at: u64) -> Outcome {
    let Setting { accumulate, has_buffers, averages_epochs, has_task_state, eval_every_steps } = setting;
    manual_seed(3);
    let mut vars = ToyVars::new();
    let module = match has_buffers {
        true => ToyMlp::regularized(&mut vars, [2, 4, 1], 0.1),
        false => ToyMlp::plain(&mut vars, [2, 4, 1]),
    };
    let engine = ToyEngine::new(vars, module, ToyOptimizer::adam_w(0.01));
    let mut unit = AutoUnit::new(engine, Regression(has_task_state.then_some(Seen(0))))
        .accumulate(accumulate)
        .learning_rate(0.05)
        .reduce_on_plateau(Plateau::min(EVAL_LOSS).patience(0));
    if averages_epochs {
        unit = unit.average(Averaging::swa().by_epoch());
    }
    let peers = Twin::new(fails_at, true);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = |event: Event, phase: Phase| {
        let heard = heard.clone();
        move |state: &mut State, _: &mut AutoUnit<_, _>| {
            let ends = matches!(event, Event::TrainEpochEnd | Event::EvalEpochEnd);
            let values = state.metrics(phase).iter().filter(|_| ends);
            let values: Vec<_> = values.map(|metric| format!("{:?}", metric.epoch_value())).collect();
            let steps = state.train_progress().steps;
            heard.lock().unwrap().push(format!("{event} {steps} {}", values.join(" ")));
        }
    };
    let mut run = Run::new(&mut unit)
        .peers(peers.clone())
        .on(Event::TrainStepEnd, listener(Event::TrainStepEnd, Phase::Train))
        .on(Event::TrainEpochEnd, listener(Event::TrainEpochEnd, Phase::Train))
        .on(Event::EvalEpochEnd, listener(Event::EvalEpochEnd, Phase::Eval));
    let (train, eval) = (batches(5), batches(3));
    let fit = || {
        let fit = Fit::epochs(3);
        eval_every_steps.map_or(fit, |steps| fit.eval_every(Every::steps(steps)))
    };
    let mut result = run.fit(&train, &eval, fit());
    let mut standing = None;
    if let Err(error) = &result {
        assert!(PeerLost::is_in(error), "{error:#}");
        run.rewind();
        standing = run.standing();
        if standing.is_none() {
            return Outcome { ended: Err("cannot go on"), standing, peers };
        }
        peers.is_broken.store(false, Ordering::Relaxed);
        result = run.fit(&train, &eval, fit());
    }
    let report = result.unwrap();
    let dropped = report.notices.iter().find(|notice| notice.contains("dropped"));
    assert_eq!(dropped, None, "call {fails_at}");
    let state = run.state();
    let progress = format!("{:?} {:?}", state.train_progress(), state.eval_progress());
    drop(run);
    let parts = save_parts(&mut unit).unwrap();
    let heard = heard.lock().unwrap().clone();
    Outcome { ended: Ok(Ended { parts, heard, progress }), standing, peers }
}

/// Fails each call once. Returns how often the run could not go on.
///
/// Of several ranks some may have made the call that failed on the others, and fail in the next one. So where a run can go
/// on after both, it is at the same place, unless the first is a commit.
#[track_caller]
fn check(setting: Setting) -> usize {
    let Outcome { ended, peers, .. } = run(setting, u64::MAX);
    let (undisturbed, calls) = (ended.unwrap(), peers.calls.load(Ordering::Relaxed));
    let commits = peers.commits.lock().unwrap();
    assert!(undisturbed.heard.len() > 18 && calls > 100, "{} {calls}", undisturbed.heard.len());
    let (mut cannot, mut before) = (0, None);
    for n in 1..=calls {
        let Outcome { ended, standing, .. } = run(setting, n);
        match ended {
            Ok(ended) => assert_eq!(ended, undisturbed, "call {n} of {calls}"),
            Err(_) => cannot += 1,
        }
        if let (Some(before), Some(standing)) = (&before, &standing)
            && !commits.contains(&(n - 1))
        {
            assert_eq!(standing, before, "call {n} of {calls}");
        }
        before = standing;
    }
    cannot
}

#[test]
fn a_run_that_goes_back_after_any_call_ends_as_an_undisturbed_one() {
    for accumulate in [1, 2, 3, 7] {
        assert_eq!(check(Setting { accumulate, ..Setting::default() }), 0, "accumulate {accumulate}");
    }
    assert_eq!(check(Setting { accumulate: 1, has_buffers: true, ..Setting::default() }), 0);
    assert_eq!(check(Setting { accumulate: 1, eval_every_steps: Some(2), ..Setting::default() }), 0);
}

#[test]
fn a_rank_that_did_what_cannot_be_done_again_says_so() {
    assert!(check(Setting { accumulate: 2, has_buffers: true, ..Setting::default() }) > 0);
    assert!(check(Setting { accumulate: 2, eval_every_steps: Some(1), ..Setting::default() }) > 0);
    assert!(check(Setting { accumulate: 2, has_task_state: true, ..Setting::default() }) > 0);
    // Once per epoch, at its end, in each call of an agreement on its metrics: a gather and a commit.
    assert_eq!(check(Setting { accumulate: 1, averages_epochs: true, ..Setting::default() }), 2 * 3);
}

#[test]
fn samples_of_an_epoch_are_those_of_all_ranks_and_of_this_one() {
    manual_seed(3);
    let mut vars = ToyVars::new();
    let module = ToyMlp::plain(&mut vars, [2, 4, 1]);
    let engine = ToyEngine::new(vars, module, ToyOptimizer::sgd(0.0));
    let mut unit = AutoUnit::new(engine, Regression::default());
    let mut run = Run::new(&mut unit).peers(Twin::new(u64::MAX, false));
    run.fit(&batches(5), &batches(1), Fit::epochs(3).max_steps(7)).unwrap();
    let samples = EpochSamples { of_all: 4, of_this_rank: 2 };
    assert_eq!(run.state().epoch_samples(), Some(samples));
    assert_eq!((run.rewind(), run.standing()), (0, None), "the ranks are not elastic");
    let state = run.run_state().unwrap();
    run.load_run_state(&state).unwrap();
    assert_eq!(run.state().epoch_samples(), None);
    run.fit(&batches(5), &batches(1), Fit::epochs(3)).unwrap();
    assert_eq!(run.state().epoch_samples(), Some(EpochSamples::default()));
}

#[test]
fn a_window_that_was_restored_is_not_made_again() {
    let unit = || {
        manual_seed(3);
        let mut vars = ToyVars::new();
        let module = ToyMlp::plain(&mut vars, [2, 4, 1]);
        AutoUnit::new(ToyEngine::new(vars, module, ToyOptimizer::sgd(0.1)), Regression::default())
            .accumulate(3)
    };
    let (train, eval) = (batches(5), batches(1));
    let mut first = unit();
    let mut run = Run::new(&mut first).peers(Twin::new(u64::MAX, true));
    run.fit(&train, &eval, Fit::epochs(3).max_steps(2)).unwrap();
    let state = run.run_state().unwrap();
    drop(run);
    let parts = save_parts(&mut first).unwrap();

    let mut second = unit();
    load_parts(&mut second, &parts).unwrap();
    let mut run = Run::new(&mut second).peers(Twin::new(u64::MAX, true));
    run.load_run_state(&state).unwrap();
    assert_eq!(run.standing(), None);
    run.fit(&train, &eval, Fit::epochs(3).max_steps(4)).unwrap();
    assert!(run.standing().is_some(), "behind an update");
}

/// A callback with a state, on the first rank.
struct Log(Arc<AtomicU64>);

impl<U> Callback<U> for Log {
    fn ranks(&self) -> Ranks {
        Ranks::First
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

impl Stateful for Log {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("length", 7_u64)?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.0.store(dict.count("length")?, Ordering::Relaxed);
        Ok(())
    }
}

/// A saver with one state.
struct Kept(StateDict);

impl Saver for Kept {
    fn on_event(&mut self, _: Event, _: &mut Moment<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn restore(&mut self, _: Which<'_>, moment: &mut Moment<'_>) -> Result<Option<Restored>, BoxError> {
        moment.load_run_state_of_ranks(&self.0)?;
        Ok(Some(Restored { step: 0, from: String::new(), skipped: Vec::new(), differences: Vec::new() }))
    }
}

struct Nothing;

impl AppState for Nothing {
    fn visit(&mut self, _: &mut dyn Parts) -> Result<(), BoxError> {
        Ok(())
    }
}

/// The last of two ranks, until the first is lost.
#[derive(Debug, Default)]
struct Heir(AtomicBool);

impl Peers for Heir {
    fn rank(&self) -> Rank {
        if self.0.load(Ordering::Relaxed) { Rank { index: 0, count: 1 } } else { Rank { index: 1, count: 2 } }
    }

    fn sum(&self, _: Bucket<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, BoxError> {
        Ok(vec![own.to_vec()])
    }

    fn broadcast(&self, _: &mut [u8]) -> Result<(), BoxError> {
        Ok(())
    }

    fn is_elastic(&self) -> bool {
        true
    }

    fn abort(&self, _: &str) {}
}

#[test]
fn a_rank_that_becomes_the_first_restores_the_state_that_was_there_alone() {
    let mut plain = Nothing;
    let mut unit = Nothing;
    let peers = Arc::new(Heir::default());
    let mut without = Run::new(&mut plain).peers(peers.clone());
    let mut run = Run::new(&mut unit).peers(peers.clone()).callback(Log(Arc::default()));
    assert!(run.standing().is_some());
    peers.0.store(true, Ordering::Relaxed);
    run.rewind();
    without.rewind();
    assert_eq!(run.standing(), None);
    assert!(without.standing().is_some());
}

#[test]
fn a_rank_that_becomes_the_first_has_no_old_state_of_its_callbacks() {
    for (index, expected) in [(0, 7), (1, 0)] {
        let loaded = Arc::new(AtomicU64::new(0));
        let (mut unit, mut other) = (Nothing, Nothing);
        let saved = Run::new(&mut other).callback(Log(loaded.clone())).run_state().unwrap();
        let mut run = Run::new(&mut unit).rank(Rank { index, count: 2 });
        run = run.callback(Log(loaded.clone())).saver(Kept(saved));
        run.restore_latest().unwrap();
        assert_eq!(loaded.load(Ordering::Relaxed), expected, "rank {index}");
    }
}
