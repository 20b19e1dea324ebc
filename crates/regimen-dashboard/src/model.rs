//! The content of the dashboard.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use crate::pace::Pace;
use crate::series::Series;

/// The content of the dashboard, without the choices of its reader: those are a [`View`](crate::view::View).
///
/// It is made by a [`Reader`](crate::reader::Reader) from the files of a run, or by a
/// [`Dashboard`](crate::Dashboard) from its events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    /// The run, in the words of the user.
    pub(crate) title: String,
    pub(crate) condition: Condition,
    /// Seconds since the start.
    pub(crate) elapsed: Option<f64>,
    /// The epoch of the training or the evaluation that is under way.
    pub(crate) epoch: Option<Amount>,
    /// The whole training.
    pub(crate) training: Option<Amount>,
    pub(crate) pace: Pace,
    pub(crate) metrics: Metrics,
    pub(crate) notices: Notices,
    /// The newest first.
    pub(crate) checkpoints: Vec<SavedStep>,
}

/// Whether the run goes on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Condition {
    /// Nothing is known yet; says what is waited for.
    Waiting(String),
    #[default]
    Running,
    /// It was asked to pause, and has not yet.
    Pausing,
    /// It may go on; says why it paused.
    Paused(String),
    /// It reached its limit, or a rule ended it.
    Finished(String),
    /// An error ended it.
    Failed(String),
    /// Its process ended without a word.
    Gone(String),
    /// It has been silent for so many seconds.
    Silent(f64),
}

/// Completed things of a total.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Amount {
    /// `epoch 3/12`.
    pub(crate) label: String,
    pub(crate) done: u64,
    pub(crate) total: Option<u64>,
    /// Seconds to the total.
    pub(crate) left: Option<f64>,
}

/// A checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SavedStep {
    pub(crate) step: u64,
    pub(crate) epoch: u64,
    /// It was saved on an error, and no run goes on from it.
    pub(crate) is_post_mortem: bool,
    pub(crate) metrics: BTreeMap<String, f64>,
}

/// The newest notices, errors and reports, each with the time of day or none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notices(VecDeque<(String, String)>);

/// All metrics, in curves.
///
/// A curve has the metrics whose names differ in their phase alone: `train/loss` and `eval/loss` are the lines of the
/// curve `loss`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(BTreeMap<(Class, String), BTreeMap<Line, Series>>);

/// Metrics that are looked at first come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Loss,
    Measure,
    /// Rates, times and norms.
    Rate,
    System,
}

/// A line of a curve: the phase in which the metric was logged, and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) phase: u8,
    pub(crate) name: String,
}

const PHASES: [&str; 3] = ["train", "eval", "predict"];

const MOST_NOTICES: usize = 100;
/// Bytes of a notice: more than any terminal shows.
const LONGEST_NOTICE: usize = 4096;

impl Model {
    /// Whether there is a run that can be asked to pause.
    pub(crate) fn can_pause(&self) -> bool {
        matches!(self.condition, Condition::Running | Condition::Silent(_))
    }
}

impl Condition {
    /// Whether the run is over, or seems to be.
    pub(crate) fn is_over(&self) -> bool {
        !matches!(self, Condition::Waiting(_) | Condition::Running | Condition::Pausing)
    }
}

impl Metrics {
    /// Adds a value of the metric `name`. A phase that is not known is an error.
    pub(crate) fn push(
        &mut self,
        (phase, name): (&str, &str),
        step: u64,
        value: f64,
        is_over_epoch: bool,
    ) -> Result<(), ()> {
        let phase_index = PHASES.iter().position(|known| *known == phase).ok_or(())? as u8;
        let curve = short(phase, name);
        let lines = self.0.entry((Class::of(curve), curve.to_owned())).or_default();
        let line = Line { phase: phase_index, name: name.to_owned() };
        lines.entry(line).or_default().push(step, value, is_over_epoch);
        Ok(())
    }

    /// The names of the curves.
    pub(crate) fn curves(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|(_, name)| &**name)
    }

    /// The lines of a curve.
    pub(crate) fn lines(&self, curve: &str) -> impl Iterator<Item = (&Line, &Series)> {
        self.0.get(&(Class::of(curve), curve.to_owned())).into_iter().flatten()
    }

    /// The curves of losses and measures, each with its lines: those of the table.
    pub(crate) fn measured(&self) -> impl Iterator<Item = (&str, &BTreeMap<Line, Series>)> {
        let measured = |((class, _), _): &(&(Class, String), _)| *class <= Class::Measure;
        self.0.iter().filter(measured).map(|((_, curve), lines)| (&**curve, lines))
    }

    /// The newest values of all other curves, by the name of the curve: those of the training, if it has one.
    pub(crate) fn others(&self) -> impl Iterator<Item = (&str, f64)> {
        let others = self.0.iter().filter(|((class, _), _)| Class::Measure < *class);
        others.filter_map(|((_, curve), lines)| Some((&**curve, lines.values().next()?.newest()?)))
    }
}

impl Class {
    fn of(curve: &str) -> Self {
        let begins = |starts: &[&str]| starts.iter().any(|start| curve.starts_with(start));
        match curve {
            "loss" => Class::Loss,
            _ if curve.starts_with("system/") => Class::System,
            "momentum" | "update_ratio" => Class::Rate,
            _ if curve.ends_with("_per_second") || curve.ends_with("_seconds") => Class::Rate,
            _ if begins(&["learning_rate/", "parameter_norm/", "gradient_norm/", "progress/"]) => Class::Rate,
            _ => Class::Measure,
        }
    }
}

impl Line {
    /// The name, and the phase if the name does not say it.
    pub(crate) fn label(&self) -> String {
        let phase = PHASES.get(usize::from(self.phase)).copied().unwrap_or_default();
        match short(phase, &self.name).len() < self.name.len() || self.phase == 0 {
            true => self.name.clone(),
            false => format!("{} ({phase})", self.name),
        }
    }
}

impl Notices {
    /// Adds a notice. Its end is left out if it is too long.
    pub(crate) fn push(&mut self, time: impl Into<String>, text: &str) {
        if self.0.len() == MOST_NOTICES {
            self.0.pop_front();
        }
        let mut notice = String::new();
        push_bounded(&mut notice, text);
        self.0.push_back((time.into(), notice));
    }

    /// Adds a line to the newest, as far as there is room in it.
    pub(crate) fn go_on(&mut self, text: &str) {
        match self.0.back_mut() {
            None => self.push("", text),
            Some((_, notice)) => {
                push_bounded(notice, "; ");
                push_bounded(notice, text);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The newest first.
    pub(crate) fn newest(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().rev().map(|(time, text)| (&**time, &**text))
    }
}

/// Adds as much of a text as there is room for in a notice.
fn push_bounded(notice: &mut String, text: &str) {
    let room = text.floor_char_boundary(LONGEST_NOTICE.saturating_sub(notice.len()));
    notice.push_str(text.get(..room).unwrap_or_default());
}

/// The name of a metric without its phase.
fn short<'n>(phase: &str, name: &'n str) -> &'n str {
    name.strip_prefix(phase).and_then(|name| name.strip_prefix('/')).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_one_name_in_several_phases_are_one_curve() {
        let mut metrics = Metrics::default();
        for (phase, name) in [
            ("train", "train/samples_per_second"),
            ("train", "system/cpu"),
            ("eval", "eval/accuracy"),
            ("train", "train/loss"),
            ("eval", "eval/loss"),
            ("train", "steps"),
            ("eval", "steps"),
        ] {
            metrics.push((phase, name), 1, 0.5, false).unwrap();
        }
        let curves: Vec<_> = metrics.curves().collect();
        assert_eq!(curves, ["loss", "accuracy", "steps", "samples_per_second", "system/cpu"]);
        let labels = |curve| metrics.lines(curve).map(|(line, _)| line.label()).collect::<Vec<_>>();
        assert_eq!(labels("loss"), ["train/loss", "eval/loss"]);
        assert_eq!(labels("steps"), ["steps", "steps (eval)"]);
        assert_eq!(
            metrics.measured().map(|(curve, _)| curve).collect::<Vec<_>>(),
            ["loss", "accuracy", "steps"]
        );
        assert!(metrics.push(("test", "loss"), 1, 0.5, false).is_err());
    }

    #[test]
    fn the_newest_notices_stay() {
        let mut notices = Notices::default();
        (0..150).for_each(|n| notices.push("", &n.to_string()));
        notices.go_on("and more");
        let texts: Vec<_> = notices.newest().map(|(_, text)| text).collect();
        assert_eq!((texts.len(), texts[0], texts[99]), (100, "149; and more", "50"));
    }

    #[test]
    fn a_long_notice_is_cut() {
        let mut notices = Notices::default();
        notices.push("", &"x".repeat(5000));
        assert_eq!(notices.newest().next(), Some(("", &*"x".repeat(4096))));
        notices.push("", "a");
        // 4,093 bytes are left after the separator, and a character has two.
        (0..3).for_each(|_| notices.go_on(&"\u{e9}".repeat(3000)));
        let expected = format!("a; {}; ", "\u{e9}".repeat(2046));
        assert_eq!(notices.newest().next(), Some(("", &expected[..4096])));
    }
}
