//! Metric log files that a restored run truncates and continues, or a new run appends to.

use std::fs;
use std::path::{Path, PathBuf};

use regimen::callback::Every;
use regimen::log::{ExistingFile, LogFile, MetricLog};
use regimen::random::Random;
use regimen::run::Train;
use regimen::saved::StateDict;
use regimen::{BoxError, Run};

use super::Subject;
use super::toy::{DATA, Toy};
use crate::fuzz::corpus::Corpus;
use crate::fuzz::trial::{Fault, Trial, demand, refused};

/// The step at which runs are restored, and the last step.
const RESTORED: u64 = 4;
const END: u64 = 7;

const WORDS: &[&[u8]] =
    &[b"\n", b"step,phase,name,value,epoch\n", b"1,train,loss,0.5,\n", b"\"", b"{}\n", b"\0"];

#[derive(Debug)]
pub(super) struct Logs(Vec<Log>);

/// The log of an undisturbed run.
#[derive(Debug)]
struct Log {
    file: &'static str,
    corpus: Corpus,
    /// Its rows, without the header.
    rows: Vec<u8>,
    whole: Vec<u8>,
    /// The checkpointed state of the log after some steps, and the log's length at that moment.
    state: StateDict,
    length: usize,
}

impl Logs {
    pub(super) fn new(folder: &Path) -> Result<Self, BoxError> {
        let log = |(file, head): (&'static str, &str)| {
            let path = folder.join(file);
            let mut unit = Toy::default();
            let mut run = Run::new(&mut unit).callback(log(&path));
            run.train(&DATA, Train::steps(RESTORED))?;
            let (state, length) = (run.run_state()?, fs::read(&path)?.len());
            run.train(&DATA, Train::steps(END))?;
            let whole = fs::read(&path)?;
            let rows = whole.strip_prefix(head.as_bytes()).ok_or("a log has another head")?.to_vec();
            Ok(Log { file, corpus: Corpus::new(vec![whole.clone()], WORDS), rows, whole, state, length })
        };
        let logs = [("log.csv", "step,phase,name,value,epoch\n"), ("log.jsonl", "")];
        Ok(Logs(logs.into_iter().map(log).collect::<Result<_, BoxError>>()?))
    }
}

/// The format follows from the file name.
fn log(path: &Path) -> MetricLog<LogFile> {
    let log = if path.extension().is_some_and(|extension| extension == "csv") {
        MetricLog::csv(path)
    } else {
        MetricLog::jsonl(path)
    };
    log.every(Every::steps(1))
}

/// Continues the log in `path` in a restored run.
fn go_on(path: PathBuf, state: &StateDict) -> Result<(), BoxError> {
    let mut unit = Toy::default();
    // The weights are not saved with the run; they follow from its steps.
    unit_after(&mut unit, RESTORED)?;
    let mut run = Run::new(&mut unit).callback(log(&path));
    run.load_run_state(state)?;
    run.train(&DATA, Train::steps(END))?;
    Ok(())
}

fn unit_after(unit: &mut Toy, steps: u64) -> Result<(), BoxError> {
    Run::new(unit).train(&DATA, Train::steps(steps))?;
    Ok(())
}

fn append(path: PathBuf) -> Result<(), BoxError> {
    let mut unit = Toy::default();
    Run::new(&mut unit)
        .callback(log(&path).existing(ExistingFile::Append))
        .train(&DATA, Train::steps(END))?;
    Ok(())
}

impl Subject for Logs {
    fn name(&self) -> &'static str {
        "logs"
    }

    fn attempt(&self, random: &mut Random, trial: &mut Trial) -> Result<(), Fault> {
        let log = &self.0[random.below(2) as usize];
        let drawn = log.corpus.draw(random);
        let before = &drawn.bytes;
        let path = trial.write(log.file, before)?;
        let is_restored = random.below(2) == 0;
        let read = trial.read(before.len() + log.whole.len(), || {
            if is_restored { go_on(path.clone(), &log.state) } else { append(path.clone()) }
        })?;
        let after = fs::read(&path).map_err(BoxError::from)?;
        let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if let Err(why) = &read {
            return refused(&drawn, why, &after);
        }
        if is_restored {
            let is_this_log = before.get(..log.length) == log.whole.get(..log.length);
            demand(is_this_log, || format!("the log of another run is written on: {:?}", show(&after)))?;
            return demand(after == log.whole, || format!("the log has become {:?}", show(&after)));
        }
        // A row torn by a power cut may be completed or removed; all others stay.
        let kept = end_of_rows(before, log.file.ends_with("csv"));
        let holds = after.starts_with(&before[..kept]) && after.ends_with(&log.rows);
        demand(holds, || format!("appended to {:?}, the log has become {:?}", show(before), show(&after)))
    }
}

/// The end of the complete rows. In a table, a line that opens a quote without closing it may be torn.
fn end_of_rows(bytes: &[u8], is_table: bool) -> usize {
    let quotes = |line: &&[u8]| line.iter().filter(|&&byte| byte == b'"').count();
    let lines = bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
    lines.take_while(|line| !is_table || quotes(line).is_multiple_of(2)).map(<[u8]>::len).sum()
}
