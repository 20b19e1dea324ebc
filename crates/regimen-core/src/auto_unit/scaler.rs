//! The scale of losses in half precision.

use crate::BoxError;
use crate::error::NotFinite;
use crate::saved::{StateDict, Stateful};

/// Scales losses so that their gradients fit into half precision, by PyTorch's rules. A scale that makes a
/// gradient overflow is reduced and the update skipped. After many updates without an overflow the scale
/// grows.
///
/// [`AutoUnit`](crate::AutoUnit) uses one for [`Precision::F16`](crate::engine::Precision::F16); give it
/// another to change a rule. The rules are those of `torch.amp.GradScaler`, except that a scale below half
/// precision's smallest number, 6e-8, is an error. A gradient that overflows there is itself not finite.
///
/// P. Micikevicius and others, "Mixed Precision Training", 2018.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientScaler {
    growth: f64,
    back_off: f64,
    every: u64,
    scale: f32,
    /// Updates in a row without a skip since the last change of the scale.
    streak: u64,
}

impl GradientScaler {
    /// A scale of 65536, halved at each overflow and doubled after 2000 updates without one.
    pub fn new() -> Self {
        GradientScaler { growth: 2.0, back_off: 0.5, every: 2000, scale: 65536.0, streak: 0 }
    }

    /// The first scale; at least 6e-8.
    pub fn initial(self, scale: f32) -> Self {
        GradientScaler { scale, ..self }
    }

    /// Factor of the scale after [`growth_interval`](GradientScaler::growth_interval) updates without an
    /// overflow; above 1.
    pub fn growth(self, factor: f64) -> Self {
        GradientScaler { growth: factor, ..self }
    }

    /// Factor of the scale after an overflow; between 0 and 1.
    pub fn back_off(self, factor: f64) -> Self {
        GradientScaler { back_off: factor, ..self }
    }

    /// Number of updates in a row without an overflow before the scale grows; 1 or more.
    pub fn growth_interval(self, updates: u64) -> Self {
        GradientScaler { every: updates, ..self }
    }

    /// The scale that the next loss is multiplied by.
    pub fn scale(&self) -> f64 {
        f64::from(self.scale)
    }

    /// Rejects rules that cannot be used.
    pub(super) fn check(&self) -> Result<(), BoxError> {
        let GradientScaler { growth, back_off, every, scale, .. } = *self;
        if !(scale.is_finite() && scale >= SMALLEST) {
            return Err(
                format!("gradient scaler: the scale is {scale}; give one of at least {SMALLEST}").into()
            );
        }
        if !(growth.is_finite() && growth > 1.0) {
            return Err(format!("gradient scaler: the growth is {growth}; give one above 1").into());
        }
        if !(back_off > 0.0 && back_off < 1.0) {
            return Err(
                format!("gradient scaler: the back-off is {back_off}; give one between 0 and 1").into()
            );
        }
        if every == 0 {
            return Err("gradient scaler: it cannot grow every 0 updates; give 1 or more".into());
        }
        Ok(())
    }

    /// An update was made.
    pub(super) fn updated(&mut self) {
        self.streak += 1;
        if self.streak < self.every {
            return;
        }
        self.streak = 0;
        let grown = (self.scale() * self.growth) as f32;
        if grown.is_finite() {
            self.scale = grown;
        }
    }

    /// An update was skipped. Fails if no scale helps.
    pub(super) fn skipped(&mut self) -> Result<(), BoxError> {
        self.streak = 0;
        let smaller = (self.scale() * self.back_off) as f32;
        if smaller < SMALLEST {
            return Err(NotFinite::new(format!(
                "the gradient is not finite even at a scale of {}; the scale is not the cause",
                self.scale
            ))
            .into());
        }
        self.scale = smaller;
        Ok(())
    }
}

/// Half precision's smallest number. At this scale not even a loss of 65504 would overflow.
const SMALLEST: f32 = 1.0 / 16_777_216.0;

impl Default for GradientScaler {
    fn default() -> Self {
        GradientScaler::new()
    }
}

/// Scale and counters; the rules are not saved.
impl Stateful for GradientScaler {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("scale", self.scale)?;
        dict.insert("streak", self.streak)?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        (self.scale, self.streak) = (dict.get("scale")?, dict.count("streak")?);
        Ok(())
    }
}
