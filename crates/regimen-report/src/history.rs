//! The history of a run: its starts, notices, reports and errors.

use std::collections::VecDeque;
use std::io::{self, BufReader};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::elapsed::Elapsed;
use crate::run_state::last_words;
use crate::{Marks, RunState, lines};

/// The newest notices that are kept.
const MOST_NOTICES: usize = 500;
/// The newest starts that are kept.
const MOST_STARTS: usize = 50;
/// The bytes of a notice that are kept.
const MOST_TEXT: usize = 16 << 10;

/// An entry of `log.txt`: a notice, a report or an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The time in UTC, such as `2026-11-29T08:10:00Z`.
    pub time: String,
    /// Training steps made by then.
    pub step: u64,
    /// What it says; may have several lines. A text of more than 16 KiB is cut there.
    pub text: String,
    /// Whether it is the error that ended a call.
    pub is_error: bool,
}

impl Notice {
    /// `TIME step N: TEXT`.
    fn parse(line: &str) -> Option<Self> {
        let (time, rest) = line.split_once(" step ")?;
        let (step, text) = rest.split_once(": ")?;
        seconds(time)?;
        let is_error = last_words(text) == Some(RunState::Failed);
        let mut notice =
            Notice { time: time.to_owned(), step: step.parse().ok()?, text: String::new(), is_error };
        notice.add(text);
        Some(notice)
    }

    /// Adds to the text as much as there is room for.
    fn add(&mut self, text: &str) {
        let room = MOST_TEXT.saturating_sub(self.text.len());
        // A text that was cut at a character has less room left than the largest character.
        if room >= char::MAX_LEN_UTF8 {
            self.text.push_str(text.get(..text.floor_char_boundary(room)).unwrap_or_default());
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) notices: VecDeque<Notice>,
    /// Older notices that are not kept.
    pub(crate) older: u64,
    /// The lines of `environment.jsonl`.
    pub(crate) starts: VecDeque<Value>,
    /// Lines of the two files that are not what a run writes.
    pub(crate) damaged: u64,
}

impl History {
    /// Reads `environment.jsonl` and `log.txt` in `folder`. A file that is missing has no lines.
    pub(crate) fn read(folder: &Path) -> io::Result<Self> {
        let mut history = History::default();
        each_line(&folder.join("environment.jsonl"), |line| match line.map(serde_json::from_str) {
            Some(Ok(start @ Value::Object(_))) => {
                history.starts.push_back(start);
                if MOST_STARTS < history.starts.len() {
                    history.starts.pop_front();
                }
            }
            _ => history.damaged += u64::from(line.is_none_or(|line| !line.trim().is_empty())),
        })?;
        each_line(&folder.join("log.txt"), |line| match (line.and_then(Notice::parse), line) {
            (Some(notice), _) => {
                history.notices.push_back(notice);
                if MOST_NOTICES < history.notices.len() {
                    history.notices.pop_front();
                    history.older += 1;
                }
            }
            (None, line) => match (history.notices.back_mut(), line) {
                // A text of several lines.
                (Some(last), Some(line)) => ["\n", line].iter().for_each(|part| last.add(part)),
                _ => history.damaged += 1,
            },
        })?;
        Ok(history)
    }

    /// Seconds until a step, by the times of starts and entries. The notices must be whole.
    pub(crate) fn elapsed(&self) -> Marks {
        let starts = self.starts.iter().filter_map(|start| {
            Some((seconds(start.get("time")?.as_str()?)?, false, start.get("step")?.as_u64()?))
        });
        let entries = self.notices.iter().filter_map(|entry| Some((seconds(&entry.time)?, true, entry.step)));
        let mut all: Vec<_> = starts.chain(entries).collect();
        // A start is before the entries of its second, and an end before the next start.
        all.sort_by_key(|(time, _, _)| *time);
        let mut elapsed = Elapsed::default();
        for (time, is_entry, step) in all {
            if is_entry {
                elapsed.mark(step, time as f64);
            } else {
                elapsed.begin(step.saturating_add(1), time as f64);
            }
        }
        elapsed.into_marks()
    }

    /// The time of the newest start.
    pub(crate) fn newest_start(&self) -> Option<&str> {
        self.starts.back()?.get("time")?.as_str()
    }
}

fn seconds(time: &str) -> Option<i64> {
    Some(OffsetDateTime::parse(time, &Rfc3339).ok()?.unix_timestamp())
}

/// Calls `each` for every line of a file, of which bytes that are no UTF-8 are replaced; `None` is one that is too long. A
/// torn last line is passed over.
fn each_line(path: &Path, mut each: impl FnMut(Option<&str>)) -> io::Result<()> {
    let Some(file) = lines::open(path)? else { return Ok(()) };
    lines::each_line(BufReader::new(file), |line| each(line.map(String::from_utf8_lossy).as_deref()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn entries_have_their_lines_and_times_leave_out_the_pauses() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        file(
            "environment.jsonl",
            "{\"time\":\"2026-11-29T08:00:00Z\",\"step\":0}\nnot JSON\n{\"time\":\"2026-11-30T08:00:00Z\",\"step\":40}\n{\"torn",
        );
        file(
            "log.txt",
            "begins torn\n2026-11-29T08:01:00Z step 40: training paused: a signal\nbest eval/loss 0.5\n\
             2026-11-30T08:00:30Z step 60: a notice: with a colon\n2026-11-30T08:00:3",
        );
        let history = History::read(folder.path()).unwrap();
        let notice = |time: &str, step, text: &str| Notice {
            time: time.into(),
            step,
            text: text.into(),
            is_error: false,
        };
        assert_eq!(
            history.notices,
            [
                notice("2026-11-29T08:01:00Z", 40, "training paused: a signal\nbest eval/loss 0.5"),
                notice("2026-11-30T08:00:30Z", 60, "a notice: with a colon"),
            ]
        );
        assert_eq!((history.starts.len(), history.damaged), (2, 2));
        assert_eq!(history.elapsed().all(), [(40, 60.0), (60, 90.0)]);
    }

    #[test]
    fn errors_are_known_and_long_texts_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let line = "\u{e9}".repeat(100);
        let text = format!("{line}\n").repeat(1000);
        fs::write(folder.path().join("log.txt"), format!("2026-11-29T08:01:00Z step 4: error: !{text}"))
            .unwrap();
        let history = History::read(folder.path()).unwrap();
        let error = &history.notices[0];
        assert!(error.is_error);
        assert_eq!(error.text, format!("error: !{text}")[..16383]);
    }
}
