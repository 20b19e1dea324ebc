//! Arrays of floats of any width.

use crate::saved::{Array, Dtype};

/// The numbers of an array. Returns `None` if they are not floats.
pub(in super::super) fn floats(array: &Array) -> Option<Vec<f64>> {
    let halves = |number: fn(u16) -> f64| {
        let halves = array.bytes().as_chunks::<2>().0.iter();
        halves.map(|&bytes| number(u16::from_le_bytes(bytes))).collect()
    };
    match array.dtype() {
        Dtype::F64 => array.to_vec().ok(),
        Dtype::F32 => Some(array.to_vec::<f32>().ok()?.into_iter().map(f64::from).collect()),
        // The upper half of a float of single precision.
        Dtype::BF16 => Some(halves(|bits| f32::from_bits(u32::from(bits) << 16).into())),
        Dtype::F16 => Some(halves(f16)),
        _ => None,
    }
}

/// The number with the bits of a float of half precision.
fn f16(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1F), f64::from(bits & 0x3FF));
    let size = match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15),
    };
    if bits >> 15 == 0 { size } else { -size }
}

/// The sum of the squares.
pub(super) fn squares(numbers: &[f64]) -> f64 {
    numbers.iter().map(|number| number * number).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(dtype: Dtype, bytes: &[u8], expected: Option<&[f64]>) {
        let array = Array::new(dtype, vec![bytes.len() / dtype.size()], bytes.to_vec()).unwrap();
        assert_eq!(floats(&array).as_deref(), expected);
    }

    #[test]
    fn floats_of_any_width_have_their_values() {
        let f16 = [0x3C00_u16, 0xC000, 0x7BFF, 0x0001, 0x03FF, 0x0400, 0x3555, 0x7C00, 0xFC00, 0x8000];
        let f16: Vec<u8> = f16.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        let expected = [
            1.0,
            -2.0,
            65504.0,
            5.960_464_477_539_063e-8,
            6.097_555_160_522_461e-5,
            6.103_515_625e-5,
            0.333_251_953_125,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.0,
        ];
        check(Dtype::F16, &f16, Some(&expected));
        check(Dtype::BF16, &[0x80, 0x3F, 0x40, 0xC0], Some(&[1.0, -3.0]));
        check(Dtype::F32, &1.5_f32.to_le_bytes(), Some(&[1.5]));
        check(Dtype::F64, &0.1_f64.to_le_bytes(), Some(&[0.1]));
        check(Dtype::I64, &1_i64.to_le_bytes(), None);
        check(Dtype::F32, &[], Some(&[]));
        assert!(super::f16(0x7E00).is_nan());
    }
}
