//! A limit on the time a run takes: core has no clock, so it is a callback.

use std::time::{Duration, Instant};

use regimen_core::callback::{Event, Events, Ranks};
use regimen_core::saved::{StateDict, Stateful};
use regimen_core::{BoxError, Callback, Error, State};

/// Pauses a run when its calls together have taken longer than a limit.
///
/// Time counts from the start of each call of `train`, `fit`, `evaluate` or `predict` to its end,
/// and is saved with the run: a restarted run has the rest of it. It is looked at after each
/// step of any phase, so a run takes one step longer at most, and at the start, so that one with
/// no time left makes no step. The save at the end comes on top.
///
/// The report says `Paused("time limit of 7200 s reached")`. Saved time is not the same twice, so with
/// this callback two equal runs differ in its saved bytes, and nowhere else.
///
/// Among several [ranks](crate::Run::peers) the clock of the first decides, and its pause is one of all.
#[derive(Debug)]
pub struct TimeLimit {
    limit: Duration,
    /// Taken by calls that ended, those before a restart included.
    taken: Duration,
    /// When the call under way began.
    began: Option<Instant>,
    /// The event that ends the call under way: an evaluation within `fit` does not.
    end: Option<Event>,
}

impl TimeLimit {
    /// A limit on the time of all calls together.
    pub fn new(limit: Duration) -> Self {
        TimeLimit { limit, taken: Duration::ZERO, began: None, end: None }
    }

    /// A limit written as by batch systems: `12:30:00` is hours, minutes and seconds, and `1-12:30:00` has a day
    /// before them. Any other form is an error.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use regimen::callback::TimeLimit;
    ///
    /// let limit = TimeLimit::parse("1-12:30:00")?;
    /// assert_eq!(limit.left(), Duration::from_secs(36 * 3600 + 30 * 60));
    /// # Ok::<(), regimen::BoxError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, BoxError> {
        let limit = duration(text).ok_or_else(|| {
            format!(
                "`{text}` is not a time limit; write hours, minutes and seconds, as in `12:30:00`, or days \
                 before them, as in `1-12:30:00`"
            )
        })?;
        Ok(TimeLimit::new(limit))
    }

    /// The time left.
    pub fn left(&self) -> Duration {
        self.limit.saturating_sub(self.taken())
    }

    fn taken(&self) -> Duration {
        self.taken + self.began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    fn end_call(&mut self) {
        self.taken = self.taken();
        (self.began, self.end) = (None, None);
    }
}

/// The duration of `[days-]hours:minutes:seconds`. With days, there are less than 24 hours.
fn duration(text: &str) -> Option<Duration> {
    let (days, time) = text.split_once('-').map_or((None, text), |(days, time)| (Some(days), time));
    let (hours, rest) = time.split_once(':')?;
    let (minutes, seconds) = rest.split_once(':')?;
    let below_60 = |text: &str| number(text).filter(|&n| text.len() == 2 && n < 60);
    let (days, hours) = match days {
        Some(days) => (number(days)?, number(hours).filter(|&hours| hours < 24)?),
        None => (0, number(hours)?),
    };
    let hours = days.checked_mul(24)?.checked_add(hours)?;
    let minutes = hours.checked_mul(60)?.checked_add(below_60(minutes)?)?;
    Some(Duration::from_secs(minutes.checked_mul(60)?.checked_add(below_60(seconds)?)?))
}

/// A number of digits alone, without a sign.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

impl<U: ?Sized> Callback<U> for TimeLimit {
    fn events(&self) -> Events {
        use Event::*;
        Events::of(&[
            TrainStart,
            EvalStart,
            PredictStart,
            TrainStepEnd,
            EvalStepEnd,
            PredictStepEnd,
            TrainEnd,
            EvalEnd,
            PredictEnd,
        ])
    }

    fn ranks(&self) -> Ranks {
        Ranks::First
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }

    fn on_event(&mut self, event: Event, state: &mut State, _: &mut U) -> Result<(), BoxError> {
        let end = match event {
            Event::TrainStart => Some(Event::TrainEnd),
            Event::EvalStart => Some(Event::EvalEnd),
            Event::PredictStart => Some(Event::PredictEnd),
            _ => None,
        };
        if self.began.is_none() && end.is_some() {
            (self.began, self.end) = (Some(Instant::now()), end);
        }
        if self.end == Some(event) {
            self.end_call();
        } else if self.left().is_zero() {
            state.pause(format!("time limit of {} s reached", self.limit.as_secs_f64()));
        }
        Ok(())
    }

    fn on_error(&mut self, _: &State, _: &mut U, _: &Error) {
        self.end_call();
    }
}

/// The time taken, in nanoseconds.
impl Stateful for TimeLimit {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("taken", u64::try_from(self.taken().as_nanos())?)?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.taken = Duration::from_nanos(dict.get("taken")?);
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        dict.get::<u64>("taken").map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use regimen_core::run::{Ended, Evaluate, Train};
    use regimen_core::unit::{EvalUnit, TrainUnit};
    use regimen_core::{Fit, Run};

    /// A unit whose steps take as long as the batch says, in milliseconds.
    struct Sleep;

    impl TrainUnit for Sleep {
        type Batch = u64;

        fn train_step(&mut self, _: &mut State, batch: u64) -> Result<(), BoxError> {
            std::thread::sleep(Duration::from_millis(batch));
            if batch == BROKEN { Err("told to fail".into()) } else { Ok(()) }
        }
    }

    impl EvalUnit for Sleep {
        type Batch = u64;

        fn eval_step(&mut self, _: &mut State, batch: u64) -> Result<(), BoxError> {
            std::thread::sleep(Duration::from_millis(batch));
            Ok(())
        }
    }

    /// A batch whose step fails.
    const BROKEN: u64 = 3;

    /// Trains on `batches` under a limit of `limit` seconds of which `taken` are gone; returns
    /// whether it was complete.
    fn complete(limit: u64, taken: u64, batches: &[u64]) -> (bool, u64) {
        let mut callback = TimeLimit::new(Duration::from_secs(limit));
        let mut saved = StateDict::new();
        saved.insert("taken", taken * 1_000_000_000).unwrap();
        callback.load_state_dict(&saved).unwrap();
        let report = Run::new(&mut Sleep).callback(callback).train(batches, Train::epochs(1)).unwrap();
        let expected = format!("time limit of {limit} s reached");
        match report.ended {
            Ended::Complete => (true, report.train.steps),
            Ended::Paused(reason) if reason == expected => (false, report.train.steps),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_run_is_paused_by_the_first_step_end_after_the_limit() {
        assert_eq!(complete(3600, 0, &[0; 3]), (true, 3));
        assert_eq!(complete(3600, 3599, &[0, 1001, 0]), (false, 2));
        assert_eq!(complete(3600, 3600, &[0; 3]), (false, 0));
        assert_eq!(complete(0, 0, &[0; 3]), (false, 0));
    }

    #[test]
    fn a_limit_is_days_hours_minutes_and_seconds() {
        let check = |text: &str, seconds: u64| {
            assert_eq!(TimeLimit::parse(text).unwrap().left(), Duration::from_secs(seconds), "{text}");
        };
        check("1-12:30:00", 131_400);
        check("0-00:00:01", 1);
        check("7-3:05:09", 615_909);
        check("12:30:00", 45_000);
        check("36:00:00", 129_600);
        check("0:00:00", 0);
    }

    #[test]
    fn a_limit_of_another_form_is_an_error_that_tells_the_form() {
        let text = TimeLimit::parse("90").unwrap_err().to_string();
        let expected = "`90` is not a time limit; write hours, minutes and seconds, as in `12:30:00`, or days \
                        before them, as in `1-12:30:00`";
        assert_eq!(text, expected);
        for text in [
            "",
            "12:30",
            "1-12",
            "1-24:00:00",
            "12:60:00",
            "12:00:60",
            "12:5:00",
            "12:005:00",
            "1:2:3:4",
            "-1:00:00",
            "1-+2:00:00",
            "+1:00:00",
            " 1:00:00",
            "1:00:00 ",
            "1--2:00:00",
            "1-12:30:0x",
            "1.5:00:00",
            "18446744073709551615:00:00",
            "18446744073709551616:00:00",
            "768614336404564651-00:00:00",
        ] {
            assert!(TimeLimit::parse(text).is_err(), "{text}");
        }
    }

    /// A limit that can be looked at while a run has it.
    struct Shared<'l>(&'l Mutex<TimeLimit>);

    impl<U> Callback<U> for Shared<'_> {
        fn on_event(&mut self, event: Event, state: &mut State, unit: &mut U) -> Result<(), BoxError> {
            self.0.lock().unwrap().on_event(event, state, unit)
        }

        fn on_error(&mut self, state: &State, unit: &mut U, error: &Error) {
            self.0.lock().unwrap().on_error(state, unit, error);
        }
    }

    #[test]
    fn only_calls_take_time_and_a_restart_has_the_rest() {
        let limit = Mutex::new(TimeLimit::new(Duration::from_secs(3600)));
        let left = || limit.lock().unwrap().left();
        let mut unit = Sleep;
        let mut run = Run::new(&mut unit).callback(Shared(&limit));
        assert_eq!(left(), Duration::from_secs(3600));
        run.train(&[20], Train::epochs(1)).unwrap();
        let after_one = left();
        assert!(after_one <= Duration::from_millis(3_599_980));
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(left(), after_one);
        run.train(&[1], Train::epochs(2)).unwrap();
        assert!(left() <= after_one - Duration::from_millis(1));
        // An evaluation takes the time of its `fit`, and one by hand its own. A call that fails ends too.
        let mut before = left();
        let mut takes = |milliseconds| {
            let now = left();
            assert!(now <= before - Duration::from_millis(milliseconds), "{before:?} {now:?}");
            std::thread::sleep(Duration::from_millis(2));
            assert_eq!(left(), now);
            before = now;
        };
        run.fit(&[1], &[1], Fit::epochs(3)).unwrap();
        takes(2);
        run.evaluate(&[1], Evaluate::whole()).unwrap();
        takes(1);
        run.train(&[BROKEN], Train::epochs(4)).unwrap_err();
        takes(1);
        run.train(&[1], Train::steps(0)).unwrap();
        takes(0);
        let mut restarted = TimeLimit::new(Duration::from_secs(3600));
        restarted.load_state_dict(&limit.lock().unwrap().state_dict().unwrap()).unwrap();
        assert_eq!(restarted.left(), left());
    }
}
