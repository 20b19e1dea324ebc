//! Times of files, as seconds since 1970.

use std::time::{SystemTime, UNIX_EPOCH};

/// The seconds of a time such as `2026-11-29T08:10:00Z`. Returns `None` for any other text.
pub(crate) fn seconds(text: &str) -> Option<f64> {
    let text = text.strip_suffix('Z').filter(|text| text.len() == 19)?;
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hours, minutes, seconds) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // Years are counted from March, so that the leap day is the last of its year.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hours) * 60 + minutes) * 60 + seconds) as f64)
}

/// The seconds of a time of the system; 0 for one before 1970.
pub(crate) fn of(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The time of day of seconds since 1970: `08:10:00`.
pub(crate) fn time_of_day(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `0:07`, `12:30`, `3:00:00`, `2 d 3:00:00`.
pub(crate) fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    let (days, hours, minutes, seconds) =
        (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}:{seconds:02}"),
        (0, _) => format!("{hours}:{minutes:02}:{seconds:02}"),
        _ => format!("{days} d {hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `date -u -d TIME +%s` of GNU.
    #[test]
    fn times_are_those_of_another_calendar() {
        for (expected, text) in [
            (0.0, "1970-01-01T00:00:00Z"),
            (951_782_399.0, "2000-02-28T23:59:59Z"),
            (951_827_696.0, "2000-02-29T12:34:56Z"),
            (1_078_012_800.0, "2004-02-29T00:00:00Z"),
            (1_796_000_000.0, "2026-11-30T00:53:20Z"),
            (4_107_542_400.0, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for text in ["", "Z", "2026-11-30T00:53:20", "2026-11-30T00:53:xxZ", "2026-11-30T00:53:2\u{e9}Z"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_of_day_is_that_of_utc() {
        assert_eq!([951_827_696.0, 4_107_542_400.9].map(time_of_day), ["12:34:56", "00:00:00"]);
    }

    #[test]
    fn a_duration_is_read_at_once() {
        let times = [7.4, 750.0, 10_800.0, 183_600.0, -1.0].map(clock);
        assert_eq!(times, ["0:07", "12:30", "3:00:00", "2 d 3:00:00", "0:00"]);
    }
}
