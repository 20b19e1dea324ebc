//! The printed records of a fit.

use std::fmt::{self, Write as _};
use std::io::Write;
use std::time::{Duration, Instant};

use super::{Set, Stages, StagesUnit};
use crate::auto_unit::Task;
use crate::callback::{Event, Events, Ranks};
use crate::engine::Engine;
use crate::metric::Key;
use crate::run::Report;
use crate::state::{EntryPoint, Phase};
use crate::{BoxError, Callback, State};

/// Prints the records of a [`FitLoop`](super::FitLoop): a block per epoch, and a summary at the end of a call.
///
/// ```text
/// [1/4] - train :: loss: 0.5280 | accuracy: 0.8032
///         valid :: loss: 0.3796 | accuracy: 0.8583
///         epoch time: 37 s 757 ms
/// ```
///
/// The summary has the total time, and the best score of a fit if there are criteria and validation data; before the
/// first validation that is `-inf` or `inf`.
///
/// Each block is one write, at the end of its epoch, so it does not break the lines of others. A
/// [`Printer`](crate::callback::Printer) prints it above a progress bar. A write that fails is ignored.
pub struct FitTable {
    out: Box<dyn Write + Send>,
    clock: Box<dyn FnMut() -> Duration + Send>,
    every: u64,
    only: Option<Vec<String>>,
    /// When the call and the epoch began.
    call: Duration,
    epoch: Duration,
    /// Whether the epoch had a validation.
    validated: bool,
    /// The metric of the score, and the score before the first validation.
    score: Option<(Key, f64)>,
}

impl FitTable {
    /// Prints every epoch to `out`, with all values.
    pub fn to(out: impl Write + Send + 'static) -> Self {
        let start = Instant::now();
        FitTable {
            out: Box::new(out),
            clock: Box::new(move || start.elapsed()),
            every: 1,
            only: None,
            call: Duration::ZERO,
            epoch: Duration::ZERO,
            validated: false,
            score: None,
        }
    }

    /// Prints the first epoch and every `epochs`-th. 0 prints no epoch, only the summary.
    pub fn every(self, epochs: u64) -> Self {
        FitTable { every: epochs, ..self }
    }

    /// Prints the values of these names alone, in this order.
    pub fn only<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Self {
        FitTable { only: Some(names.into_iter().map(Into::into).collect()), ..self }
    }

    /// Measures times by `clock` instead of the clock of the system; for tests.
    pub fn clock(self, clock: impl FnMut() -> Duration + Send + 'static) -> Self {
        FitTable { clock: Box::new(clock), ..self }
    }

    fn values(&self, record: &[(String, f64)]) -> String {
        let value = |(name, value): &(String, f64)| format!("{name}: {value:.4}");
        let values: Vec<String> = match &self.only {
            None => record.iter().map(value).collect(),
            Some(names) => {
                let of_name = |name| record.iter().find(|(known, _)| known == name);
                names.iter().filter_map(of_name).map(value).collect()
            }
        };
        values.join(" | ")
    }

    fn print(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

impl<E: Engine, X, Y, O> Callback<StagesUnit<E, X, Y, O>> for FitTable
where
    Stages<E, X, Y, O>: Task<E>,
{
    fn events(&self) -> Events {
        use Event::*;
        TrainStart | CycleStart | CycleEnd | EvalStart | EvalEpochEnd
    }

    fn ranks(&self) -> Ranks {
        Ranks::First
    }

    fn on_event(
        &mut self,
        event: Event,
        state: &mut State,
        unit: &mut StagesUnit<E, X, Y, O>,
    ) -> Result<(), BoxError> {
        let (now, by_hand) = ((self.clock)(), state.entry_point() == EntryPoint::Evaluate);
        match event {
            Event::TrainStart => {
                (self.call, self.epoch) = (now, now);
                self.score.clone_from(&unit.task().score);
            }
            Event::EvalStart if by_hand => self.call = now,
            Event::CycleStart => (self.epoch, self.validated) = (now, false),
            Event::EvalEpochEnd if by_hand => {
                let (set, record) = unit.task().by_hand();
                let line = format!("{} :: {}\n\n", set.name(), self.values(record));
                self.print(&line);
            }
            Event::EvalEpochEnd => self.validated = true,
            Event::CycleEnd => {
                let epoch = state.train_progress().epochs;
                if epoch == 1 && self.every > 0 || epoch.checked_rem(self.every) == Some(0) {
                    let of = state.expected(Phase::Train).epochs.unwrap_or(epoch);
                    let width = tag_width(of);
                    let train = self.values(unit.task().record(Set::Train));
                    let mut block = format!("{:>width$} - train :: {train}\n", format!("[{epoch}/{of}]"));
                    if self.validated {
                        let valid = self.values(unit.task().record(Set::Valid));
                        let _ = writeln!(block, "{:width$}   valid :: {valid}", "");
                    }
                    let time = Time(now.saturating_sub(self.epoch));
                    let _ = writeln!(block, "{:width$}   epoch time: {time}\n", "");
                    self.print(&block);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn on_report(&mut self, report: &Report) {
        let width = match report.phase {
            Phase::Train => tag_width(report.train.epochs),
            _ => tag_width(1),
        };
        let time = Time((self.clock)().saturating_sub(self.call));
        let mut summary = format!("{:-<width$}\ntotal time: {time}\n", "");
        if let Some((key, first)) = self.score.as_ref().filter(|_| report.phase == Phase::Train) {
            let best = report.best(key).map_or(*first, |best| best.value);
            let _ = writeln!(summary, "best score: {best:.4}");
        }
        self.print(&summary);
    }
}

impl fmt::Debug for FitTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FitTable")
            .field("every", &self.every)
            .field("only", &self.only)
            .finish_non_exhaustive()
    }
}

/// The width of `[4/4]` for as many epochs.
fn tag_width(epochs: u64) -> usize {
    2 * epochs.to_string().len() + 3
}

/// `03 m 09 s 048 ms`: days, hours and minutes if there are any, seconds and milliseconds always.
struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let units = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m")];
        for (count, unit) in units.into_iter().skip_while(|(count, _)| *count == 0) {
            write!(f, "{count:02} {unit} ")?;
        }
        write!(f, "{:02} s {:03} ms", seconds % 60, self.0.subsec_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_whole_units_and_three_digits_of_milliseconds() {
        for (millis, expected) in [
            (0, "00 s 000 ms"),
            (500, "00 s 500 ms"),
            (37_757, "37 s 757 ms"),
            (189_048, "03 m 09 s 048 ms"),
            (3_661_250, "01 h 01 m 01 s 250 ms"),
            (90_000_001, "01 d 01 h 00 m 00 s 001 ms"),
        ] {
            assert_eq!(Time(Duration::from_millis(millis)).to_string(), expected);
        }
    }
}
