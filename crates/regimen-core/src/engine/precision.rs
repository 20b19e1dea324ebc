//! The type in which a module computes.

use std::fmt;
use std::str::FromStr;

use crate::BoxError;

/// The type in which a module computes. Its parameters stay in single precision.
///
/// An engine that does not support it fails when the run starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Single precision.
    F32,
    /// Single precision whose products are rounded to 10 bits: TensorFloat-32, on Nvidia devices that have
    /// it.
    TF32,
    /// 8 bits of precision and the range of single precision, wherever the library finds it accurate enough.
    BF16,
    /// 11 bits of precision, and a range from 6e-8 to 65504. Losses are scaled so that their gradients fit
    /// into it. See [`GradientScaler`](crate::auto_unit::GradientScaler).
    F16,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Precision; 4] = [Precision::F32, Precision::TF32, Precision::BF16, Precision::F16];

    /// `fp32`, `tf32`, `bf16` or `fp16`, as in PyTorch.
    pub const fn name(self) -> &'static str {
        match self {
            Precision::F32 => "fp32",
            Precision::TF32 => "tf32",
            Precision::BF16 => "bf16",
            Precision::F16 => "fp16",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Parses a [`name`](Precision::name). Any other text is an error that lists the names.
impl FromStr for Precision {
    type Err = BoxError;

    fn from_str(name: &str) -> Result<Self, BoxError> {
        Precision::ALL.into_iter().find(|precision| precision.name() == name).ok_or_else(|| {
            let names = Precision::ALL.map(Precision::name).join(", ");
            format!("there is no precision `{name}`; there are: {names}").into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_is_read_by_its_name_and_by_no_other() {
        for precision in Precision::ALL {
            assert_eq!(precision.to_string().parse::<Precision>().unwrap(), precision);
        }
        let wrong = "f32".parse::<Precision>().unwrap_err().to_string();
        assert_eq!(wrong, "there is no precision `f32`; there are: fp32, tf32, bf16, fp16");
    }
}
