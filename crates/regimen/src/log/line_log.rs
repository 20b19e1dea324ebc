//! A log as lines of text.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;
use std::io::{self, Write};

use super::{MetricLog, MetricSink, Record};
use crate::BoxError;
use crate::state::Phase;
use crate::text::Short;

/// Prints a line per moment: `[Step 10] loss=0.2311, accuracy=0.9824` for a training step, `[Epoch 3] ...`
/// over a training epoch, `[Eval epoch 3] ...` and `[Predict epoch 3] ...` over the others.
///
/// Values have four significant digits. Each line is one write, and is flushed. A closed pipe is a failure
/// like others: see [`on_failure`](MetricLog::on_failure).
///
/// Beside a [`ProgressBar`](crate::callback::ProgressBar) in the same terminal, print through its printer.
/// The lines then stand above the bar:
///
/// ```
/// # use regimen::Run;
/// use regimen::callback::ProgressBar;
/// use regimen::log::MetricLog;
///
/// # fn example<U>(run: Run<'_, U>) -> Run<'_, U> {
/// let bar = ProgressBar::new();
/// run.callback(MetricLog::lines(bar.printer())).callback(bar)
/// # }
/// ```
pub struct LineLog {
    name: &'static str,
    out: Box<dyn Write + Send>,
}

impl MetricLog<LineLog> {
    /// Prints a line per moment to the standard output.
    ///
    /// ```
    /// # use regimen::Run;
    /// # use regimen::callback::Every;
    /// # use regimen::log::MetricLog;
    /// # fn example<U>(run: Run<'_, U>) -> Run<'_, U> {
    /// run.callback(MetricLog::stdout().every(Every::epochs(1)))
    /// # }
    /// ```
    pub fn stdout() -> Self {
        MetricLog::to(LineLog { name: "MetricLog(stdout)", out: Box::new(io::stdout()) })
    }

    /// Prints a line per moment to `out`: a printer of a progress bar, standard error or a buffer.
    pub fn lines(out: impl Write + Send + 'static) -> Self {
        MetricLog::to(LineLog { name: "MetricLog(lines)", out: Box::new(out) })
    }
}

impl MetricSink for LineLog {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(self.name)
    }

    fn write(&mut self, records: &[Record<'_>]) -> Result<(), BoxError> {
        let Some(first) = records.first() else { return Ok(()) };
        let mut line = moment(first);
        for (i, Record { name, value, .. }) in records.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            // A name must neither break the line nor move the cursor.
            let name = name.replace(char::is_control, "\u{fffd}");
            _ = write!(line, "{comma} {name}={}", Short(*value));
        }
        line.push('\n');
        let printed = self.out.write_all(line.as_bytes()).and_then(|()| self.out.flush());
        printed.map_err(|cause| {
            format!("cannot print metrics: {cause}; is the reader of the output gone?").into()
        })
    }
}

/// The moment of a record, in brackets.
fn moment(&Record { step, phase, epoch, .. }: &Record<'_>) -> String {
    match (phase, epoch) {
        (_, None) => format!("[Step {step}]"),
        (Phase::Train, Some(epoch)) => format!("[Epoch {epoch}]"),
        (Phase::Eval, Some(epoch)) => format!("[Eval epoch {epoch}]"),
        (Phase::Predict, Some(epoch)) => format!("[Predict epoch {epoch}]"),
    }
}

impl fmt::Debug for LineLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineLog").field("name", &self.name).finish_non_exhaustive()
    }
}
