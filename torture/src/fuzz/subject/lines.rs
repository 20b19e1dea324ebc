//! Lines of text, from the beginning and from a saved position.

use regimen::BoxError;
use regimen::data::{Lines, Position, Stream, StreamAt, StreamReader};
use regimen::random::Random;

use super::Subject;
use crate::fuzz::corpus::Corpus;
use crate::fuzz::trial::{Fault, Trial, demand};

const MARK: &[u8] = b"\xEF\xBB\xBF";

const WORDS: &[&[u8]] =
    &[MARK, b"\n", b"\r\n", b"\r", b"\n\n\n", b"\xFF\xFE", b"\xC3", b"\0", b"\xE2\x80\xA8"];

#[derive(Debug)]
pub(super) struct Text(Corpus);

impl Text {
    pub(super) fn new() -> Self {
        let files: [&[u8]; 4] = [
            b"one\ntwo\r\n\nfour",
            "gr\u{f6}\u{df}e\n\u{1F600}\n".as_bytes(),
            b"\n\n\n",
            b"a line that is longer than the others, which are short\n",
        ];
        Text(Corpus::new(files.map(<[u8]>::to_vec).to_vec(), WORDS))
    }
}

impl Subject for Text {
    fn name(&self) -> &'static str {
        "lines"
    }

    fn attempt(&self, random: &mut Random, trial: &mut Trial) -> Result<(), Fault> {
        let drawn = self.0.draw(random);
        let path = trial.write("text", &drawn.bytes)?;
        let expected = lines(&drawn.bytes);
        let lines = Lines::new(path);
        let at = random.below(expected.len() as u64 + 1) as usize;
        let mut position = None;
        let read = trial.read(drawn.bytes.len(), || {
            follow(&lines, None, &expected, |count, here| {
                if count == at {
                    position = Some(here);
                }
            })
        })?;
        match read {
            Err(why) => demand(expected.contains(&None), || format!("a valid text is refused: {why}"))?,
            Ok(difference) => difference.map_or(Ok(()), |difference| Err(Fault::Mismatch(difference)))?,
        }
        let Some(position) = position else { return Ok(()) };
        let rest =
            trial.read(drawn.bytes.len(), || follow(&lines, Some(&position), &expected[at..], |_, _| ()))?;
        match rest {
            Err(why) => Err(Fault::Mismatch(format!("line {at} is not found again: {why}"))),
            Ok(None) => Ok(()),
            Ok(Some(difference)) => Err(Fault::Mismatch(format!("from line {at} on, {difference}"))),
        }
    }
}

/// The lines of a file; `None` for each that is not UTF-8.
fn lines(bytes: &[u8]) -> Vec<Option<String>> {
    let bytes = bytes.strip_prefix(MARK).unwrap_or(bytes);
    let mut lines: Vec<_> = bytes.split(|&byte| byte == b'\n').collect();
    // A trailing line feed starts no further line.
    lines.pop_if(|last| last.is_empty());
    let text = |line: &[u8]| String::from_utf8(line.strip_suffix(b"\r").unwrap_or(line).to_vec()).ok();
    lines.into_iter().map(text).collect()
}

/// Reads from `position`, passes the position after each line to `reached`, and returns the first
/// difference from `expected`.
fn follow(
    lines: &Lines,
    position: Option<&Position>,
    expected: &[Option<String>],
    mut reached: impl FnMut(usize, Position),
) -> Result<Option<String>, BoxError> {
    let mut reader = lines.open(StreamAt { epoch: 0, seed: 0, position: position.cloned() })?;
    for (count, expected) in expected.iter().enumerate() {
        let line = match reader.next() {
            None => return Ok(Some(format!("there are {count} lines only"))),
            Some(line) => line.ok(),
        };
        if line != *expected {
            return Ok(Some(format!("line {count} is {line:?}, not {expected:?}")));
        }
        reached(count + 1, reader.position());
    }
    Ok(reader.next().map(|line| format!("there is {line:?} behind the last line")))
}
