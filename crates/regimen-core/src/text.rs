//! Formatting of numbers for reports, notices and errors.

use std::fmt;

/// A count of things: `1 step`, `2 steps`, `0 batches`.
///
/// The word is the singular. Its plural ends in `s`, or in `es` after `tch`, `s` and `x`.
///
/// ```
/// use regimen_core::text::Count;
/// assert_eq!(Count(1, "epoch").to_string(), "1 epoch");
/// assert_eq!(format!("{} of {}", 2, Count(25, "batch")), "2 of 25 batches");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count<'a>(pub u64, pub &'a str);

/// A number with four significant digits: `0.3125`, `123.5`, `1.000e-5`.
///
/// ```
/// use regimen_core::text::Short;
/// assert_eq!(Short(0.123_456).to_string(), "0.1235");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Short(pub f64);

impl fmt::Display for Count<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Count(count, thing) = self;
        let plural = match count {
            1 => "",
            _ if ["tch", "s", "x"].iter().any(|end| thing.ends_with(end)) => "es",
            _ => "s",
        };
        write!(f, "{count} {thing}{plural}")
    }
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Short(value) = self;
        let size = value.abs();
        if size == 0.0 || !value.is_finite() {
            return write!(f, "{value}");
        }
        if !(1e-3..1e6).contains(&size) {
            return write!(f, "{value:.3e}");
        }
        let digits_before = size.log10().floor() as i32 + 1;
        let decimals = usize::try_from(4 - digits_before).unwrap_or(0);
        write!(f, "{value:.decimals$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_said_in_the_singular() {
        let check = |count, thing, text: &str| assert_eq!(Count(count, thing).to_string(), text);
        check(0, "epoch", "0 epochs");
        check(1, "epoch", "1 epoch");
        check(2, "step", "2 steps");
        check(1, "batch", "1 batch");
        check(3, "batch", "3 batches");
        check(21, "sample", "21 samples");
    }

    #[test]
    fn numbers_have_four_digits() {
        let check = |value: f64, text: &str| assert_eq!(Short(value).to_string(), text);
        check(0.0, "0");
        check(1.0, "1.000");
        check(-0.031_25, "-0.03125");
        check(0.001, "0.001000");
        check(0.000_999_9, "9.999e-4");
        check(123.456, "123.5");
        check(123_456.0, "123456");
        check(1e6, "1.000e6");
        check(f64::NAN, "NaN");
        check(f64::NEG_INFINITY, "-inf");
    }
}
