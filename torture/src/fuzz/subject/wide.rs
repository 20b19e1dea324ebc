//! Wide CSV logs, which a restored run truncates and narrows, and a new run appends to.

use std::fs;
use std::path::Path;

use regimen::callback::{Event, Every};
use regimen::log::{ExistingFile, LogFile, MetricLog};
use regimen::metric::Key;
use regimen::random::Random;
use regimen::run::Train;
use regimen::saved::StateDict;
use regimen::{BoxError, Run, State};

use super::Subject;
use super::toy::{DATA, Toy};
use crate::fuzz::corpus::Corpus;
use crate::fuzz::trial::{Fault, Trial, demand, refused};

/// The step at which runs are restored, the step of a new column, and the last step.
const RESTORED: u64 = 4;
const WIDENED: u64 = 6;
const END: u64 = 7;

const WORDS: &[&[u8]] =
    &[b"\n", b"step,phase,epoch", b",", b",late", b"1,train,,0.5\n", b"\"", b"\"\"", b"\r\n", b"\0"];

/// The log of an undisturbed run.
#[derive(Debug)]
pub(super) struct Wide {
    corpus: Corpus,
    whole: Vec<u8>,
    /// The checkpointed state of the log.
    state: StateDict,
}

impl Wide {
    pub(super) fn new(folder: &Path) -> Result<Self, BoxError> {
        let path = folder.join("wide.csv");
        let state = train(log(&path), None, RESTORED)?;
        let narrow = fs::read(&path)?;
        train(log(&path), Some(&state), END)?;
        let whole = fs::read(&path)?;
        Ok(Wide { corpus: Corpus::new(vec![whole.clone(), narrow], WORDS), whole, state })
    }
}

fn log(path: &Path) -> MetricLog<LogFile> {
    MetricLog::wide_csv(path).every(Every::steps(1))
}

/// A run with that log, from the checkpointed `state` or from the beginning, and its state.
fn train(log: MetricLog<LogFile>, state: Option<&StateDict>, steps: u64) -> Result<StateDict, BoxError> {
    let mut unit = Toy::default();
    if state.is_some() {
        // The weights are not saved with the run; they follow from its steps.
        Run::new(&mut unit).train(&DATA, Train::steps(RESTORED))?;
    }
    let late = |state: &mut State, _: &mut Toy| {
        if state.train_progress().steps == WIDENED {
            state.log(Key::last("late"), 0.25, 1.0);
        }
    };
    let mut run = Run::new(&mut unit).on(Event::TrainStepEnd, late).callback(log);
    if let Some(state) = state {
        run.load_run_state(state)?;
    }
    run.train(&DATA, Train::steps(steps))?;
    run.run_state()
}

impl Subject for Wide {
    fn name(&self) -> &'static str {
        "wide logs"
    }

    /// A file is written again for a new column, with buffers for the fields of a row and their ends.
    fn multiple(&self) -> usize {
        32
    }

    fn attempt(&self, random: &mut Random, trial: &mut Trial) -> Result<(), Fault> {
        let drawn = self.corpus.draw(random);
        let before = &drawn.bytes;
        let path = trial.write("wide.csv", before)?;
        let is_restored = random.below(2) == 0;
        let read = trial.read(before.len() + self.whole.len(), || match is_restored {
            true => train(log(&path), Some(&self.state), END),
            false => train(log(&path).existing(ExistingFile::Append), None, END),
        })?;
        let after = fs::read(&path).map_err(BoxError::from)?;
        let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if let Err(why) = &read {
            return refused(&drawn, why, &after);
        }
        if is_restored {
            return demand(after == self.whole, || format!("the log has become {:?}", show(&after)));
        }
        // A row torn by a power cut may be completed or removed; all others stay, with new empty fields.
        let (kept, found) = (rows(&before[..end_of_rows(before)]), rows(&after));
        // A quote that is never closed makes the rest of the file one field: there are no rows to compare.
        if found.iter().any(|row| row.iter().any(|field| field.contains(&b'\n'))) {
            return Ok(());
        }
        let is_new = |(row, step): (&csv::ByteRecord, u64)| row[0] == *step.to_string().as_bytes();
        let new = found.len().saturating_sub(END as usize);
        let holds = new >= kept.len().max(1)
            && found.iter().zip(&kept).all(same)
            && found[new..].iter().zip(1..).all(is_new);
        demand(holds, || format!("appended to {:?}, the log has become {:?}", show(before), show(&after)))
    }
}

/// The header, or a row, is another with more fields.
fn same((found, kept): (&csv::ByteRecord, &csv::ByteRecord)) -> bool {
    found.len() >= kept.len() && found.iter().zip(kept).all(|(found, kept)| found == kept)
}

fn rows(text: &[u8]) -> Vec<csv::ByteRecord> {
    let rows = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
    rows.into_byte_records().map_while(Result::ok).collect()
}

/// The end of the complete rows. A line that opens a quote without closing it may be torn.
fn end_of_rows(bytes: &[u8]) -> usize {
    let quotes = |line: &&[u8]| line.iter().filter(|&&byte| byte == b'"').count();
    let lines = bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
    lines.take_while(|line| quotes(line).is_multiple_of(2)).map(<[u8]>::len).sum()
}
