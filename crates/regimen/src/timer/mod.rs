//! Timers: how long the parts of a program take.

mod block;
mod timing;

pub use self::timing::Timing;

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, Instant};

use self::block::Block;

/// Times blocks, and blocks within blocks: a tree with the count, total, mean and percentiles of each.
///
/// It displays as a table. A block that panics is not counted, and a block under way not yet. The clock can
/// be paused. Its times are of this process and are not saved.
///
/// ```
/// # fn read() {} fn compute() {}
/// use regimen::timer::Timer;
///
/// let mut timer = Timer::new();
/// for _ in 0..3 {
///     timer.time("step", |timer| {
///         timer.time("data", |_| read());
///         timer.time("forward", |_| compute());
///     });
/// }
/// let forward = timer.get(&["step", "forward"]).map(|block| (block.count(), block.mean()));
/// # assert_eq!(forward.unwrap().0, 3);
/// let table = timer.to_string();
/// ```
pub struct Timer {
    clock: Box<dyn FnMut() -> Duration + Send>,
    /// The time that passed before the clock was last resumed.
    passed: Duration,
    /// The clock's time when it was resumed. `None` while it is paused.
    resumed: Option<Duration>,
    /// The first is the root, which has no time.
    blocks: Vec<Block>,
    /// The blocks under way, outermost first, and when they began.
    open: Vec<(usize, Duration)>,
}

impl Timer {
    /// A timer on the clock of the system.
    pub fn new() -> Self {
        let origin = Instant::now();
        Timer::with_clock(move || origin.elapsed())
    }

    /// A timer on a clock that tells the time since any origin, and never goes back. A clock that first waits
    /// for a device times its work, which otherwise counts to the block that reads the result.
    pub fn with_clock(mut clock: impl FnMut() -> Duration + Send + 'static) -> Self {
        let resumed = Some(clock());
        let clock = Box::new(clock);
        Timer {
            clock,
            passed: Duration::ZERO,
            resumed,
            blocks: vec![Block::new("".into())],
            open: Vec::new(),
        }
    }

    /// Calls `f`, and counts its time to the block `name` of the block under way. A block that `f` started and
    /// did not stop ends with it.
    pub fn time<R>(&mut self, name: impl Into<Cow<'static, str>>, f: impl FnOnce(&mut Timer) -> R) -> R {
        let depth = self.open.len();
        self.start(name);
        let closes = Closes { timer: self, depth };
        let result = f(closes.timer);
        while depth < closes.timer.open.len() {
            closes.timer.stop();
        }
        result
    }

    /// Starts the block `name` of the block under way; for hooks, where [`time`](Timer::time) cannot be used.
    pub fn start(&mut self, name: impl Into<Cow<'static, str>>) {
        let outer = self.open.last().map_or(0, |&(block, _)| block);
        let block = self.child(outer, name.into());
        let now = self.now();
        self.open.push((block, now));
    }

    /// Stops the block that was started last, and returns its time. Returns `None` if no block is under way.
    pub fn stop(&mut self) -> Option<Duration> {
        let now = self.now();
        let (block, began) = self.open.pop()?;
        let took = now.saturating_sub(began);
        self.blocks.get_mut(block)?.add(nanoseconds(took));
        Some(took)
    }

    /// Stops the clock: until [`resume`](Timer::resume), no time counts to any block.
    pub fn pause(&mut self) {
        (self.passed, self.resumed) = (self.now(), None);
    }

    /// Lets the clock go on.
    pub fn resume(&mut self) {
        if self.resumed.is_none() {
            self.resumed = Some((self.clock)());
        }
    }

    /// Forgets all times. Blocks under way go on, and count from here.
    pub fn reset(&mut self) {
        let now = self.now();
        self.blocks.iter_mut().for_each(Block::forget);
        self.open.iter_mut().for_each(|(_, began)| *began = now);
    }

    /// The timing of the block at `path`, the names from the outermost in. Returns `None` if there is no such
    /// block.
    pub fn get(&self, path: &[&str]) -> Option<Timing<'_>> {
        let find = |outer: usize, name: &&str| self.find(outer, name);
        let at = path.iter().try_fold(0, find).filter(|&at| at != 0)?;
        let outer = path[..path.len() - 1].iter().try_fold(0, find)?;
        Some(self.timing(at, outer, path.len() - 1))
    }

    /// The timing of every block: each before the blocks in it, and those of one block in the order in which
    /// they were first started.
    pub fn timings(&self) -> impl Iterator<Item = Timing<'_>> {
        let mut all = Vec::new();
        self.collect(0, 0, &mut all);
        all.into_iter()
    }

    /// A timer without a clock, for times that are [added](Timer::add).
    pub(crate) fn paused() -> Self {
        Timer {
            clock: Box::new(|| Duration::ZERO),
            passed: Duration::ZERO,
            resumed: None,
            blocks: vec![Block::new("".into())],
            open: Vec::new(),
        }
    }

    /// The times of this one in one without a clock.
    pub(crate) fn paused_copy(&self) -> Self {
        Timer { blocks: self.blocks.clone(), ..Timer::paused() }
    }

    /// The number of the block `name` in the block `outer`; 0 is that around all blocks.
    pub(crate) fn block(&mut self, outer: usize, name: &str) -> usize {
        let Block { inner, next, .. } = &self.blocks[outer];
        let is_it = |block: usize| self.blocks[block].name() == name;
        let at = match inner.get(*next) {
            Some(&block) if is_it(block) => Some(*next),
            _ => inner.iter().position(|&block| is_it(block)),
        };
        let Some(at) = at else { return self.child(outer, name.to_owned().into()) };
        let (block, count) = (inner[at], inner.len());
        self.blocks[outer].next = if at + 1 < count { at + 1 } else { 0 };
        block
    }

    /// Adds nanoseconds to the block of this number.
    pub(crate) fn add(&mut self, block: usize, time: u64) {
        if let Some(block) = self.blocks.get_mut(block) {
            block.add(time);
        }
    }

    /// The names of all blocks, by their numbers.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.blocks.iter().map(Block::name).collect()
    }

    fn collect<'t>(&'t self, outer: usize, depth: usize, all: &mut Vec<Timing<'t>>) {
        for &at in &self.blocks[outer].inner {
            all.push(self.timing(at, outer, depth));
            self.collect(at, depth + 1, all);
        }
    }

    fn timing(&self, at: usize, outer: usize, depth: usize) -> Timing<'_> {
        let of = match outer {
            0 => self.blocks[0].inner.iter().map(|&inner| self.blocks[inner].total()).sum(),
            _ => self.blocks[outer].total(),
        };
        Timing::new(&self.blocks[at], depth, of)
    }

    fn find(&self, outer: usize, name: &str) -> Option<usize> {
        self.blocks[outer].inner.iter().copied().find(|&inner| self.blocks[inner].name() == name)
    }

    fn child(&mut self, outer: usize, name: Cow<'static, str>) -> usize {
        self.find(outer, &name).unwrap_or_else(|| {
            self.blocks.push(Block::new(name));
            let at = self.blocks.len() - 1;
            self.blocks[outer].inner.push(at);
            at
        })
    }

    fn now(&mut self) -> Duration {
        let running = self.resumed.map_or(Duration::ZERO, |resumed| (self.clock)().saturating_sub(resumed));
        self.passed + running
    }
}

/// The nanoseconds of `time`, which are enough for 584 years.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Forgets the blocks that a panic leaves open.
struct Closes<'t> {
    timer: &'t mut Timer,
    depth: usize,
}

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.timer.open.truncate(self.depth);
    }
}

impl Default for Timer {
    fn default() -> Self {
        Timer::new()
    }
}

/// A table with a row per block. The share is that of the block around it; of the outermost blocks, that of
/// their sum.
impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |timing: &Timing<'_>| format!("{:1$}{2}", "", 2 * timing.depth(), timing.name());
        let width = self.timings().map(|timing| name(&timing).chars().count()).max().unwrap_or(0).max(5);
        let row = |f: &mut fmt::Formatter<'_>, cells: [&str; 7]| {
            let [block, count, total, mean, p50, p90, share] = cells;
            write!(f, "{block:<width$} {count:>9} {total:>9} {mean:>9} {p50:>9} {p90:>9} {share:>6}")
        };
        row(f, ["block", "count", "total", "mean", "p50", "p90", "share"])?;
        for timing in self.timings() {
            let duration = |time: Option<Duration>| time.map_or("-".into(), |time| format!("{time:.2?}"));
            let cells = [
                name(&timing),
                timing.count().to_string(),
                duration(Some(timing.total())),
                duration(timing.mean()),
                duration(timing.percentile(50.0)),
                duration(timing.percentile(90.0)),
                timing.share().map_or("-".into(), |share| format!("{:.1}%", 100.0 * share)),
            ];
            writeln!(f)?;
            row(f, cells.each_ref().map(String::as_str))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.timings()).finish()
    }
}
