//! A run folder that is read as it grows.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;

use crate::model::{Amount, Condition, Metrics, Model};
use crate::pace::Pace;
use crate::saved::SavedSteps;
use crate::tail::Tail;
use crate::utc;

/// Reads the files of a [`RunFolder`](regimen::folder::RunFolder) as they grow, and changes none of them.
#[derive(Debug)]
pub(crate) struct Reader {
    dir: PathBuf,
    metrics: Tail,
    history: Tail,
    starts: Tail,
    model: Model,
    start: Option<Start>,
    /// The last word of the run in `log.txt`, and its time.
    last_word: Option<(f64, Condition)>,
    /// Ended training epochs, completed steps at the end of the last, and completed steps.
    epochs: u64,
    epoch_began: u64,
    step: u64,
    /// Lines of `metrics.jsonl` that are no records.
    strange: u64,
    saved: SavedSteps,
}

/// A line of `environment.jsonl`.
#[derive(Debug, Deserialize)]
struct Start {
    time: String,
    host: String,
    process: u32,
    #[serde(default)]
    step: u64,
    #[serde(default)]
    expected: Expected,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Expected {
    steps_in_epoch: Option<u64>,
    epochs: Option<u64>,
    steps: Option<u64>,
}

/// A line of `metrics.jsonl`.
#[derive(Deserialize)]
struct Logged<'a> {
    step: u64,
    #[serde(borrow)]
    phase: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    name: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    value: Value<'a>,
    epoch: Option<u64>,
}

/// A number, or the name of one that is not finite.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value<'a> {
    Number(f64),
    Text(&'a str),
}

/// A run that wrote nothing for so many seconds may hang.
const SILENT: f64 = 120.0;

impl Reader {
    pub(crate) fn of(dir: &Path) -> Self {
        let tail = |name| Tail::new(dir.join(name));
        Reader {
            dir: dir.to_owned(),
            metrics: tail("metrics.jsonl"),
            history: tail("log.txt"),
            starts: tail("environment.jsonl"),
            model: Model { title: dir.display().to_string(), ..Model::default() },
            start: None,
            last_word: None,
            epochs: 0,
            epoch_began: 0,
            step: 0,
            strange: 0,
            saved: SavedSteps::in_dir(dir),
        }
    }

    /// The run, as far as its folder was read.
    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// The file that asks the run to pause.
    pub(crate) fn pause_file(&self) -> PathBuf {
        self.dir.join("PAUSE")
    }

    /// Reads what is new. A file that cannot be read is a notice.
    pub(crate) fn look(&mut self, now: SystemTime) {
        let read = [self.read_starts(), self.read_history(), self.read_metrics()];
        for error in read.into_iter().filter_map(Result::err) {
            self.tell_once(format!("cannot read {}: {error}", self.dir.display()));
        }
        if 0 < self.strange {
            self.tell_once(format!("lines of metrics.jsonl are no records: {}", self.strange));
        }
        if let Err(error) = self.saved.look(&mut self.model.checkpoints) {
            self.tell_once(error);
        }
        let written = [&self.metrics, &self.history, &self.starts].map(Tail::written);
        let written = written.into_iter().flatten().max().map(utc::of);
        if let Some(written) = written {
            self.model.pace.observe(written, self.step);
        }
        self.model.condition = self.condition(utc::of(now), written);
        let start = self.start.as_ref().and_then(|start| utc::seconds(&start.time));
        let end = match (&self.model.condition, &self.last_word) {
            (condition, Some((time, word))) if condition == word => Some(*time),
            (Condition::Gone(_), _) => written,
            _ => Some(utc::of(now)),
        };
        self.model.elapsed = start.zip(end).map(|(start, end)| (end - start).max(0.0));
        self.model.epoch = self.epoch();
        self.model.training = self.training();
    }

    fn read_starts(&mut self) -> std::io::Result<()> {
        let (mut newest, mut restarted) = (None, false);
        self.starts.look(
            || restarted = true,
            |line| newest = serde_json::from_slice::<Start>(line).ok().or(newest.take()),
        )?;
        if restarted || newest.is_some() {
            // A new start has cut its metrics back to its checkpoint.
            self.metrics.rewind();
            self.forget_metrics();
            self.model.pace = Pace::default();
        }
        if let Some(start) = newest {
            self.model.pace.observe(utc::seconds(&start.time).unwrap_or_default(), start.step);
            self.step = start.step;
            self.start = Some(start);
        }
        Ok(())
    }

    fn read_history(&mut self) -> std::io::Result<()> {
        let (notices, last_word) = (&mut self.model.notices, &mut self.last_word);
        let mut restarted = false;
        let mut lines = Vec::new();
        self.history
            .look(|| restarted = true, |line| lines.push(String::from_utf8_lossy(line).into_owned()))?;
        if restarted {
            notices.clear();
            *last_word = None;
        }
        for line in lines {
            let Some((time, text)) = entry(&line) else {
                notices.go_on(&line);
                continue;
            };
            if let (Some(seconds), Some(word)) = (utc::seconds(time), last_words(text)) {
                *last_word = Some((seconds, word));
            }
            notices.push(time.get(11..19).unwrap_or_default(), text);
        }
        Ok(())
    }

    fn read_metrics(&mut self) -> std::io::Result<()> {
        let mut restarted = false;
        let mut metrics = std::mem::take(&mut self.model.metrics);
        let (mut epochs, mut epoch_began, mut step, mut strange) = (Vec::new(), None, None, 0);
        // Both closures are called in turn.
        let fresh = std::cell::RefCell::new(&mut metrics);
        let result = self.metrics.look(
            || {
                restarted = true;
                **fresh.borrow_mut() = Metrics::default();
            },
            |line| {
                let Some(logged) = serde_json::from_slice::<Logged<'_>>(line).ok() else {
                    strange += 1;
                    return;
                };
                let value = match logged.value {
                    Value::Number(value) => value,
                    Value::Text(text) => text.parse().unwrap_or(f64::NAN),
                };
                let key = (&*logged.phase, &*logged.name);
                if fresh.borrow_mut().push(key, logged.step, value, logged.epoch.is_some()).is_err() {
                    strange += 1;
                }
                step = Some(logged.step);
                if logged.phase == "train"
                    && let Some(epoch) = logged.epoch
                {
                    epochs.push(epoch);
                    epoch_began = Some(logged.step);
                }
            },
        );
        if restarted {
            self.forget_metrics();
        }
        self.model.metrics = metrics;
        self.strange += strange;
        self.epochs = epochs.into_iter().max().unwrap_or(0).max(self.epochs);
        self.epoch_began = epoch_began.unwrap_or(self.epoch_began);
        self.step = step.unwrap_or(self.step);
        result
    }

    fn forget_metrics(&mut self) {
        self.model.metrics = Metrics::default();
        (self.epochs, self.epoch_began, self.strange) = (0, 0, 0);
    }

    fn condition(&self, now: f64, written: Option<f64>) -> Condition {
        let Some(written) = written else {
            return match self.dir.is_dir() {
                true => Condition::Waiting("a run in this folder".to_owned()),
                false => Condition::Waiting("the folder".to_owned()),
            };
        };
        let start = self.start.as_ref().and_then(|start| utc::seconds(&start.time));
        // Times are in whole seconds: of two in one second, the file that was written last counts.
        let ended = self.last_word.as_ref().filter(|(time, _)| match start {
            None => true,
            Some(start) if *time == start => self.starts.written() < self.history.written(),
            Some(start) => start < *time,
        });
        if let Some((_, word)) = ended {
            return word.clone();
        }
        if let Some(start) = self.start.as_ref().filter(|start| has_ended(start.process, &start.host)) {
            return Condition::Gone(format!("process {}", start.process));
        }
        match now - written {
            _ if self.pause_file().exists() => Condition::Pausing,
            silent if SILENT <= silent => Condition::Silent(silent),
            _ => Condition::Running,
        }
    }

    /// The steps of the open epoch.
    fn epoch(&self) -> Option<Amount> {
        let Expected { steps_in_epoch, epochs, .. } = self.expected()?;
        // At the end of the last epoch there is no next one.
        let (number, done) = match epochs {
            Some(all) if all <= self.epochs => (all, steps_in_epoch.unwrap_or(0)),
            _ => (self.epochs + 1, self.step.saturating_sub(self.epoch_began)),
        };
        let label = match epochs {
            Some(all) => format!("epoch {number}/{all}"),
            None => format!("epoch {number}"),
        };
        Some(Amount { label, done, total: steps_in_epoch, left: self.left(steps_in_epoch, done) })
    }

    /// The steps of the whole training, as far as its limit is known.
    fn training(&self) -> Option<Amount> {
        let Expected { steps_in_epoch, epochs, steps } = self.expected()?;
        let of_epochs = epochs.zip(steps_in_epoch).map(|(epochs, steps)| epochs.saturating_mul(steps));
        let total = [steps, of_epochs].into_iter().flatten().min();
        Some(Amount {
            label: "training".to_owned(),
            done: self.step,
            total,
            left: self.left(total, self.step),
        })
    }

    /// `None` if nothing is known of the run. A folder without `environment.jsonl` has no limits.
    fn expected(&self) -> Option<Expected> {
        let expected = self.start.as_ref().map(|start| start.expected);
        expected.or_else(|| (0 < self.step).then(Expected::default))
    }

    fn left(&self, total: Option<u64>, done: u64) -> Option<f64> {
        let speed = self.model.pace.steps_per_second().filter(|speed| 0.0 < *speed)?;
        Some(total?.saturating_sub(done) as f64 / speed)
    }

    /// Adds a notice, unless it is the newest.
    pub(crate) fn tell_once(&mut self, text: String) {
        if self.model.notices.newest().next().is_none_or(|(_, newest)| newest != text) {
            self.model.notices.push("", text);
        }
    }
}

/// The time and the text of a line of `log.txt`. `None` for the second line of a report.
fn entry(line: &str) -> Option<(&str, &str)> {
    let (time, rest) = line.split_once(' ')?;
    utc::seconds(time)?;
    let (step, text) = rest.strip_prefix("step ")?.split_once(": ")?;
    step.parse::<u64>().ok()?;
    Some((time, text))
}

/// The end that a text of `log.txt` tells: that of a report, or an error. `None` for a notice.
fn last_words(text: &str) -> Option<Condition> {
    if let Some(error) = text.strip_prefix("error: ") {
        return Some(Condition::Failed(error.to_owned()));
    }
    let ended = text.strip_prefix("training ")?;
    let (ended, _) = ended.rsplit_once(" after ")?;
    match ended.split_once(": ") {
        None if ended == "complete" => Some(Condition::Finished("complete".to_owned())),
        Some(("paused", why)) => Some(Condition::Paused(why.to_owned())),
        Some(("finished", why)) => Some(Condition::Finished(format!("finished: {why}"))),
        _ => None,
    }
}

/// Whether a process of this machine has ended. False if that cannot be known.
fn has_ended(process: u32, host: &str) -> bool {
    let processes = Path::new("/proc");
    let name = fs::read_to_string(processes.join("sys/kernel/hostname")).unwrap_or_default();
    let is_here = processes.join("self").exists() && name.trim() == host;
    is_here && !processes.join(process.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::view::View;

    /// 2026-11-30T10:00:00Z, the time of the first start.
    const START: u64 = 1_796_032_800;

    /// A folder in which a run of process 1, on a machine that is not this one, writes.
    struct Folder(tempfile::TempDir, Reader);

    impl Folder {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let reader = Reader::of(dir.path());
            Folder(dir, reader)
        }

        /// Adds to a file, so many seconds after the first start.
        fn add(&self, seconds: u64, file: &str, text: &str) -> &Self {
            let path = self.0.path().join(file);
            let all = fs::read_to_string(&path).unwrap_or_default() + text;
            self.write(seconds, file, &all)
        }

        fn write(&self, seconds: u64, file: &str, text: &str) -> &Self {
            let path = self.0.path().join(file);
            fs::write(&path, text).unwrap();
            let time = UNIX_EPOCH + Duration::from_secs(START + seconds);
            fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
            self
        }

        fn start(&self, seconds: u64, step: u64) -> &Self {
            let line = format!(
                "{{\"time\":\"{}\",\"host\":\"far away\",\"process\":1,\"step\":{step},\
                 \"expected\":{{\"steps_in_epoch\":4,\"epochs\":3,\"steps\":null}}}}\n",
                time(seconds)
            );
            self.add(seconds, "environment.jsonl", &line)
        }

        /// What is shown so many seconds after the first start: the condition, the bars and the points of the first
        /// curve.
        fn look(&mut self, seconds: u64) -> String {
            self.1.look(UNIX_EPOCH + Duration::from_secs(START + seconds));
            let model = self.1.model();
            let bar = |amount: &Option<Amount>| {
                let amount = amount.clone().unwrap_or_default();
                let total = amount.total.map_or("?".to_owned(), |total| total.to_string());
                let left = amount.left.map(|left| format!(" {left} s")).unwrap_or_default();
                format!("{} {}/{total}{left}", amount.label, amount.done)
            };
            let curve = View::default().curve(&model.metrics);
            let line = curve.into_iter().flat_map(|curve| model.metrics.lines(curve));
            let points = line.flat_map(|(_, series)| series.line(0.0, 0.0, false, 99));
            let points: Vec<_> = points.map(|(step, value)| format!("{step}:{value}")).collect();
            let (epoch, training) = (bar(&model.epoch), bar(&model.training));
            format!("{:?}, {epoch}, {training}, {}", model.condition, points.join(" "))
        }
    }

    fn time(seconds: u64) -> String {
        format!("2026-11-30T10:{:02}:{:02}Z", seconds / 60, seconds % 60)
    }

    fn loss(step: u64, value: &str) -> String {
        format!(
            "{{\"step\":{step},\"phase\":\"train\",\"name\":\"train/loss\",\"value\":{value},\"epoch\":null}}\n"
        )
    }

    fn epoch_loss(step: u64, epoch: u64) -> String {
        loss(step, "0.5").replace("null", &epoch.to_string())
    }

    #[test]
    fn a_run_is_read_as_it_grows() {
        let mut folder = Folder::new();
        assert_eq!(folder.look(0), "Waiting(\"a run in this folder\"),  0/?,  0/?, ");
        folder.start(0, 0);
        assert_eq!(folder.look(1), "Running, epoch 1/3 0/4, training 0/12, ");
        let (torn, rest) = (&loss(4, "0.25")[..20], &loss(4, "0.25")[20..]);
        folder.add(4, "metrics.jsonl", &(loss(2, "1.5") + torn));
        // Two steps in four seconds; the torn record is none yet.
        assert_eq!(folder.look(5), "Running, epoch 1/3 2/4 4 s, training 2/12 20 s, 2:1.5");
        folder.add(8, "metrics.jsonl", &(rest.to_owned() + &epoch_loss(4, 1) + &loss(6, "\"NaN\"")));
        assert_eq!(
            folder.look(9),
            "Running, epoch 2/3 2/4 2.67 s, training 6/12 8 s, 2:1.5 4:0.25"
                .replace("2.67", "2.6666666666666665")
        );
    }

    #[test]
    fn a_resumed_run_shows_its_metrics_once() {
        let mut folder = Folder::new();
        folder.start(0, 0).add(9, "metrics.jsonl", &(loss(2, "4") + &loss(4, "3") + &loss(6, "9")));
        assert!(folder.look(9).ends_with("2:4 4:3 6:9"));
        let line = format!(
            "{} step 6: training paused: SIGINT after 1 epoch, 6 steps\nsaved in somewhere\n",
            time(10)
        );
        folder.add(10, "log.txt", &line);
        assert!(folder.look(11).starts_with("Paused(\"SIGINT\")"), "{}", folder.look(11));
        let notices: Vec<_> = folder.1.model().notices.newest().collect();
        assert_eq!(
            notices,
            [("10:00:10", "training paused: SIGINT after 1 epoch, 6 steps; saved in somewhere")]
        );
        // It goes on from step 4, with other values, up to a longer file.
        let again = loss(2, "4") + &loss(4, "3") + &loss(6, "2") + &loss(8, "1");
        folder.start(20, 4).write(24, "metrics.jsonl", &again);
        assert_eq!(folder.look(25), "Running, epoch 1/3 8/4 0 s, training 8/12 4 s, 2:4 4:3 6:2 8:1");
        // A file that is cut without a new start is read again too.
        folder.write(26, "metrics.jsonl", &loss(2, "7"));
        assert!(folder.look(27).ends_with(" 2:7"), "{}", folder.look(27));
    }

    #[test]
    fn the_end_of_a_run_is_told_by_its_history() {
        let check = |text: &str, at: u64, seconds: u64, expected: &str| {
            let mut folder = Folder::new();
            folder.start(30, 0).add(at, "log.txt", &format!("{} step 7: {text}\n", time(at)));
            let shown = folder.look(seconds);
            assert!(shown.starts_with(expected), "{text}: {shown}");
        };
        check("training complete after 1 epoch, 6 steps", 40, 900, "Finished(\"complete\")");
        check(
            "training finished: no better after 3 epochs after 9 epochs, 9 steps",
            40,
            900,
            "Finished(\"finished: no better after 3 epochs\")",
        );
        check("training paused: a: b after 1 epoch, 6 steps", 40, 900, "Paused(\"a: b\")");
        check("error: unit failed: a negative batch", 40, 900, "Failed(\"unit failed: a negative batch\")");
        // A notice, however it begins.
        check("training is slow", 40, 41, "Running");
        check("training is slow", 40, 40 + 119, "Running");
        check("training is slow", 40, 40 + 121, "Silent(121.0)");
        // The end of the start before, also within the same second.
        check("training complete after 1 epoch, 6 steps", 29, 40, "Running");
    }

    #[test]
    fn of_two_words_in_one_second_the_file_that_was_written_last_counts() {
        for (start, end, expected) in [(0, 1, "Finished"), (1, 0, "Running")] {
            let mut folder = Folder::new();
            let word = format!("{} step 7: training complete after 1 epoch, 6 steps\n", time(0));
            folder.start(0, 0).add(0, "log.txt", &word);
            for (file, seconds) in [("environment.jsonl", start), ("log.txt", end)] {
                let text = fs::read_to_string(folder.0.path().join(file)).unwrap();
                folder.write(seconds, file, &text);
            }
            assert!(folder.look(3).starts_with(expected), "{}", folder.look(3));
        }
    }

    #[test]
    fn a_process_of_this_machine_that_is_gone_is_told() {
        let mut folder = Folder::new();
        folder.start(0, 0);
        let text = fs::read_to_string(folder.0.path().join("environment.jsonl")).unwrap();
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let here = |process: u32| {
            let process = format!("\"process\":{process},");
            text.replace("far away", host.trim()).replace("\"process\":1,", &process)
        };
        folder.write(0, "environment.jsonl", &here(std::process::id()));
        assert!(folder.look(1).starts_with("Running"));
        // No process has this number: it is more than the most of Linux, 2^22.
        folder.write(1, "environment.jsonl", &here(1 << 30));
        let expected = if cfg!(target_os = "linux") { "Gone(\"process 1073741824\")" } else { "Running" };
        assert!(folder.look(2).starts_with(expected), "{}", folder.look(2));
    }

    #[test]
    fn a_request_to_pause_is_seen() {
        let mut folder = Folder::new();
        folder.start(0, 0).write(1, "PAUSE", "");
        assert!(folder.look(1).starts_with("Pausing"));
    }

    #[test]
    fn lines_that_are_no_records_are_counted_and_told() {
        let mut folder = Folder::new();
        let strange = "{}\n\n\u{1b}[2J\n".to_owned() + &loss(3, "1").replace("\"train\"", "\"test\"");
        folder.start(0, 0).add(1, "metrics.jsonl", &(strange + &loss(4, "1")));
        assert!(folder.look(1).ends_with(" 4:1"));
        let notices: Vec<_> = folder.1.model().notices.newest().collect();
        assert_eq!(notices, [("", "lines of metrics.jsonl are no records: 4")]);
    }

    #[test]
    fn a_run_without_its_environment_is_shown() {
        let mut folder = Folder::new();
        folder.add(0, "metrics.jsonl", &(epoch_loss(4, 1) + &loss(6, "0.5")));
        assert_eq!(folder.look(1), "Running, epoch 2 2/?, training 6/?, 6:0.5");
    }

    /// Damages are drawn from the number of the attempt.
    #[test]
    fn files_of_any_bytes_are_drawn() {
        use regimen::random::Random;

        use crate::look::Look;
        use crate::watch::picture;

        let folder = Folder::new();
        let word = format!("{} step 7: training paused: SIGINT after 1 epoch, 6 steps\n", time(9));
        folder.start(0, 0).add(9, "log.txt", &word);
        folder.add(9, "metrics.jsonl", &(loss(2, "4") + &epoch_loss(4, 1) + &loss(6, "\"inf\"")));
        let files = ["environment.jsonl", "metrics.jsonl", "log.txt"].map(|name| folder.0.path().join(name));
        let whole = files.clone().map(|file| fs::read(file).unwrap());
        let look = Look { is_unicode: true, has_colour: true };
        for attempt in 0..200 {
            let mut random = Random::new(attempt);
            for (file, whole) in files.iter().zip(&whole) {
                let mut bytes = whole.clone();
                for _ in 0..random.below(4) {
                    let at = random.below(bytes.len() as u64) as usize;
                    let new =
                        [0, 0xff, b'9', b'"', b'\n', 0x1b, random.bits() as u8][random.below(7) as usize];
                    match random.below(3) {
                        0 => bytes[at] = new,
                        1 => bytes.truncate(at + 1),
                        _ => bytes.insert(at, new),
                    }
                }
                fs::write(file, bytes).unwrap();
            }
            let mut reader = Reader::of(folder.0.path());
            reader.look(UNIX_EPOCH + Duration::from_secs(START + random.below(1000)));
            let view = View { is_log: attempt % 2 == 0, ..View::default() };
            assert!(picture(reader.model(), &view, look, 80, 24).is_some(), "attempt {attempt}");
        }
    }
}
