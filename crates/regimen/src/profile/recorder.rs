//! The recorder of a profile: what a probe is told, as times of blocks.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use regimen_core::run::Probe;

use super::spans::Spans;
use crate::State;
use crate::callback::Event;
use crate::state::{EntryPoint, Phase};
use crate::timer::{Timer, nanoseconds};

/// The times of the calls of a run.
///
/// Every moment of a call is in one block: in the one opened last, or, if that is a call or a phase, in an interval between
/// two events, whose name the second event tells.
pub(super) struct Recorder {
    clock: Box<dyn FnMut() -> Duration + Send>,
    /// Its times are in nanoseconds, like all here.
    tree: Timer,
    /// Blocks under way, the outermost first.
    open: Vec<Open>,
    /// The beginning of the interval, or of the callback at hand.
    since: u64,
    /// The time of other blocks within it.
    inside: u64,
    last: Option<Event>,
    /// Whether the last event is being sent.
    sends: bool,
    /// The sum of the calls that have ended.
    wall: u64,
    pub(super) spans: Spans,
    pub(super) flops_per_sample: Option<f64>,
    pub(super) peak_flops: Option<f64>,
    /// Samples of this rank in training: those before this call, at its start and now.
    samples: [u64; 3],
}

/// A block under way.
struct Open {
    kind: Kind,
    block: usize,
    began: u64,
    /// The time of blocks within it that are not its own.
    inside: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Call,
    Phase,
    /// Waiting for a batch, a step, or a part.
    Work,
    Callbacks,
}

impl Recorder {
    pub(super) fn new(clock: Box<dyn FnMut() -> Duration + Send>) -> Self {
        Recorder {
            clock,
            tree: Timer::paused(),
            open: Vec::new(),
            since: 0,
            inside: 0,
            last: None,
            sends: false,
            wall: 0,
            spans: Spans::new(),
            flops_per_sample: None,
            peak_flops: None,
            samples: [0; 3],
        }
    }

    /// The times until now, and the sum of all calls.
    pub(super) fn until_now(&mut self) -> (Timer, Duration) {
        let now = self.now();
        let mut tree = self.tree.paused_copy();
        if let Some(open) = self.open.last().filter(|_| self.between()) {
            let block = tree.block(open.block, if open.kind == Kind::Call { "end" } else { "loop" });
            tree.add(block, now.saturating_sub(self.since).saturating_sub(self.inside));
        }
        let mut within = 0;
        for open in self.open.iter().rev() {
            let mut own = now.saturating_sub(open.began).saturating_sub(open.inside);
            if open.kind == Kind::Phase {
                // A phase within a phase is not a part of it.
                own = own.saturating_sub(within);
                within = own;
            }
            tree.add(open.block, own);
        }
        let call = self.open.first().map_or(0, |call| now.saturating_sub(call.began));
        (tree, Duration::from_nanos(self.wall + call))
    }

    pub(super) fn samples(&self) -> u64 {
        let [before, start, now] = self.samples;
        before + now.saturating_sub(start)
    }

    /// The names of the blocks, by their numbers.
    pub(super) fn names(&self) -> Vec<&str> {
        self.tree.names()
    }

    fn now(&mut self) -> u64 {
        nanoseconds((self.clock)())
    }

    fn push(&mut self, kind: Kind, name: &str, began: u64) {
        let outer = self.open.last().map_or(0, |open| open.block);
        let block = self.tree.block(outer, name);
        self.open.push(Open { kind, block, began, inside: 0 });
    }

    /// Closes the block that was opened last.
    fn pop(&mut self, now: u64) {
        let Some(Open { kind, block, began, inside }) = self.open.pop() else { return };
        let time = now.saturating_sub(began);
        let own = time.saturating_sub(inside);
        self.tree.add(block, own);
        self.spans.add(block, began, time);
        if self.between() || self.open.last().is_some_and(|open| open.kind == Kind::Callbacks) {
            self.inside += time;
        }
        // An evaluation in the training is not a part of it.
        if let Some(outer) =
            self.open.last_mut().filter(|outer| (kind, outer.kind) == (Kind::Phase, Kind::Phase))
        {
            outer.inside += own;
        }
    }

    /// Whether the time is that of an interval between two events.
    fn between(&self) -> bool {
        self.open.last().is_some_and(|open| matches!(open.kind, Kind::Call | Kind::Phase))
    }

    /// Closes what is open in the innermost call or phase. Returns whether there was anything.
    fn pop_work(&mut self, now: u64) -> bool {
        let had_work = !self.between();
        while !self.between() && !self.open.is_empty() {
            self.pop(now);
        }
        had_work
    }

    /// Gives the interval that ends to the block `name`, and begins another.
    fn settle(&mut self, name: &str, now: u64) {
        let time = now.saturating_sub(self.since).saturating_sub(self.inside);
        if let Some(open) = self.open.last() {
            let block = self.tree.block(open.block, name);
            self.tree.add(block, time);
            self.spans.add(block, self.since, now.saturating_sub(self.since));
        }
        self.begin_interval(now);
    }

    fn begin_interval(&mut self, now: u64) {
        (self.since, self.inside) = (now, 0);
    }

    fn call_began(&mut self, entry: EntryPoint) {
        let now = self.now();
        self.open.clear();
        self.push(Kind::Call, &format!("{entry:?}").to_lowercase(), now);
        self.begin_interval(now);
        (self.last, self.sends) = (None, false);
        self.samples = [self.samples(), 0, 0];
    }

    fn call_ended(&mut self) {
        let now = self.now();
        while !self.open.is_empty() {
            if !self.pop_work(now) {
                self.settle("end", now);
            }
            let time = self.open.last().map_or(0, |call| now.saturating_sub(call.began));
            self.wall += if self.open.len() == 1 { time } else { 0 };
            self.pop(now);
            self.begin_interval(now);
        }
    }

    fn event_began(&mut self, event: Event, state: &State) {
        let now = self.now();
        if self.pop_work(now) {
            self.begin_interval(now);
        } else {
            if let Some(phase) = starts(event) {
                // It began when the event before had been told.
                self.push_phase(phase);
            }
            self.settle(self.interval_before(event), now);
        }
        // Ranks have equal shares, up to a batch.
        let samples = || state.train_progress().samples / state.rank().count.max(1);
        match event {
            Event::TrainStart => self.samples[1..].fill(samples()),
            Event::TrainStepEnd => self.samples[2] = samples(),
            _ => {}
        }
        self.begin_interval(now);
        self.sends = true;
        if event != Event::Notice {
            self.last = Some(event);
        }
    }

    /// Opens the block of a phase in that of the call, from the beginning of the interval.
    fn push_phase(&mut self, phase: Phase) {
        let call = self.open.first().map_or(0, |open| open.block);
        let name = match phase {
            Phase::Train => "training",
            Phase::Eval => "evaluation",
            Phase::Predict => "prediction",
        };
        let block = self.tree.block(call, name);
        self.open.push(Open { kind: Kind::Phase, block, began: self.since, inside: self.inside });
    }

    fn interval_before(&self, event: Event) -> &'static str {
        use Event::*;
        match event {
            TrainStart | EvalStart | PredictStart => "start",
            TrainEpochStart | EvalEpochStart | PredictEpochStart => "epoch start",
            TrainEpochEnd | EvalEpochEnd | PredictEpochEnd => "epoch end",
            TrainEnd | EvalEnd | PredictEnd => "end",
            TrainFetchStart | EvalFetchStart | PredictFetchStart => match self.last {
                Some(
                    TrainStart | EvalStart | PredictStart | TrainEpochStart | EvalEpochStart
                    | PredictEpochStart,
                ) => "open data",
                _ => "loop",
            },
            _ => "loop",
        }
    }

    /// Opens the block of the callbacks, if an event is being sent to them.
    fn open_callbacks(&mut self) {
        if self.sends && self.between() {
            self.push(Kind::Callbacks, "callbacks", self.since);
        }
    }

    fn callback_ended(&mut self, callback: &str) {
        let now = self.now();
        while self.open.last().is_some_and(|open| open.kind == Kind::Work) {
            self.pop(now);
        }
        self.open_callbacks();
        let Some(open) = self.open.last() else { return };
        let block = self.tree.block(open.block, callback);
        let time = now.saturating_sub(self.since);
        self.tree.add(block, time.saturating_sub(self.inside));
        self.spans.add(block, self.since, time);
        self.begin_interval(now);
    }

    fn event_ended(&mut self, event: Event) {
        use Event::*;
        // That of the last callback, or of the beginning of the event.
        let now = self.since;
        self.sends = false;
        if self.pop_work(now) {
            self.begin_interval(now);
        }
        match event {
            TrainFetchStart | EvalFetchStart | PredictFetchStart => self.push(Kind::Work, "fetch", now),
            TrainStepStart | EvalStepStart | PredictStepStart => self.push(Kind::Work, "step", now),
            TrainEnd | EvalEnd | PredictEnd => {
                self.pop(now);
                self.begin_interval(now);
            }
            _ => {}
        }
    }

    fn part_began(&mut self, name: &str) {
        if self.open.is_empty() {
            // A restore between two calls.
            return;
        }
        let now = self.now();
        self.open_callbacks();
        self.push(Kind::Work, name, now);
    }

    fn part_ended(&mut self) {
        let now = self.now();
        if self.open.last().is_some_and(|open| open.kind == Kind::Work) {
            self.pop(now);
        }
    }
}

/// The phase that `event` starts.
fn starts(event: Event) -> Option<Phase> {
    matches!(event, Event::TrainStart | Event::EvalStart | Event::PredictStart)
        .then(|| event.phase())
        .flatten()
}

/// A recorder that a run and a profile share.
#[derive(Debug)]
pub(super) struct Shared(Mutex<Recorder>);

impl Shared {
    pub(super) fn new(recorder: Recorder) -> Self {
        Shared(Mutex::new(recorder))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Recorder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe for Shared {
    fn call_began(&self, entry: EntryPoint) {
        self.lock().call_began(entry);
    }

    fn call_ended(&self) {
        self.lock().call_ended();
    }

    fn event_began(&self, event: Event, state: &State) {
        self.lock().event_began(event, state);
    }

    fn callback_ended(&self, callback: &str) {
        self.lock().callback_ended(callback);
    }

    fn event_ended(&self, event: Event, _state: &State) {
        self.lock().event_ended(event);
    }

    fn part_began(&self, name: &'static str) {
        self.lock().part_began(name);
    }

    fn part_ended(&self) {
        self.lock().part_ended();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("tree", &self.tree).finish_non_exhaustive()
    }
}
