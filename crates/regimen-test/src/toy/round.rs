//! Rounding to the types of [`Precision`].

use regimen_core::engine::Precision;

/// The nearest number to `value` in `precision`, ties to even; infinite if the range ends before. Single
/// precision stands for the toy library's own `f64`.
pub(super) fn round(value: f64, precision: Precision) -> f64 {
    // Bits of a number after its first, and the exponents of the smallest normal and of the largest number.
    let (bits, smallest, largest) = match precision {
        Precision::F32 => return value,
        Precision::TF32 => (10, -126, 127),
        Precision::BF16 => (7, -126, 127),
        Precision::F16 => (10, -14, 15),
    };
    if !value.is_finite() || value == 0.0 {
        return value;
    }
    // `f64` keeps its exponent, plus 1023, in the 11 bits behind the sign.
    let exponent = (value.to_bits() >> 52 & 0x7FF) as i32 - 1023;
    let spacing = 2_f64.powi(exponent.max(smallest) - bits);
    let rounded = (value / spacing).round_ties_even() * spacing;
    if rounded.abs() < 2_f64.powi(largest + 1) { rounded } else { rounded.signum() * f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_the_nearest_even_neighbour_that_the_type_holds() {
        let check = |precision, value: f64, expected: f64| {
            let found = round(value, precision);
            assert!(found == expected || found.is_nan() && expected.is_nan(), "{precision} {value}: {found}");
        };
        let up = f64::INFINITY;
        for (precision, value, expected) in [
            (Precision::F32, 0.1, 0.1),
            (Precision::BF16, 1.0 + 1.0 / 256.0, 1.0),
            (Precision::BF16, 1.0 + 3.0 / 256.0, 1.0 + 1.0 / 64.0),
            (Precision::BF16, 1e39, up),
            (Precision::TF32, 1.0 + 1.0 / 2048.0, 1.0),
            (Precision::TF32, 1e6, 999_936.0),
            (Precision::F16, 65504.0, 65504.0),
            (Precision::F16, 65519.0, 65504.0),
            (Precision::F16, 65520.0, up),
            (Precision::F16, 2049.0, 2048.0),
            // Subnormal: a multiple of the smallest, or 0.
            (Precision::F16, 2_f64.powi(-24) * 1.6, 2_f64.powi(-23)),
            (Precision::F16, 2_f64.powi(-25), 0.0),
            (Precision::F16, up, up),
            (Precision::F16, f64::NAN, f64::NAN),
        ] {
            check(precision, value, expected);
            check(precision, -value, -expected);
        }
    }
}
