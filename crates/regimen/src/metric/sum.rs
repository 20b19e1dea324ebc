//! Sums of floats whose error does not grow with their count.

use crate::BoxError;
use crate::saved::Array;

/// A sum in which every addition keeps what it rounds off (Neumaier, "Rundungsfehleranalyse einiger Verfahren zur
/// Summation endlicher Summen", 1974).
///
/// The relative error of a sum of n numbers, none negative, is at most 2^-53 + (n 2^-52)^2, in whatever parts they
/// were added: the last bit, for fewer than 10^7. A sum beyond the range of `f64` is infinite.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sum {
    sum: f64,
    rounded_off: f64,
}

impl Sum {
    pub(super) fn of(numbers: impl IntoIterator<Item = f64>) -> Self {
        let mut sum = Sum::default();
        numbers.into_iter().for_each(|number| sum.add(number));
        sum
    }

    pub(super) fn add(&mut self, number: f64) {
        let sum = self.sum + number;
        // Infinity minus infinity is not what was rounded off.
        if sum.is_finite() {
            let (large, small) =
                if self.sum.abs() >= number.abs() { (self.sum, number) } else { (number, self.sum) };
            self.rounded_off += (large - sum) + small;
        }
        self.sum = sum;
    }

    pub(super) fn merge(&mut self, other: Sum) {
        self.add(other.sum);
        self.rounded_off += other.rounded_off;
    }

    pub(super) fn value(self) -> f64 {
        if self.sum.is_finite() { self.sum + self.rounded_off } else { self.sum }
    }
}

impl From<Sum> for Array {
    fn from(sum: Sum) -> Array {
        Array::from_slice(&[sum.sum, sum.rounded_off])
    }
}

impl TryFrom<&Array> for Sum {
    type Error = BoxError;

    fn try_from(array: &Array) -> Result<Sum, BoxError> {
        match *array.to_vec::<f64>()? {
            [sum, rounded_off] if !sum.is_nan() && rounded_off.is_finite() => Ok(Sum { sum, rounded_off }),
            [_, _] => Err("a sum of NaN; it is damaged".into()),
            _ => Err(format!("expected F64[2], found {array:?}").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rounding_is_kept() {
        assert_eq!(Sum::of([1.0, 1e100, 1.0, -1e100]).value(), 2.0);
        assert_eq!(Sum::of([0.1; 10]).value(), 1.0);
        // Plain addition gives 100000.00000133288. The exact sum of this float is 5.6e-12 more, which rounds to 0.
        assert_eq!(Sum::of((0..1_000_000).map(|_| 0.1)).value(), 100_000.0);
    }

    #[test]
    fn parts_are_the_whole_and_come_back_from_a_state() -> Result<(), BoxError> {
        let numbers = [1.0, 1e100, 3.0, -1e100, 1e-9];
        for cut in 0..=numbers.len() {
            let (mut sum, rest) = (Sum::of(numbers[..cut].iter().copied()), &numbers[cut..]);
            sum.merge(Sum::try_from(&Array::from(Sum::of(rest.iter().copied())))?);
            assert_eq!(sum.value(), 4.000_000_001, "cut at {cut}");
        }
        Ok(())
    }

    #[test]
    fn a_sum_out_of_range_is_infinite_and_stays_so() {
        let mut sum = Sum::of([f64::MAX, f64::MAX, 1.0]);
        assert_eq!(sum.value(), f64::INFINITY);
        sum.merge(Sum::of([f64::MAX, f64::MAX]));
        assert_eq!(sum.value(), f64::INFINITY);
    }

    #[test]
    fn a_damaged_sum_is_an_error() {
        let error = |numbers: &[f64]| {
            Sum::try_from(&Array::from_slice(numbers)).map(Sum::value).map_err(|error| error.to_string())
        };
        assert_eq!(error(&[f64::NAN, 0.0]), Err("a sum of NaN; it is damaged".to_owned()));
        assert_eq!(error(&[1.0, f64::INFINITY]), Err("a sum of NaN; it is damaged".to_owned()));
        assert_eq!(error(&[1.0]), Err("expected F64[2], found F64[1]".to_owned()));
    }
}
