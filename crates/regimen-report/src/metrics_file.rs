//! The reader of `metrics.jsonl`.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead};

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use crate::{Curve, CurveKey, lines};

/// The curves of a log, and its lines that are no records.
#[derive(Debug, Default)]
pub(crate) struct MetricsFile {
    pub(crate) curves: Vec<Curve>,
    /// The largest step.
    pub(crate) step: u64,
    /// Epochs of training that ended, with their steps.
    pub(crate) epochs: Vec<(u64, u64)>,
    /// Lines that are no records.
    pub(crate) damaged: u64,
    /// Whether the last line has no end: the run writes it, or was killed.
    pub(crate) is_torn: bool,
}

/// A line, as [`Record`](regimen::log::Record) writes it.
#[derive(Deserialize)]
struct Line<'a> {
    step: u64,
    #[serde(borrow)]
    phase: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    value: Number,
    epoch: Option<u64>,
}

impl MetricsFile {
    /// Reads line by line. Only a file that cannot be read is an error.
    pub(crate) fn read(file: impl BufRead) -> io::Result<Self> {
        let mut read = MetricsFile::default();
        // Metrics of a moment follow each other in one order, so the next one is most often behind the last.
        let mut next = 0;
        read.is_torn = lines::each_line(file, |line| match line.map(serde_json::from_slice::<Line<'_>>) {
            Some(Ok(line)) => next = read.add(&line, next),
            _ => read.damaged += u64::from(line.is_none_or(|line| !line.trim_ascii().is_empty())),
        })?;
        read.curves.sort_by(|a, b| a.key().cmp(b.key()));
        Ok(read)
    }

    /// Adds a value to its curve, which is looked for from `next` on. Returns the place behind it.
    fn add(&mut self, line: &Line<'_>, next: usize) -> usize {
        let is_it = |curve: &Curve| {
            let key = curve.key();
            key.name == line.name && key.per_epoch == line.epoch.is_some() && key.phase == line.phase
        };
        let (before, behind) = self.curves.split_at(next.min(self.curves.len()));
        let found = behind.iter().position(is_it).map(|n| n + before.len());
        let place = found.or_else(|| before.iter().position(is_it)).unwrap_or_else(|| {
            let (name, phase) = (line.name.to_string(), line.phase.to_string());
            self.curves.push(Curve::new(CurveKey { name, phase, per_epoch: line.epoch.is_some() }));
            self.curves.len() - 1
        });
        if let Some(curve) = self.curves.get_mut(place) {
            curve.push(line.step, line.value.0);
        }
        if let Some(epoch) = line.epoch.filter(|_| line.phase == "train") {
            while self.epochs.pop_if(|(step, last)| line.step < *step || epoch < *last).is_some() {}
            if self.epochs.last() != Some(&(line.step, epoch)) {
                self.epochs.push((line.step, epoch));
            }
        }
        self.step = self.step.max(line.step);
        place + 1
    }
}

/// A number, or `"NaN"`, `"inf"` or `"-inf"`.
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl Visitor<'_> for Visit {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, \"NaN\", \"inf\" or \"-inf\"")
            }

            fn visit_f64<E>(self, value: f64) -> Result<Number, E> {
                Ok(Number(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                match text {
                    "NaN" => Ok(Number(f64::NAN)),
                    "inf" => Ok(Number(f64::INFINITY)),
                    "-inf" => Ok(Number(f64::NEG_INFINITY)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

#[cfg(test)]
mod tests {
    use regimen::log::Record;
    use regimen::state::Phase;

    use super::*;

    fn line(step: u64, name: &str, value: f64, epoch: Option<u64>) -> String {
        let phase = if name.starts_with("eval") { Phase::Eval } else { Phase::Train };
        serde_json::to_string(&Record { step, phase, name, value, epoch }).unwrap() + "\n"
    }

    #[test]
    fn what_a_log_writes_is_read_with_every_bit() {
        let text = [
            line(10, "train/loss", 0.1 + 0.2, None),
            line(10, "train/\"\u{e9}\n", -3.0, None),
            line(20, "train/loss", f64::NAN, None),
            line(20, "train/loss", f64::NEG_INFINITY, Some(1)),
            line(20, "eval/loss", 5e-324, Some(1)),
        ];
        let read = MetricsFile::read(text.concat().as_bytes()).unwrap();
        let curves: Vec<_> = read.curves.iter().map(|curve| (&*curve.key().name, curve.last())).collect();
        assert_eq!(curves[0], ("eval/loss", Some((20, 5e-324))));
        assert_eq!(curves[1], ("train/\"\u{e9}\n", Some((10, -3.0))));
        assert_eq!((curves[2].0, read.curves[2].buckets()[0].first), ("train/loss", 0.1 + 0.2));
        assert!(curves[2].1.unwrap().1.is_nan());
        assert_eq!(curves[3], ("train/loss", Some((20, f64::NEG_INFINITY))));
        assert_eq!((read.step, read.epochs, read.damaged, read.is_torn), (20, vec![(20, 1)], 0, false));
    }

    #[test]
    fn damaged_lines_are_counted_and_a_torn_one_at_the_end_is_passed_over() {
        let whole = line(1, "train/loss", 1.0, None);
        let long = "x".repeat(3 << 20);
        let text = format!("{whole}\0\u{fffd}{{\n{{\"step\":2}}\n\n{long}\n{whole}{}", &whole[..20]);
        let read = MetricsFile::read(text.as_bytes()).unwrap();
        assert_eq!((read.damaged, read.is_torn, read.curves[0].points()), (3, true, 2));
    }

    #[test]
    fn an_empty_log_has_no_curve() {
        let read = MetricsFile::read(&b""[..]).unwrap();
        assert_eq!((read.curves.len(), read.step, read.damaged, read.is_torn), (0, 0, 0, false));
    }
}
