//! Files of TensorBoard and W&B that a restored run goes on from.

use std::fs;
use std::path::{Path, PathBuf};

use regimen::callback::Every;
use regimen::log::MetricLog;
use regimen::random::Random;
use regimen::run::Train;
use regimen::saved::StateDict;
use regimen::{BoxError, Run};
use regimen_test::event_files::{read_events, scalars};
use regimen_test::wandb_file::read_wandb_file;

use super::Subject;
use super::toy::{DATA, Toy};
use crate::fuzz::corpus::Corpus;
use crate::fuzz::trial::{Fault, Trial, demand};

/// The step at which runs are restored, and the last step.
const RESTORED: u64 = 4;
const END: u64 = 7;

const WORDS: &[&[u8]] = &[b":W&B\xe1\xbe\0", b"brain.Event:2", b"\0\0\0\0\0\0\0", b"train/loss", b"\x01"];

/// The logs of runs that were paused.
#[derive(Debug)]
pub(super) struct Trackers([Tracker; 2]);

#[derive(Debug)]
struct Tracker {
    goes_on: GoesOn,
    /// The number of steps in a log: its folder, and its file.
    steps: Steps,
    /// The file in the folder of the log.
    file: PathBuf,
    corpus: Corpus,
    /// The state in a checkpoint, and the bytes of the file then.
    state: StateDict,
    saved: Vec<u8>,
}

/// Trains with a log in a folder up to a step, from the state if there is one.
type GoesOn = fn(&Path, Option<&StateDict>, u64) -> Result<StateDict, BoxError>;

type Steps = fn(&Path, &Path) -> Result<usize, BoxError>;

impl Trackers {
    pub(super) fn new(folder: &Path) -> Result<Self, BoxError> {
        let board = Tracker::new(folder, board, board_steps, "TensorBoard(tracker).state.run")?;
        let wandb = Tracker::new(folder, wandb, wandb_steps, "MetricLog(wandb).state")?;
        Ok(Trackers([board, wandb]))
    }
}

impl Tracker {
    fn new(folder: &Path, goes_on: GoesOn, steps: Steps, name: &str) -> Result<Self, BoxError> {
        let dir = emptied(folder)?;
        let state = goes_on(&dir, None, RESTORED)?;
        let file = the_file(&dir)?.ok_or("the log has no file")?;
        let whole = fs::read(&file)?;
        let length: u64 = state.get(&format!("callbacks.{name}.length"))?;
        let saved = whole.get(..length as usize).ok_or("the log is shorter than saved")?.to_vec();
        let file = file.strip_prefix(&dir)?.to_owned();
        Ok(Tracker { goes_on, steps, file, corpus: Corpus::new(vec![whole], WORDS), state, saved })
    }
}

/// The folder of a log, with nothing in it.
fn emptied(folder: &Path) -> Result<PathBuf, BoxError> {
    let dir = folder.join("tracker");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// The only file in `dir`, at any depth.
fn the_file(dir: &Path) -> Result<Option<PathBuf>, BoxError> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let file = if path.is_dir() { the_file(&path)? } else { Some(path) };
        if file.is_some() {
            return Ok(file);
        }
    }
    Ok(None)
}

fn board(dir: &Path, state: Option<&StateDict>, steps: u64) -> Result<StateDict, BoxError> {
    train(state, steps, |run| run.callback(MetricLog::tensorboard(dir).every(Every::steps(1))))
}

fn wandb(dir: &Path, state: Option<&StateDict>, steps: u64) -> Result<StateDict, BoxError> {
    train(state, steps, |run| run.callback(MetricLog::wandb(dir).every(Every::steps(1))))
}

fn train(
    state: Option<&StateDict>,
    steps: u64,
    logged: impl for<'a> FnOnce(Run<'a, Toy>) -> Run<'a, Toy>,
) -> Result<StateDict, BoxError> {
    let mut unit = Toy::default();
    let mut run = logged(Run::new(&mut unit));
    if let Some(state) = state {
        run.load_run_state(state)?;
    }
    run.train(&DATA, Train::steps(steps))?;
    run.run_state()
}

fn board_steps(dir: &Path, _: &Path) -> Result<usize, BoxError> {
    let events = read_events(dir)?;
    Ok(scalars(&events).get("train/loss").map_or(0, Vec::len))
}

fn wandb_steps(_: &Path, file: &Path) -> Result<usize, BoxError> {
    Ok(read_wandb_file(file)?.iter().filter(|line| line.starts_with("history ")).count())
}

impl Subject for Trackers {
    fn name(&self) -> &'static str {
        "trackers"
    }

    fn attempt(&self, random: &mut Random, trial: &mut Trial) -> Result<(), Fault> {
        let Tracker { goes_on, steps, file, corpus, state, saved } = &self.0[random.below(2) as usize];
        let dir = emptied(trial.folder())?;
        let path = dir.join(file);
        path.parent().map_or(Ok(()), fs::create_dir_all).map_err(BoxError::from)?;
        let drawn = corpus.draw(random);
        fs::write(&path, &drawn.bytes).map_err(BoxError::from)?;
        let read = trial.read(drawn.bytes.len(), || goes_on(&dir, Some(state), END))?;
        let after = fs::read(&path).map_err(BoxError::from)?;
        if let Err(why) = read {
            demand(!drawn.is_whole, || format!("a valid log is refused: {why}"))?;
            return demand(after == drawn.bytes, || format!("a log that is refused has become {after:?}"));
        }
        let is_this_log = drawn.bytes.starts_with(saved) && after.starts_with(saved);
        demand(is_this_log, || format!("the log of another run is written on: {after:?}"))?;
        let found = steps(&dir, &path).map_err(|cause| Fault::Mismatch(cause.to_string()))?;
        demand(found == END as usize, || format!("the log has {found} steps: {after:?}"))
    }
}
